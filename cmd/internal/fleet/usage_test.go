package fleet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/usagelog"
)

// A log is a management's log, and what fills it.
type log struct {
	t     *testing.T
	store *logstore.Store
	drain *Drain
	ring  *keyring.Ring
	dir   string
	owner Ownership
}

// alone is the ownership of a server beside which there can be none.
type alone struct{}

var always = func() chan struct{} { ch := make(chan struct{}); close(ch); return ch }()

func (alone) Owned() <-chan struct{}       { return always }
func (alone) Lost() <-chan struct{}        { return nil }
func (alone) Verify(context.Context) error { return nil }
func (alone) Claim() string                { return "test" }

func openLog(t *testing.T, l *Link) *log {
	t.Helper()
	return openLogOf(t, l, alone{})
}

func openLogOf(t *testing.T, l *Link, owner Ownership) *log {
	t.Helper()
	g := &log{t: t, ring: new(keyring.Ring), dir: filepath.Join(t.TempDir(), "quarantine")}
	var err error
	g.store, err = logstore.Open(t.Context(), logstore.Options{Path: filepath.Join(t.TempDir(), "usage.db"), Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { g.store.Close() })
	g.owner = owner
	g.open(l, g.store)
	return g
}

func (g *log) open(l *Link, store Log) {
	g.drain = NewDrain(l, g.owner, store, g.ring, g.dir)
	g.t.Cleanup(g.drain.Close)
}

// has waits until the log has this many records, none twice.
func (g *log) has(n int) {
	g.t.Helper()
	fleettest.Eventually(g.t, func() bool { return g.store.Stats().Records >= int64(n) }, func() string {
		return fmt.Sprintf("%d records; %+v", g.store.Stats().Records, g.drain.Status())
	})
	ids := map[usagelog.RecordID]int{}
	for r, err := range g.store.Stream(g.t.Context(), usagelog.Filter{}) {
		require.NoError(g.t, err)
		ids[r.ID]++
		require.Equal(g.t, 1, ids[r.ID])
	}
	require.Len(g.t, ids, n)
}

// left waits until the stream has this many messages.
func (g *log) left(js jetstream.JetStream, want uint64) {
	g.t.Helper()
	var left uint64
	fleettest.Eventually(g.t, func() bool {
		s, err := js.Stream(within(g.t), DefaultPrefix+"_usage")
		require.NoError(g.t, err)
		left = s.CachedInfo().State.Msgs
		return left == want
	}, func() string { return fmt.Sprintf("%d messages are in the stream", left) })
}

func (g *log) empty(js jetstream.JetStream) {
	g.t.Helper()
	g.left(js, 0)
}

func TestUsage(t *testing.T) {
	n := fleettest.Start(t)
	g := openLog(t, link(t, n))
	g.ring.Put(&keyring.Key{ID: testID, Scopes: keyring.Read})
	sink, err := NewSink(link(t, n), "gate 1. x")
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return sink.Append(within(t), numbered(1, 0, 10)) == nil }, func() string { return "the stream is not there" })
	// Again in other batches, as after failures; and so late that the stream has
	// forgotten, which only the log can know: the messages are others.
	require.NoError(t, sink.Append(within(t), numbered(1, 0, 10)))
	require.NoError(t, sink.Append(within(t), numbered(1, 5, 3)))
	require.NoError(t, sink.Append(within(t), numbered(1, 8, 5000)))
	g.has(5008)
	g.empty(n.JetStream())
	require.Greater(t, g.drain.Status().Records, uint64(5008), "nothing came twice: the test shows nothing")
	require.Equal(t, time.Unix(1_700_000_000, 0).UTC(), g.ring.Get(testID).LastUsed())

	// A gateway whose clock is ahead does not mark keys as used in the future.
	ahead := numbered(2, 0, 1)
	ahead[0].Time = time.Now().Add(5 * time.Hour).UTC()
	require.NoError(t, sink.Append(within(t), ahead))
	g.has(5009)
	require.WithinDuration(t, time.Now(), g.ring.Get(testID).LastUsed(), time.Minute)

	_, err = sink.Query(within(t), usagelog.Query{})
	require.ErrorIs(t, err, ErrReadElsewhere)
	for _, err := range sink.Stream(within(t), usagelog.Filter{}) {
		require.ErrorIs(t, err, ErrReadElsewhere)
	}
}

// A message that cannot be read is put aside, and holds up no other one.
func TestUsageDamage(t *testing.T) {
	n := fleettest.Start(t)
	g := openLog(t, link(t, n))
	l := link(t, n)
	sink, err := NewSink(l, "gate")
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return sink.Append(within(t), numbered(1, 0, 5)) == nil }, func() string { return "the stream is not there" })
	for _, bad := range []string{"", "this is no packet", string([]byte{packetVersion, 0xff})} {
		_, err := l.js.Publish(within(t), sink.subject, []byte(bad))
		require.NoError(t, err)
	}
	require.NoError(t, sink.Append(within(t), numbered(1, 5, 5)))
	g.has(10)
	fleettest.Eventually(t, func() bool { return g.drain.Status().Damaged == 3 }, func() string { return fmt.Sprintf("%+v", g.drain.Status()) })
	require.Contains(t, g.drain.Status().Last, "ipallow.usage.gate")
	g.empty(n.JetStream())
	files, err := os.ReadDir(g.dir)
	require.NoError(t, err)
	require.Len(t, files, 3)

	// What a later program has sent waits for a later program.
	_, err = l.js.Publish(within(t), sink.subject, []byte{packetVersion + 1, 0})
	require.NoError(t, err)
	require.NoError(t, sink.Append(within(t), numbered(1, 10, 5)))
	g.has(15)
	fleettest.Eventually(t, func() bool { return strings.Contains(g.drain.Status().Last, "waits") }, func() string { return fmt.Sprintf("%+v", g.drain.Status()) })
	require.EqualValues(t, 3, g.drain.Status().Damaged)
	g.left(l.js, 1)
}

// What cannot be put aside, because the disk has no place for it, waits too.
func TestUsageDamageOnAFullDisk(t *testing.T) {
	n := fleettest.Start(t)
	g := openLog(t, link(t, n))
	require.NoError(t, os.WriteFile(g.dir, nil, 0o600)) // no directory can be made here
	l := link(t, n)
	sink, err := NewSink(l, "gate")
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return sink.Append(within(t), numbered(1, 0, 5)) == nil }, func() string { return "the stream is not there" })
	_, err = l.js.Publish(within(t), sink.subject, []byte("this is no packet"))
	require.NoError(t, err)
	require.NoError(t, sink.Append(within(t), numbered(1, 5, 5)))
	g.has(10)
	fleettest.Eventually(t, func() bool { return strings.Contains(g.drain.Status().Last, "put aside") }, func() string { return fmt.Sprintf("%+v", g.drain.Status()) })
	require.Zero(t, g.drain.Status().Damaged)
}

// A stream and a bucket of an earlier version forget message IDs as soon as new ones
// do: the server keeps them in memory.
func TestMessageIDsAreForgotten(t *testing.T) {
	n := fleettest.Start(t)
	js := n.JetStream()
	_, err := js.CreateStream(within(t), jetstream.StreamConfig{
		Name: DefaultPrefix + "_usage", Subjects: []string{DefaultPrefix + ".usage.>"}, Retention: jetstream.WorkQueuePolicy,
		Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 2048, DiscardNewPerSubject: true, Duplicates: 30 * time.Second,
	})
	require.NoError(t, err)
	_, err = js.CreateKeyValue(within(t), jetstream.KeyValueConfig{Bucket: DefaultPrefix + "_nodes"})
	require.NoError(t, err)
	l := link(t, n)
	g := openLog(t, l)
	_, err = l.openNodes(within(t))
	require.NoError(t, err)
	for _, name := range []string{DefaultPrefix + "_usage", "KV_" + DefaultPrefix + "_nodes"} {
		fleettest.Eventually(t, func() bool {
			s, err := js.Stream(within(t), name)
			require.NoError(t, err)
			return s.CachedInfo().Config.Duplicates == duplicates
		}, func() string { return name + " keeps message IDs" })
	}
	sink, err := NewSink(link(t, n), "gate")
	require.NoError(t, err)
	require.NoError(t, sink.Append(within(t), numbered(1, 0, 5)))
	g.has(5)
}

// A Writer's records wait in its files while NATS is down, and are in the log
// once when it is back, also if it went away in the middle.
func TestUsageWhenNATSIsBack(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	g := openLog(t, link(t, n))
	sink, err := NewSink(link(t, n), "gate")
	require.NoError(t, err)
	w, err := usagelog.Open(filepath.Join(t.TempDir(), "wal"), sink, &usagelog.Options{BatchRecords: 64, StoreTimeout: 2 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { w.Close(within(t)) })
	const all = 3000
	record := func(from, to int) {
		for i := from; i < to; i++ {
			require.True(t, w.Record(numbered(1, i, 1)[0]))
		}
		require.NoError(t, w.Flush(within(t)))
	}
	record(0, 1000)
	n.Stop()
	record(1000, 2000)
	require.Positive(t, w.Stats().Pending)
	n.Start()
	record(2000, all)
	n.Stop()
	n.Start()
	require.NoError(t, w.Drain(within(t)))
	require.Zero(t, w.Stats().Lost.Total())
	g.has(all)
	g.empty(n.JetStream())
}

// failing is a store that fails for a while.
type failing struct {
	Log
	times atomic.Int32
}

func (f *failing) AppendParts(ctx context.Context, parts []logstore.Part) error {
	if f.times.Add(-1) >= 0 {
		return fmt.Errorf("no room on the disk")
	}
	return f.Log.AppendParts(ctx, parts)
}

// While the log cannot take records they stay in the stream; a management that
// is killed before it acknowledged gets them again.
func TestUsageStoreFails(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	g := openLog(t, l)
	g.drain.Close()
	f := &failing{Log: g.store}
	f.times.Store(1 << 30)
	g.open(l, f)
	sink, err := NewSink(link(t, n), "gate")
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return sink.Append(within(t), numbered(1, 0, 100)) == nil }, func() string { return "the stream is not there" })
	fleettest.Eventually(t, func() bool {
		err := g.drain.Status().Err
		return err != nil && strings.Contains(err.Error(), "no room")
	}, func() string { return fmt.Sprintf("%+v", g.drain.Status()) })
	require.Zero(t, g.store.Stats().Records)
	g.drain.Close() // with the messages in its hands
	f.times.Store(2)
	g.open(l, f)
	g.has(100)
	g.empty(n.JetStream())
	require.NoError(t, g.drain.Status().Err)
}

// A stream in which records would disappear is refused.
func TestUsageStreamThatForgets(t *testing.T) {
	n := fleettest.Start(t)
	_, err := n.JetStream().CreateStream(within(t), jetstream.StreamConfig{
		Name: DefaultPrefix + "_usage", Subjects: []string{DefaultPrefix + ".usage.>"}, MaxAge: time.Hour,
	})
	require.NoError(t, err)
	g := openLog(t, link(t, n))
	says := func(text string) {
		t.Helper()
		fleettest.Eventually(t, func() bool {
			err := g.drain.Status().Err
			return err != nil && strings.Contains(err.Error(), text)
		}, func() string { return fmt.Sprintf("%+v", g.drain.Status()) })
	}
	says("disappear")
	// An account's last stream would take the account's folders with it, some
	// time later, and the next stream with them.
	_, err = n.JetStream().CreateStream(within(t), jetstream.StreamConfig{Name: "neighbour", Subjects: []string{"neighbour"}})
	require.NoError(t, err)
	require.NoError(t, n.JetStream().DeleteStream(within(t), DefaultPrefix+"_usage"))
	_, err = n.JetStream().CreateOrUpdateStream(within(t), jetstream.StreamConfig{
		Name: DefaultPrefix + "_usage", Subjects: []string{DefaultPrefix + ".usage.>"}, Retention: jetstream.InterestPolicy,
	})
	if err == nil { // or the drain was faster and has made a good one
		says("workqueue")
	}
}
