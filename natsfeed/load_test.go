package natsfeed

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// A load that meets values which are overwritten just then must not miss their
// keys: they would be open until the new value arrives.
func TestLoadDuringChanges(t *testing.T) {
	for _, history := range []uint8{1, 4} {
		js := connect(t, startNode(t).url())
		kv := makeBucket(t, js, jetstream.KeyValueConfig{History: history})
		keys := keysOf(50)
		restrict(t, kv, keys)
		quit := make(chan struct{})
		var wg sync.WaitGroup
		for w := range 2 {
			wg.Go(func() {
				for i := w; ; i++ {
					select {
					case <-quit:
						return
					default:
						publish(t, kv, keys[i*7%len(keys)], fmt.Sprintf("203.0.113.%d", i%250))
					}
				}
			})
		}
		loads, rounds := uint64(0), 8
		for range rounds {
			engine := newEngine()
			p := probe(t, engine, keys...)
			feed := follow(t, engine, js, Options{})
			require.Len(t, lists(engine), len(keys), "as soon as it is loaded")
			reach(t, feed, feed.Status().Revision+20)
			loads += feed.Status().Loads
			feed.Close()
			p.stop()
		}
		close(quit)
		wg.Wait()
		// On a machine so busy that a heartbeat is missed, more has been
		// overwritten than a feed can resume from.
		require.GreaterOrEqual(t, loads, uint64(rounds))
	}
}

// The line to the feed is held up in the middle of a load, and values that were
// not sent yet are overwritten and deleted. They come behind what the load
// waited for at first.
func TestLoadHeldUp(t *testing.T) {
	n := startNode(t)
	line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	const keys = pullMessages + 10_000 // more than the server sends ahead
	fill(t, js, keys)
	key := func(i int) string { return fmt.Sprintf("ipk_%029d", i) }
	line.hold(100_000)
	engine, first := newEngine(), make(chan int, 1)
	wait := following(t, engine, connect(t, line.url()), Options{
		RequestTimeout: 20 * time.Second, Heartbeat: 15 * time.Second, // the line is not dead
		After: func(b *Batch) {
			if b.Reset {
				first <- engine.Snapshot().Len()
			}
		},
	})
	select {
	case <-line.waiting:
	case <-time.After(time.Minute):
		require.FailNow(t, "the load was never held up", "%v", wait().Status())
	}
	for i := keys - 50; i < keys; i++ {
		publish(t, kv, key(i), "203.0.113.9")
	}
	for i := range 10 {
		unpublish(t, kv, key(keys-100+i))
	}
	line.release()
	feed := wait()
	require.Equal(t, keys-10, <-first, "keys that were overwritten must not be missing for a moment")
	require.Equal(t, uint64(1), feed.Status().Loads)
	require.Equal(t, keys-10, engine.Snapshot().Len())
}

// fill publishes lists for n keys without waiting for each.
func fill(t testing.TB, js jetstream.JetStream, n int) {
	t.Helper()
	var last jetstream.PubAckFuture
	for i := range n {
		name, err := KeyName(fmt.Sprintf("ipk_%029d", i))
		require.NoError(t, err)
		data, err := AppendValue(nil, Value{Entries: entriesOf("203.0.113.0/24",
			fmt.Sprintf("198.51.%d.%d", i>>8&255, i&255), "192.0.2.0/25", "2001:db8::/48", "203.0.112.7")})
		require.NoError(t, err)
		last, err = js.PublishAsync("$KV."+bucketName+"."+name, data, jetstream.WithStallWait(time.Minute))
		require.NoError(t, err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(5 * time.Minute):
		require.FailNow(t, "publishing takes too long")
	}
	select {
	case err := <-last.Err():
		require.NoError(t, err)
	case <-last.Ok():
	}
}

func TestLoadOfManyKeys(t *testing.T) {
	n := 100_000
	if testing.Short() || raceEnabled {
		n = 5_000
	}
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{Storage: jetstream.MemoryStorage})
	fill(t, js, n)
	path := t.TempDir() + "/checkpoint"
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	engine := newEngine()
	before, start := heap(), time.Now()
	feed := follow(t, engine, js, Options{Checkpoint: path})
	took := time.Since(start)
	require.Equal(t, n, engine.Snapshot().Len())
	st := feed.Status()
	require.Equal(t, uint64(n), st.Revision)
	t.Logf("%d keys: ready after %v; %d bytes a key in the engine and the feed", n, took.Round(time.Millisecond), (heap()-before)/uint64(n))
	start = time.Now()
	reach(t, feed, publish(t, kv, "one more", "203.0.113.7"))
	t.Logf("a change then is in force %v after it is acknowledged", time.Since(start).Round(10*time.Microsecond))
	feed.Close()

	start = time.Now()
	engine = newEngine()
	feed = follow(t, engine, js, Options{Checkpoint: path})
	t.Logf("from the checkpoint, and in step: %v", time.Since(start).Round(time.Millisecond))
	require.Equal(t, n+1, engine.Snapshot().Len())
	require.Zero(t, feed.Status().Loads)
}

// BenchmarkLoad measures how long a node takes until it is ready, from the
// bucket and from a checkpoint, and what the engine and the feed hold then.
func BenchmarkLoad(b *testing.B) {
	for _, keys := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			js := connect(b, startNode(b).url())
			makeBucket(b, js, jetstream.KeyValueConfig{})
			fill(b, js, keys)
			path := b.TempDir() + "/checkpoint"
			ready := func(o Options) (time.Duration, int64) {
				var with, without runtime.MemStats
				engine, start := newEngine(), time.Now()
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
				defer cancel()
				feed, err := Follow(ctx, engine, js, bucketName, &o)
				require.NoError(b, err)
				took := time.Since(start)
				require.Equal(b, keys, engine.Snapshot().Len())
				runtime.GC()
				runtime.ReadMemStats(&with)
				runtime.KeepAlive(engine)
				feed.Close()
				engine, feed = nil, nil
				least := uint64(math.MaxUint64)
				for range 20 { // what nats.go holds goes a little later
					time.Sleep(100 * time.Millisecond)
					runtime.GC()
					runtime.ReadMemStats(&without)
					least = min(least, without.HeapAlloc)
				}
				return took, (int64(with.HeapAlloc) - int64(least)) / int64(keys)
			}
			for b.Loop() {
				load, held := ready(Options{})
				b.ReportMetric(load.Seconds(), "load-s")
				b.ReportMetric(float64(held), "B/key")
				load, held = ready(Options{Checkpoint: path})
				b.ReportMetric(load.Seconds(), "load+write-s")
				b.ReportMetric(float64(held), "B/key+checkpoint")
				load, _ = ready(Options{Checkpoint: path})
				b.ReportMetric(load.Seconds(), "checkpoint-s")
			}
		})
	}
}
