package natsfeed

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// deadURL is an address at which nobody listens.
func deadURL(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return "nats://" + l.Addr().String()
}

// revive follows from the checkpoint alone.
func revive(t testing.TB, path string, o Options) (*Feed, *ipallow.Engine) {
	t.Helper()
	engine := newEngine()
	o.Checkpoint, o.StartWait = path, -1
	return follow(t, engine, connect(t, deadURL(t)), o), engine
}

func TestCheckpoint(t *testing.T) {
	n := startNode(t)
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(20)
	restrict(t, kv, keys)
	publish(t, kv, "gone", "203.0.113.7")
	unpublish(t, kv, "before")
	_, err := Confirm(within(t), kv)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "lists.checkpoint")
	engine := newEngine()
	feed := follow(t, engine, js, Options{Checkpoint: path})
	publish(t, kv, keys[0], "203.0.113.9")
	put(t, kv, keys[1], []byte("poison"))
	put(t, kv, "closed", []byte("poison"))
	put(t, kv, "=zz", []byte("poison"))
	rev, err := Publish(within(t), kv, "new", entriesOf("203.0.113.8"), &PublishOptions{Meta: []byte("secret")})
	require.NoError(t, err)
	last := unpublish(t, kv, "gone")
	reach(t, feed, last)
	want, faults := lists(engine), feed.Status().Faults
	require.Equal(t, 22, len(want))
	require.Equal(t, last, feed.Status().Checkpoint)
	feed.Close()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	// NATS is down.
	var changes []Change
	r, engine2 := revive(t, path, Options{After: func(b *Batch) {
		for c := range b.All() {
			if c.Meta != nil {
				changes = append(changes, c)
			}
		}
	}})
	require.Equal(t, want, lists(engine2))
	st := r.Status()
	require.Equal(t, SourceCheckpoint, st.Source)
	require.Equal(t, last, st.Revision)
	require.Equal(t, len(faults), st.FaultsNow)
	for i := range faults {
		require.Equal(t, faults[i].Err.Error(), st.Faults[i].Err.Error())
		require.Equal(t, faults[i].Closed, st.Faults[i].Closed)
		require.Equal(t, faults[i].Key, st.Faults[i].Key)
	}
	require.Equal(t, []Change{{Key: "new", Revision: rev, Entries: entriesOf("203.0.113.8"), Meta: []byte("secret")}}, changes)
	require.NoError(t, r.Ready(time.Minute))
	require.ErrorIs(t, r.Ready(time.Millisecond), ErrStale)
	_, err = Follow(within(t), newEngine(), js, bucketName, quick(Options{Checkpoint: path}))
	require.ErrorIs(t, err, ErrLocked)
	r.Close()

	// NATS is there: it goes on where the file ends, and loads nothing.
	last = publish(t, kv, "while-away", "203.0.113.5")
	engine = newEngine()
	feed = follow(t, engine, js, Options{Checkpoint: path})
	want["while-away"] = "203.0.113.5/32"
	require.Equal(t, want, lists(engine))
	require.Equal(t, SourceBucket, feed.Status().Source)
	require.GreaterOrEqual(t, feed.Status().Revision, last)
	require.Zero(t, feed.Status().Loads)
	require.NoError(t, feed.Ready(0))
	feed.Close()

	// The bucket was made anew meanwhile: what is missing stays, over restarts
	// too, until it is confirmed.
	kv = recreate(t, js)
	rev, err = Publish(within(t), kv, keys[0], entriesOf("203.0.113.77"), nil)
	require.NoError(t, err)
	for range 2 {
		engine = newEngine()
		feed = follow(t, engine, js, Options{Checkpoint: path})
		reach(t, feed, rev)
		eventually(t, func() bool { return feed.Status().Missing == 22 }, status(feed))
		require.ErrorIs(t, feed.Ready(0), ErrMissing)
		require.Len(t, lists(engine), 23)
		require.Equal(t, "203.0.113.77/32", lists(engine)[keys[0]])
		feed.Close()
	}
	r, engine2 = revive(t, path, Options{})
	require.Len(t, lists(engine2), 23)
	require.Equal(t, 22, r.Status().Missing)
	r.Close()
	_, err = Confirm(within(t), kv)
	require.NoError(t, err)
	engine = newEngine()
	feed = follow(t, engine, js, Options{Checkpoint: path})
	require.NoError(t, feed.Ready(0))
	require.Len(t, lists(engine), 1)
	feed.Close()
	r, engine2 = revive(t, path, Options{})
	require.Len(t, lists(engine2), 1)
	require.Zero(t, r.Status().Missing)
}

// A node starts from its checkpoint while NATS is down, and catches up when it
// comes.
func TestCheckpointThenNATS(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(20)
	restrict(t, kv, keys)
	path := filepath.Join(t.TempDir(), "checkpoint")
	follow(t, newEngine(), js, Options{Checkpoint: path}).Close()

	line.cut()
	engine := newEngine()
	probe(t, engine, keys...)
	start := time.Now()
	feed := follow(t, engine, connect(t, line.url()), Options{Checkpoint: path, StartWait: 100 * time.Millisecond})
	require.GreaterOrEqual(t, time.Since(start), 100*time.Millisecond)
	require.Equal(t, SourceCheckpoint, feed.Status().Source)
	require.Len(t, lists(engine), 20)
	last := restrict(t, kv, []string{"new"})
	line.heal()
	healed(t, feed, last)
	eventually(t, func() bool { return feed.Status().Source == SourceBucket }, status(feed))
	require.Zero(t, feed.Status().Loads)
	require.Len(t, lists(engine), 21)
}

// checkpointFile returns the bytes of a checkpoint with some steps in it.
func checkpointFile(t testing.TB) []byte {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	restrict(t, kv, keysOf(3))
	path := filepath.Join(t.TempDir(), "checkpoint")
	feed := follow(t, newEngine(), js, Options{Checkpoint: path, CheckpointInterval: time.Hour})
	for i := range 3 {
		reach(t, feed, publish(t, kv, "key-0", fmt.Sprintf("203.0.113.%d", i)))
	}
	reach(t, feed, unpublish(t, kv, "key-1"))
	feed.Close()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// state is what a checkpoint file says, or why it is refused.
func stateOf(t testing.TB, data []byte) (string, error) {
	cp := &checkpoint{path: filepath.Join(t.TempDir(), "checkpoint"), bucket: bucketName, index: make(offsets), faults: make(offsets)}
	cp.reseed()
	require.NoError(t, os.WriteFile(cp.path, data, 0o600))
	c, err := cp.read()
	if err != nil {
		require.ErrorIs(t, err, ErrCheckpoint)
		return "", err
	}
	defer cp.file.Close()
	var b strings.Builder
	for _, name := range []string{"key-0", "key-1", "key-2"} {
		rec := c.recs[name]
		v, _ := DecodeValue([]byte(rec.data))
		fmt.Fprint(&b, name, rec.kind, rec.rev, v.Entries, " ")
	}
	fmt.Fprint(&b, c.rev)
	// What is read can be written on.
	got := 0
	cp.each(func(string, record) { got++ })
	require.Equal(t, len(c.recs), got)
	return b.String(), nil
}

// A file that is cut off at any byte holds an earlier state or is refused, and
// one with a flipped bit too: never a state that never was.
func TestCheckpointDamage(t *testing.T) {
	t.Parallel()
	data := checkpointFile(t)
	states := map[string]int{}
	refused := 0
	for n := range len(data) + 1 {
		if s, err := stateOf(t, data[:n]); err != nil {
			refused++
			require.Empty(t, states, "a step that is cut off at byte %d costs more than itself", n)
		} else {
			states[s]++
		}
	}
	require.Len(t, states, 5, "the load and four steps")
	require.NotZero(t, refused)
	whole, err := stateOf(t, data)
	require.NoError(t, err)

	earlier := 0
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 1 << (i % 8)
		s, err := stateOf(t, bad)
		if err != nil {
			continue
		}
		require.Contains(t, states, s, "byte %d", i)
		require.NotEqual(t, whole, s, "byte %d", i)
		earlier++
	}
	t.Logf("of %d flipped bits, %d left an earlier state", len(data), earlier)
	require.Less(t, earlier, len(data)/3, "only damage in the last frame looks like a write that was cut off")

	// Room that was never filled.
	s, err := stateOf(t, append(bytes.Clone(data), make([]byte, 100)...))
	require.NoError(t, err)
	require.Equal(t, whole, s)
}

// The process is killed between a Confirm and the load that obeys it. The next
// one does not forget.
func TestCheckpointBeforeConfirmIsObeyed(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	restrict(t, kv, keysOf(3))
	dir := t.TempDir()
	path, killed := filepath.Join(dir, "checkpoint"), filepath.Join(dir, "killed")
	var armed atomic.Bool
	feed := follow(t, newEngine(), js, Options{Checkpoint: path, Before: func(b *Batch) {
		if b.Reset && armed.Load() {
			data, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(killed, data, 0o600)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}})
	kv = recreate(t, js)
	restrict(t, kv, []string{"key-0"})
	eventually(t, func() bool { return feed.Status().Missing == 2 }, status(feed))
	armed.Store(true)
	_, err := Confirm(within(t), kv)
	require.NoError(t, err)
	eventually(t, func() bool { return feed.Status().Missing == 0 }, status(feed))
	feed.Close()

	_, engine := revive(t, killed, Options{})
	require.Len(t, lists(engine), 3, "this is the state before")
	require.NoError(t, os.Rename(killed, killed+"-2")) // the other has the lock
	engine = newEngine()
	feed = follow(t, engine, js, Options{Checkpoint: killed + "-2"})
	eventually(t, func() bool { return feed.Ready(0) == nil }, status(feed))
	require.Len(t, lists(engine), 1)
}

// Whatever a file holds, reading it ends well, and what was read can be
// written and read again.
func FuzzCheckpoint(f *testing.F) {
	rec := func(b []byte, name string, k kind, data, why string) []byte {
		return appendRecord(b, name, record{rev: 7, kind: k}, data, why)
	}
	value, err := AppendValue(nil, Value{Entries: entriesOf("203.0.113.7")})
	require.NoError(f, err)
	at := place{created: time.Unix(1, 0), rev: 9, last: 8, lastTime: time.Unix(2, 0)}
	seed := rec(rec(rec(nil, "key", kindLive, string(value), ""), "gone", kindDeleted, "", ""), "key", kindFaulty, "", "why")
	f.Add(appendPlace(seed, at, mark{wall: time.Unix(3, 0)}), true, false)
	f.Add(appendPlace(rec(nil, "=zz", kindForeign, "", "why"), at, mark{wall: time.Unix(3, 0)}), true, true) // cut off
	f.Add(rec(nil, "key", kindMissing, string(value), ""), false, false)                                     // without a place
	f.Fuzz(func(t *testing.T, payload []byte, hasPlace, cut bool) {
		frame := append(make([]byte, frameHead), payload...)
		flags := uint32(0)
		if hasPlace {
			flags = flagMark
		}
		sealFrame(frame, flags)
		data := append(fileHead(bucketName), frame...)
		if cut {
			data = data[:len(data)-1]
		}
		path := filepath.Join(t.TempDir(), "checkpoint")
		open := func() (*checkpoint, *content) {
			cp := &checkpoint{path: path, bucket: bucketName, index: make(offsets), faults: make(offsets)}
			cp.reseed()
			c, err := cp.read()
			if err != nil {
				require.ErrorIs(t, err, ErrCheckpoint)
				return nil, nil
			}
			return cp, c
		}
		require.NoError(t, os.WriteFile(path, data, 0o600))
		cp, c := open()
		if cp == nil {
			return
		}
		require.NoError(t, cp.rewrite(c.place, func(add func(string, record, string)) error { return cp.scan(add) }))
		cp.file.Close()
		again, c2 := open()
		require.NotNil(t, again)
		again.file.Close()
		require.Equal(t, c.place, c2.place)
		require.Equal(t, c.recs, c2.recs)
		require.Equal(t, len(c.faults), len(c2.faults))
	})
}

func TestCheckpointRefused(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	restrict(t, kv, keysOf(3))
	path := filepath.Join(t.TempDir(), "checkpoint")
	follow(t, newEngine(), js, Options{Checkpoint: path}).Close()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[len(data)/2] ^= 1
	for name, bad := range map[string][]byte{
		"damaged": data, "empty": nil, "text": []byte("this is not a checkpoint file at all"),
		"other bucket": append(fileHead("another"), data[len(fileHead(bucketName)):]...),
	} {
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		inVain(t, connect(t, deadURL(t)), Options{Checkpoint: path}, errDisconnected)
		// With NATS there, the bucket is loaded and the file made anew.
		engine := newEngine()
		feed := follow(t, engine, js, Options{Checkpoint: path})
		require.Len(t, lists(engine), 3, name)
		require.Equal(t, uint64(1), feed.Status().Loads, name)
		require.NoError(t, feed.Status().CheckpointErr)
		feed.Close()
		_, engine = revive(t, path, Options{})
		require.Len(t, lists(engine), 3, name)
		require.NoError(t, os.Remove(path+".lock"))
	}

	// A stricter policy than when it was written: such lists are not in force,
	// and their keys are closed.
	policy := ipallow.DefaultPolicy()
	policy.MinBits4 = 32
	engine := ipallow.New(&ipallow.Options{DenyUntilLoaded: true, Policy: &policy})
	feed := follow(t, engine, connect(t, deadURL(t)), Options{Checkpoint: path, StartWait: -1})
	require.Equal(t, 3, feed.Status().FaultsNow)
	require.Equal(t, ipallow.Denied, engine.Check("key-0", good))
}

// The file does not grow for ever.
func TestCheckpointCompaction(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(50)
	restrict(t, kv, keys)
	put(t, kv, "closed", []byte("poison"))
	path := filepath.Join(t.TempDir(), "checkpoint")
	engine := newEngine()
	feed := follow(t, engine, js, Options{Checkpoint: path})
	put(t, kv, keys[1], []byte("poison"))
	meta := bytes.Repeat([]byte("m"), 60_000)
	largest, shrunk := int64(0), 0
	for i := range 300 {
		rev, err := Publish(within(t), kv, keys[0], entriesOf(fmt.Sprintf("203.0.113.%d", i%250)), &PublishOptions{Meta: meta})
		require.NoError(t, err)
		reach(t, feed, rev)
		info, err := os.Stat(path)
		require.NoError(t, err)
		if info.Size() < largest/2 {
			shrunk++
		}
		largest = max(largest, info.Size())
	}
	require.GreaterOrEqual(t, shrunk, 2)
	require.Less(t, largest, int64(minCompact+1<<20))
	want := lists(engine)
	feed.Close()
	r, engine := revive(t, path, Options{})
	require.Equal(t, want, lists(engine))
	require.Equal(t, 2, r.Status().FaultsNow)
	require.Equal(t, "203.0.113.0/24", lists(engine)[keys[1]])
}

// A disk that fails is said, and made good when it works again.
func TestCheckpointDiskFails(t *testing.T) {
	js := connect(t, startNode(t).url())
	path := filepath.Join(t.TempDir(), "sub", "checkpoint")
	_, err := Follow(within(t), newEngine(), js, bucketName, quick(Options{Checkpoint: path}))
	require.ErrorIs(t, err, os.ErrNotExist)

	f := bareFeed(t)
	f.o.Checkpoint = filepath.Join(t.TempDir(), "checkpoint")
	_, err = f.openCheckpoint()
	require.NoError(t, err)
	c := newContent()
	c.created, c.rev = time.Unix(1, 0), 10
	require.NoError(t, f.install(c, f.names, SourceBucket, time.Now()))
	apply := func(seq uint64, entry string) {
		data, err := AppendValue(nil, Value{Entries: entriesOf(entry)})
		require.NoError(t, err)
		require.NoError(t, f.apply(new(session), []message{{name: "key", seq: seq, time: time.Unix(2, 0), data: data}}))
	}
	apply(11, "203.0.113.1")
	require.NoError(t, f.st.cpErr)
	require.Equal(t, uint64(11), f.st.cpRev)

	swap := func(flag int) {
		require.NoError(t, f.cp.file.Close())
		f.cp.file, err = os.OpenFile(f.cp.path, flag, 0)
		require.NoError(t, err)
	}
	swap(os.O_RDONLY)
	apply(12, "203.0.113.2")
	apply(13, "203.0.113.3")
	require.Error(t, f.st.cpErr)
	require.Equal(t, uint64(11), f.st.cpRev)
	require.Equal(t, "203.0.113.3/32", lists(f.engine)["key"], "it is in force all the same")
	swap(os.O_RDWR)
	f.tickCheckpoint()
	require.NoError(t, f.st.cpErr)
	require.Equal(t, uint64(13), f.st.cpRev)
	f.closeCheckpoint()

	again := bareFeed(t)
	again.o.Checkpoint = f.o.Checkpoint
	found, err := again.openCheckpoint()
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, uint64(13), again.rev)
	require.Equal(t, "203.0.113.3/32", lists(again.engine)["key"])

	// A disk that does not come back must not fill the memory: the file stays
	// at an earlier state.
	cp := again.cp
	require.NoError(t, cp.file.Close())
	cp.buf = make([]byte, maxUnsaved+1)
	again.tickCheckpoint()
	require.Error(t, again.st.cpErr)
	require.Nil(t, cp.file)
	again.closeCheckpoint()
	last := bareFeed(t)
	last.o.Checkpoint = f.o.Checkpoint
	_, err = last.openCheckpoint()
	require.NoError(t, err)
	require.Equal(t, uint64(13), last.rev)
	last.closeCheckpoint()
}

const killEnv = "NATSFEED_KILL_CHILD"

// killChild follows with a checkpoint until it is killed.
func killChild() {
	args := strings.Split(os.Getenv(killEnv), " ")
	nc, err := nats.Connect(args[0], ConnOptions()...)
	if err != nil {
		panic(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		panic(err)
	}
	if _, err = Follow(context.Background(), newEngine(), js, bucketName, quick(Options{Checkpoint: args[1]})); err != nil {
		panic(err)
	}
	fmt.Println("following")
	select {}
}

// Whenever the process is killed, the file holds a state that was: all 100
// keys of a round, or a part of the next one in its order.
func TestCheckpointKill(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	const keys = 40
	round := func(i int) {
		for k := range keys {
			publish(t, kv, fmt.Sprintf("key-%d", k), fmt.Sprintf("203.0.%d.%d", i/250, i%250))
		}
	}
	round(0)
	path := filepath.Join(t.TempDir(), "checkpoint")
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 1; ; i++ {
			select {
			case <-quit:
				return
			default:
				round(i)
			}
		}
	}()
	kills, last := 8, uint64(0)
	for i := range kills {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), killEnv+"="+n.url()+" "+path)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		line := make([]byte, 10)
		_, err = out.Read(line)
		require.NoError(t, err)
		require.Equal(t, "following\n", string(line))
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		require.NoError(t, child.Process.Kill())
		child.Wait()

		feed, engine := revive(t, path, Options{})
		st := feed.Status()
		require.NoError(t, st.CheckpointErr)
		require.GreaterOrEqual(t, st.Revision, last)
		last = st.Revision
		got := lists(engine)
		require.Len(t, got, keys, "kill %d", i)
		// Key k has the value that was published at the last revision up to
		// the file's that is congruent to k.
		for k := range uint64(keys) {
			rev := last - (last+keys-1-k)%keys
			i := (rev - 1) / keys
			require.Equal(t, fmt.Sprintf("203.0.%d.%d/32", i/250, i%250), got["key-"+strconv.FormatUint(k, 10)], "revision %d, key %d", last, k)
		}
		feed.Close()
	}
	close(quit)
	<-ended
	t.Logf("killed %d times, the last time at revision %d", kills, last)
}
