package natsfeed

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// keysOf returns n names of keys.
func keysOf(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%d", i)
	}
	return keys
}

// restrict publishes a list for each of the keys.
func restrict(t testing.TB, kv jetstream.KeyValue, keys []string) (last uint64) {
	t.Helper()
	for _, key := range keys {
		last = publish(t, kv, key, "203.0.113.0/24")
	}
	return last
}

// healed waits until the feed is ready again, and returns how long it took
// since then.
func healed(t testing.TB, f *Feed, rev uint64) {
	t.Helper()
	start := time.Now()
	reach(t, f, rev)
	eventually(t, func() bool { return f.Ready(0) == nil }, status(f))
	took := time.Since(start)
	t.Logf("in step %v after healing", took.Round(time.Millisecond))
	require.Less(t, took, 10*time.Second)
}

func TestServerRestart(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(20)
	restrict(t, kv, keys)
	engine := newEngine()
	feed := follow(t, engine, js, Options{})
	probe(t, engine, keys...)
	for range 3 {
		n.stop()
		eventually(t, func() bool { return feed.Ready(200*time.Millisecond) != nil }, status(feed))
		require.ErrorIs(t, feed.Ready(200*time.Millisecond), ErrStale)
		require.Equal(t, ipallow.Allowed, engine.Check(keys[0], good), "what was known is in force")
		n.start()
		n.back(js)
		restrict(t, kv, keys[:5])
		healed(t, feed, publish(t, kv, "new", "203.0.113.1"))
	}
	require.Equal(t, uint64(1), feed.Status().Loads, "it continued where it was")
	require.Len(t, lists(engine), 21)
}

func TestCutOff(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(20)
	restrict(t, kv, keys)
	engine := newEngine()
	feed := follow(t, engine, connect(t, line.url()), Options{})
	probe(t, engine, keys...)

	line.cut()
	publish(t, kv, "new", "203.0.113.1")
	publish(t, kv, keys[3], "203.0.113.2")
	unpublish(t, kv, "new")
	last := publish(t, kv, "another", "203.0.113.3")
	eventually(t, func() bool { return feed.Ready(200*time.Millisecond) != nil }, status(feed))
	require.Equal(t, "RECONNECTING", feed.Status().Connection)
	line.heal()
	healed(t, feed, last)
	require.Equal(t, uint64(1), feed.Status().Loads, "nothing was missed that a load would have to find")
	got := lists(engine)
	require.Len(t, got, 21)
	require.Equal(t, "203.0.113.2/32", got[keys[3]])
	require.NotContains(t, got, "new")
}

// A line that goes dead without a word is noticed by the checks, and by the
// heartbeats alone too, and not when the system gives up on the connection a
// quarter of an hour later.
func TestHalfOpen(t *testing.T) {
	for name, every := range map[string]time.Duration{"checks": 100 * time.Millisecond, "heartbeats": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t)
			line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
			js := connect(t, n.url())
			kv := makeBucket(t, js, jetstream.KeyValueConfig{})
			keys := keysOf(20)
			restrict(t, kv, keys)
			engine := newEngine()
			feed := follow(t, engine, connect(t, line.url()), Options{
				Heartbeat: 500 * time.Millisecond, CheckInterval: every, RequestTimeout: 300 * time.Millisecond,
			})
			probe(t, engine, keys...)

			line.freeze()
			start := time.Now()
			eventually(t, func() bool { return feed.Ready(time.Second) != nil }, status(feed))
			t.Logf("not ready after %v, the limit being 1 s", time.Since(start).Round(time.Millisecond))
			require.Less(t, time.Since(start), 2*time.Second)
			last := publish(t, kv, keys[0], "203.0.113.9")
			eventually(t, func() bool { return feed.Status().Connection == "RECONNECTING" }, status(feed))
			t.Logf("the connection was given up after %v", time.Since(start).Round(time.Millisecond))
			require.Less(t, time.Since(start), 4*time.Second)
			line.heal()
			healed(t, feed, last)
			require.Equal(t, "203.0.113.9/32", lists(engine)[keys[0]])
			require.Equal(t, uint64(1), feed.Status().Loads)
		})
	}
}

// A paused consumer sends heartbeats and no messages. Only the comparison with
// the stream's last sequence tells that something is wrong.
func TestConsumerThatStopsSilently(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(5)
	restrict(t, kv, keys)
	engine := newEngine()
	feed := follow(t, engine, js, Options{})
	probe(t, engine, keys...)
	stream, err := js.Stream(within(t), "KV_"+bucketName)
	require.NoError(t, err)
	eachConsumer := func(fn func(name string)) (n int) {
		for info := range stream.ListConsumers(within(t)).Info() {
			fn(info.Name)
			n++
		}
		return n
	}

	paused := eachConsumer(func(name string) {
		_, err := js.PauseConsumer(within(t), "KV_"+bucketName, name, time.Now().Add(time.Hour))
		require.NoError(t, err)
	})
	require.Equal(t, 1, paused)
	healed(t, feed, publish(t, kv, keys[0], "203.0.113.9"))
	require.Equal(t, uint64(2), feed.Status().Sessions)

	deleted := eachConsumer(func(name string) { require.NoError(t, js.DeleteConsumer(within(t), "KV_"+bucketName, name)) })
	require.NotZero(t, deleted)
	healed(t, feed, publish(t, kv, keys[0], "203.0.113.8"))
	require.Equal(t, uint64(3), feed.Status().Sessions)
	require.Equal(t, uint64(1), feed.Status().Loads)
}

// All that a feed knew has been overwritten while it was away: it loads the
// bucket as one step.
func TestOutageLongerThanHistory(t *testing.T) {
	n := startNode(t)
	line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(20)
	restrict(t, kv, keys)
	publish(t, kv, "deleted", "203.0.113.1")
	engine := newEngine()
	feed := follow(t, engine, connect(t, line.url()), Options{})
	probe(t, engine, keys...)

	line.cut()
	for range 5 {
		restrict(t, kv, keys)
	}
	unpublish(t, kv, "deleted")
	last := publish(t, kv, "new", "203.0.113.1")
	revision := engine.Snapshot().Revision()
	line.heal()
	healed(t, feed, last)
	require.Equal(t, uint64(2), feed.Status().Loads)
	require.Equal(t, revision+1, engine.Snapshot().Revision(), "one step of the engine")
	require.Len(t, lists(engine), 21)
	require.NotContains(t, lists(engine), "deleted")
}

// While a feed was away a key was deleted, and its marker purged. It cannot
// know that the key was not lost: it keeps the list and says so until the
// bucket is confirmed.
func TestMarkerPurgedDuringOutage(t *testing.T) {
	n := startNode(t)
	line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(20)
	restrict(t, kv, keys)
	unpublish(t, kv, "long ago") // this marker stays: the numbers of names do not tell which is missing
	engine := newEngine()
	feed := follow(t, engine, connect(t, line.url()), Options{})
	probe(t, engine, keys[1:]...)

	line.cut()
	unpublish(t, kv, keys[0])
	stream, err := js.Stream(within(t), "KV_"+bucketName)
	require.NoError(t, err)
	require.NoError(t, stream.Purge(within(t), jetstream.WithPurgeSubject("$KV."+bucketName+"."+keys[0])))
	last := publish(t, kv, "new", "203.0.113.1")
	line.heal()
	eventually(t, func() bool { return feed.Status().Missing == 1 }, status(feed))
	reach(t, feed, last)
	require.Equal(t, ipallow.Denied, engine.Check(keys[0], wrong))
	require.Equal(t, ipallow.Allowed, engine.Check(keys[0], good))
	require.ErrorIs(t, feed.Ready(0), ErrMissing)

	rev, err := Confirm(within(t), kv)
	require.NoError(t, err)
	healed(t, feed, rev)
	require.Equal(t, ipallow.Unrestricted, engine.Check(keys[0], wrong))
	require.Len(t, lists(engine), 20)
	require.Zero(t, feed.Status().Missing)
}

// Housekeeping while the feed is there is nothing to it.
func TestMarkersPurgedWhileFollowing(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(20)
	restrict(t, kv, keys)
	engine := newEngine()
	feed := follow(t, engine, js, Options{})
	probe(t, engine, keys[5:]...)
	last := uint64(0)
	for _, key := range keys[:5] {
		last = unpublish(t, kv, key)
	}
	reach(t, feed, last)
	require.NoError(t, kv.PurgeDeletes(within(t), jetstream.DeleteMarkersOlderThan(-1)))
	healed(t, feed, publish(t, kv, "new", "203.0.113.1"))
	time.Sleep(500 * time.Millisecond) // several checks
	require.NoError(t, feed.Ready(0))
	require.Equal(t, uint64(1), feed.Status().Loads)
	require.Equal(t, uint64(1), feed.Status().Sessions)
}

// Behind a marker that is there, the purge of a value without one does not
// show in the number of names. A Confirm brings it to light.
func TestConfirmFindsWhatIsGone(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(5)
	restrict(t, kv, keys)
	engine := newEngine()
	feed := follow(t, engine, js, Options{})
	probe(t, engine, keys[1:]...)
	publish(t, kv, "old", "203.0.113.7")
	reach(t, feed, unpublish(t, kv, "old"))
	stream, err := js.Stream(within(t), "KV_"+bucketName)
	require.NoError(t, err)
	require.NoError(t, stream.Purge(within(t), jetstream.WithPurgeSubject("$KV."+bucketName+"."+keys[0])))
	rev, err := Confirm(within(t), kv)
	require.NoError(t, err)
	reach(t, feed, rev)
	eventually(t, func() bool { return engine.Check(keys[0], wrong).OK() }, status(feed))
	eventually(t, func() bool { return feed.Ready(0) == nil }, status(feed))
	require.Len(t, lists(engine), 4)
}

// drop deletes the bucket. With an account's last stream the server removes,
// some time later, the account's folders, and a stream that is made meanwhile
// fails ("could not create storage directory"). So there is another stream.
func drop(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	_, err := js.CreateOrUpdateStream(within(t), jetstream.StreamConfig{Name: "neighbour", Subjects: []string{"neighbour"}})
	require.NoError(t, err)
	require.NoError(t, js.DeleteKeyValue(within(t), bucketName))
}

// recreate deletes the bucket and makes a new one.
func recreate(t testing.TB, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	drop(t, js)
	return makeBucket(t, js, jetstream.KeyValueConfig{})
}

func TestBucketRecreated(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(20)
	restrict(t, kv, keys)
	engine := newEngine()
	feed := follow(t, engine, js, Options{})
	p := probe(t, engine, keys...)

	// Empty, it opens nothing.
	kv = recreate(t, js)
	eventually(t, func() bool { return isErr(feed.Ready(0), ErrEmpty) }, status(feed))
	require.Len(t, lists(engine), 20)

	// Filled in part, it opens nothing either: the new values count, and the
	// keys that are not there yet keep their lists.
	publish(t, kv, keys[0], "203.0.113.9")
	eventually(t, func() bool { return feed.Status().Missing == 19 }, status(feed))
	require.ErrorIs(t, feed.Ready(0), ErrMissing)
	require.Len(t, lists(engine), 20)
	require.Equal(t, "203.0.113.9/32", lists(engine)[keys[0]])

	// Filled, all is well.
	healed(t, feed, restrict(t, kv, keys))
	require.Zero(t, feed.Status().Missing)
	p.stop()

	// A key that is not published again goes with a deletion, or when the
	// bucket is confirmed.
	kv = recreate(t, js)
	restrict(t, kv, keys[2:])
	eventually(t, func() bool { return feed.Status().Missing == 2 }, status(feed))
	unpublish(t, kv, keys[0])
	eventually(t, func() bool { return feed.Status().Missing == 1 }, status(feed))
	require.Equal(t, ipallow.Denied, engine.Check(keys[1], wrong))
	rev, err := Confirm(within(t), kv)
	require.NoError(t, err)
	healed(t, feed, rev)
	require.Equal(t, ipallow.Unrestricted, engine.Check(keys[1], wrong))
	require.Len(t, lists(engine), 18)
}

// A new bucket may be as long as the old one before the feed looks: sequences
// alone do not tell them apart.
func TestBucketRecreatedWhileAway(t *testing.T) {
	n := startNode(t)
	line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(20)
	restrict(t, kv, keys)
	engine := newEngine()
	feed := follow(t, engine, connect(t, line.url()), Options{})
	probe(t, engine, keys...)
	line.cut()
	kv = recreate(t, js)
	restrict(t, kv, keys[5:])
	last := restrict(t, kv, keys[5:])
	line.heal()
	reach(t, feed, last)
	eventually(t, func() bool { return feed.Status().Missing == 5 }, status(feed))
	require.ErrorIs(t, feed.Ready(0), ErrMissing)
	require.Len(t, lists(engine), 20)
	healed(t, feed, restrict(t, kv, keys[:5]))
}

func TestBucketPurged(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(20)
	restrict(t, kv, keys)
	engine := newEngine()
	feed := follow(t, engine, js, Options{})
	p := probe(t, engine, keys...)
	stream, err := js.Stream(within(t), "KV_"+bucketName)
	require.NoError(t, err)

	// One subject, without a marker.
	require.NoError(t, stream.Purge(within(t), jetstream.WithPurgeSubject("$KV."+bucketName+"."+keys[0])))
	eventually(t, func() bool { return feed.Status().Missing == 1 }, status(feed))
	require.ErrorIs(t, feed.Ready(0), ErrMissing)
	healed(t, feed, restrict(t, kv, keys[:1]))

	// The whole stream.
	require.NoError(t, stream.Purge(within(t)))
	eventually(t, func() bool { return isErr(feed.Ready(0), ErrEmpty) }, status(feed))
	publish(t, kv, keys[0], "203.0.113.9")
	eventually(t, func() bool { return feed.Status().Missing == 19 }, status(feed))
	require.Len(t, lists(engine), 20)
	p.stop()

	// The operator of this node says that it is meant.
	feed.AcceptMissing()
	eventually(t, func() bool { return feed.Status().Missing == 0 && feed.Ready(0) == nil }, status(feed))
	require.Len(t, lists(engine), 1)
	require.NoError(t, stream.Purge(within(t)))
	eventually(t, func() bool { return isErr(feed.Ready(0), ErrEmpty) }, status(feed))
	feed.AcceptMissing()
	eventually(t, func() bool { return feed.Ready(0) == nil }, status(feed))
	require.Empty(t, lists(engine))
}
