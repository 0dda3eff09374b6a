package natsfeed

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// No clock that is set makes a checkpoint look younger than the time that its
// process was up, and none that is found to be wrong tells anything.
func TestAgeOfCheckpoint(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	m := mark{age: time.Hour, wall: noon, boot: 1, up: 100 * time.Hour}
	for _, c := range []struct {
		what string
		m    mark
		now  mark
		want time.Duration
	}{
		{"at once", m, m, time.Hour},
		{"two hours later", m, mark{wall: noon.Add(2 * time.Hour), boot: 1, up: 102 * time.Hour}, 3 * time.Hour},
		{"the calendar set back, not started again", m, mark{wall: noon.Add(-9 * time.Hour), boot: 1, up: 102 * time.Hour}, 3 * time.Hour},
		{"the calendar set back a little", m, mark{wall: noon.Add(time.Minute), boot: 1, up: 102 * time.Hour}, 3 * time.Hour},
		{"the calendar set forward", m, mark{wall: noon.Add(50 * time.Hour), boot: 1, up: 102 * time.Hour}, 51 * time.Hour},
		{"started again", m, mark{wall: noon.Add(2 * time.Hour), boot: 2, up: time.Minute}, 3 * time.Hour},
		{"started again, the calendar behind the mark", m, mark{wall: noon.Add(-time.Second), boot: 2, up: time.Minute}, -1},
		{"started again, up for longer than the calendar says", m, mark{wall: noon.Add(time.Second), boot: 2, up: 5 * time.Hour}, 6 * time.Hour},
		{"an uptime that went back under one name", m, mark{wall: noon.Add(-time.Second), boot: 1, up: time.Hour}, -1},
		{"no uptime", mark{age: 1, wall: noon}, mark{wall: noon.Add(time.Hour), boot: 1, up: 200 * time.Hour}, time.Hour + 1},
		{"no uptime, the calendar set back", mark{wall: noon}, mark{wall: noon.Add(-time.Second)}, -1},
		{"of unknown age", mark{age: -1, wall: noon}, mark{wall: noon}, -1},
		{"without a mark", mark{}, mark{wall: noon}, -1},
	} {
		require.Equal(t, c.want, c.m.at(c.now), c.what)
		require.Equal(t, c.m, readMark(string(appendMark(nil, c.m))), c.what)
	}
}

// A machine that was asleep is found by its calendar, and a calendar that is
// set back by the monotonic clock.
func TestElapsed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	require.Equal(t, time.Hour, elapsed(now, now.Add(time.Hour)))
	require.Equal(t, time.Hour, elapsed(now, now.Round(0).Add(time.Hour)), "asleep: the monotonic clock is not asked")
	require.Zero(t, elapsed(now, now.Add(-time.Hour)))
	require.EqualValues(t, -1, proof{at: now, age: -1}.staleness())
	require.EqualValues(t, -1, proof{}.staleness())
	boot, up := uptime()
	if _, err := os.Stat("/proc/uptime"); err == nil {
		require.NotZero(t, boot)
		require.Positive(t, up)
		again, later := uptime()
		require.Equal(t, boot, again)
		require.GreaterOrEqual(t, later, up)
	}
}

// A node that cannot hear of changes is not usable beyond the bound, and is again
// when the line is back. A start from a checkpoint changes nothing of it.
func TestRefuseStale(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	restrict(t, kv, keysOf(3))
	line := startProxy(t, n.srv.Addr().String())
	path := filepath.Join(t.TempDir(), "checkpoint")
	const bound = 1500 * time.Millisecond
	o := Options{Checkpoint: path, RefuseStale: bound}
	var usable error = ErrClosed
	feed := follow(t, newEngine(), connect(t, line.url()), o)
	require.NoError(t, feed.Usable())
	line.cut()
	cut := time.Now()
	eventually(t, func() bool { return feed.Usable() != nil }, status(feed))
	require.ErrorIs(t, feed.Usable(), ErrStale)
	require.ErrorIs(t, feed.Ready(time.Hour), ErrStale, "the bound is one of Ready too")
	require.Greater(t, feed.Status().Staleness, bound)
	require.GreaterOrEqual(t, time.Since(cut), bound-500*time.Millisecond, "it was up to date then")
	feed.Close()

	// Started from the file it is as old as it was.
	o.StartWait = -1
	o.Before = func(*Batch) {}
	engine := newEngine()
	second := follow(t, engine, connect(t, line.url()), o)
	require.ErrorIs(t, second.Usable(), ErrStale)
	require.Equal(t, ipallow.Allowed, engine.Check("key-0", good), "it knows its lists")
	require.Greater(t, second.Status().Staleness, bound)
	line.heal()
	eventually(t, func() bool { usable = second.Usable(); return usable == nil }, func() string { return fmt.Sprint(usable) })
	second.Close()

	// A fresh one is good for as long as the bound says.
	line.cut()
	third := follow(t, newEngine(), connect(t, line.url()), o)
	require.NoError(t, third.Usable())
	require.Less(t, third.Status().Staleness, bound)
	eventually(t, func() bool { return third.Usable() != nil }, status(third))
	third.Close()

	// One whose age nobody knows, since the calendar is behind it, is not.
	f := bareFeed(t)
	f.o.Checkpoint, f.o.RefuseStale = path, time.Hour
	_, err := f.openCheckpoint()
	require.NoError(t, err)
	require.NoError(t, f.Usable())
	f.cp.proof.age = -1
	f.appendCheckpoint(nil)
	f.closeCheckpoint()
	f = bareFeed(t)
	f.o.Checkpoint, f.o.RefuseStale = path, time.Hour
	_, err = f.openCheckpoint()
	require.NoError(t, err)
	require.ErrorIs(t, f.Usable(), ErrStale)
	f.closeCheckpoint()

	_, err = Follow(within(t), newEngine(), js, bucketName, &Options{RefuseStale: time.Second, CheckInterval: time.Second})
	require.ErrorContains(t, err, "RefuseStale")
	var none *Feed
	require.ErrorIs(t, none.Usable(), ErrNotLoaded)
}

// A file of the time before ages were noted is as old as its time says.
func TestCheckpointWithoutMark(t *testing.T) {
	t.Parallel()
	at := place{created: time.Unix(1, 0).UTC(), rev: 9, last: 8, lastTime: time.Unix(2, 0).UTC()}
	frame := make([]byte, frameHead)
	frame = appendPlace(frame, at, mark{})[:frameHead+placeSize]
	alive := time.Now().Add(-time.Hour)
	b := appendMark(nil, mark{wall: alive})
	frame = append(frame, b[8:16]...)
	sealFrame(frame, flagPlace)
	path := filepath.Join(t.TempDir(), "checkpoint")
	require.NoError(t, os.WriteFile(path, append(fileHead(bucketName), frame...), 0o600))
	f := bareFeed(t)
	f.o.Checkpoint = path
	ok, err := f.openCheckpoint()
	require.NoError(t, err)
	require.True(t, ok)
	defer f.closeCheckpoint()
	require.Equal(t, uint64(9), f.rev)
	require.InDelta(t, time.Hour.Seconds(), f.proof.Load().staleness().Seconds(), 60)
}

// A value whose list the policy refuses keeps the list and takes the rest, live, in a load, and
// from a checkpoint: a secret that was changed with it must not stay.
func TestRefusedListKeepsTheRest(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	wide := ipallow.Policy{MaxEntries: 5, MaxLabel: 5, AllowNonPublic: true}
	set := func(key, meta string, entries ...string) uint64 {
		t.Helper()
		list, err := wide.ParseList(entries)
		require.NoError(t, err)
		rev, err := Publish(within(t), kv, key, list, &PublishOptions{Meta: []byte(meta), Policy: &wide})
		require.NoError(t, err)
		return rev
	}
	path := filepath.Join(t.TempDir(), "checkpoint")
	var engine *ipallow.Engine
	known := map[string]string{}
	refused := map[string]bool{}
	begin := func(url string, o Options) *Feed {
		engine = newEngine()
		clear(known)
		clear(refused)
		o.After = func(b *Batch) {
			for c := range b.All() {
				known[c.Key], refused[c.Key] = string(c.Meta), c.Err != nil
				entries, _ := engine.Snapshot().Entries(c.Key)
				if !c.Deleted {
					require.Equal(t, c.Entries, entries, "what a change says is in force")
				}
			}
		}
		return follow(t, engine, connect(t, url), o)
	}
	want := map[string]string{"kept": "new", "opened": "new", "never": "new", "again": "3", "good": "new"}
	check := func(feed *Feed, what string) {
		t.Helper()
		feed.Close()
		require.Equal(t, want, known, what)
		require.Equal(t, map[string]bool{"kept": true, "opened": true, "never": true, "again": true, "good": false}, refused, what)
		for _, c := range []struct {
			key  string
			from netip.Addr
			want ipallow.Verdict
		}{
			{"kept", good, ipallow.Allowed}, {"kept", wrong, ipallow.Denied}, {"never", good, ipallow.Denied},
			{"opened", good, ipallow.Denied}, {"again", good, ipallow.Allowed}, {"good", good, ipallow.Unrestricted},
		} {
			require.Equal(t, c.want, engine.Check(c.key, c.from), "%s: %s from %s", what, c.key, c.from)
		}
	}
	set("kept", "old", "203.0.113.7")
	set("opened", "old")
	set("again", "1", "203.0.113.7")
	set("good", "old", "203.0.113.7")
	feed := begin(n.url(), Options{Checkpoint: path})
	set("kept", "new", "10.0.0.0/8")
	set("opened", "new", "10.0.0.0/8")
	set("never", "new", "10.0.0.0/8")
	set("again", "2", "10.0.0.0/8")
	set("again", "3", "10.0.0.0/8")
	reach(t, feed, set("good", "new"))
	faults := map[string]bool{}
	for _, f := range feed.Status().Faults {
		faults[f.Key] = f.Closed
	}
	require.Equal(t, map[string]bool{"kept": false, "opened": true, "never": true, "again": false}, faults)
	check(feed, "live")
	check(begin(deadURL(t), Options{Checkpoint: path, StartWait: -1}), "from the checkpoint")
	check(begin(n.url(), Options{Checkpoint: path}), "resumed")

	// A node that begins now has never seen the lists that others keep.
	want["again"] = "3"
	feed = begin(n.url(), Options{})
	feed.Close()
	require.Equal(t, want, known)
	for _, key := range []string{"kept", "opened", "never", "again"} {
		require.Equal(t, ipallow.Denied, engine.Check(key, good), key)
		require.True(t, refused[key])
	}

	// A load of a bucket that was made anew keeps what is in force.
	feed = begin(n.url(), Options{Checkpoint: path, AcceptMissing: true})
	require.NoError(t, js.DeleteKeyValue(within(t), bucketName))
	kv = makeBucket(t, js, jetstream.KeyValueConfig{})
	set("kept", "newest", "10.0.0.0/8")
	eventually(t, func() bool { return feed.Status().Keys == 1 && feed.Status().Err == nil }, status(feed))
	feed.Close()
	require.Equal(t, "newest", known["kept"])
	require.Equal(t, ipallow.Allowed, engine.Check("kept", good))
}

func BenchmarkUsable(b *testing.B) {
	f := &Feed{o: Options{RefuseStale: time.Hour}}
	f.proof.Store(&proof{at: time.Now()})
	for b.Loop() {
		if f.Usable() != nil {
			b.Fatal("it is usable")
		}
	}
}
