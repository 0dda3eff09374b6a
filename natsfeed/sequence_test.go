package natsfeed

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// A world is a server, a line to it and a feed, with a plain map of what the
// engine must have in the end.
type world struct {
	t      *testing.T
	r      *rand.Rand
	n      *node
	line   *proxy
	js, fs jetstream.JetStream // the publisher's, and the feed's
	kv     jetstream.KeyValue
	path   string
	engine *ipallow.Engine
	feed   *Feed

	want   map[string]string // key: its list, as text
	broken map[string]bool   // the bucket's last value cannot be read
	last   uint64
	log    []string
}

func (w *world) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

func (w *world) key() string { return fmt.Sprintf("key %d", w.r.IntN(12)) }

func (w *world) publish(key string) {
	entries := entriesOf(fmt.Sprintf("203.0.113.%d", w.r.IntN(250)), "192.0.2.0/24")[:w.r.IntN(3)]
	rev, err := Publish(within(w.t), w.kv, key, entries, nil)
	require.NoError(w.t, err)
	w.last = rev
	delete(w.want, key)
	delete(w.broken, key)
	for _, e := range entries {
		w.want[key] = (w.want[key] + " " + e.String())
	}
	if w.want[key] != "" {
		w.want[key] = w.want[key][1:]
	}
	w.note("publish %q %q", key, w.want[key])
}

// ops are what can happen. Each leaves the server running and the line whole.
var ops = []struct {
	name   string
	weight int
	do     func(w *world)
}{
	{"publish", 40, func(w *world) { w.publish(w.key()) }},
	{"delete", 12, func(w *world) {
		key := w.key()
		w.last = unpublish(w.t, w.kv, key)
		w.note("delete %q", key)
		delete(w.want, key)
		delete(w.broken, key)
	}},
	{"purge", 4, func(w *world) {
		key := w.key()
		name, _ := KeyName(key)
		require.NoError(w.t, w.kv.Purge(within(w.t), name))
		delete(w.want, key)
		delete(w.broken, key)
		stream, err := w.js.Stream(within(w.t), "KV_"+bucketName)
		require.NoError(w.t, err)
		w.last = stream.CachedInfo().State.LastSeq
		w.note("purge %q", key)
	}},
	{"poison", 8, func(w *world) {
		key := w.key()
		name, _ := KeyName(key)
		w.last = put(w.t, w.kv, name, []byte("poison"))
		w.broken[key] = true
		w.note("poison %q", key)
	}},
	{"markers", 3, func(w *world) {
		require.NoError(w.t, w.kv.PurgeDeletes(within(w.t), jetstream.DeleteMarkersOlderThan(-1)))
		rev, err := Confirm(within(w.t), w.kv)
		require.NoError(w.t, err)
		w.last = rev
	}},
	{"wait", 6, func(w *world) { w.settle() }},
	{"cut", 5, func(w *world) {
		w.line.cut()
		for range w.r.IntN(10) {
			w.publish(w.key())
		}
		w.line.heal()
	}},
	{"freeze", 1, func(w *world) {
		w.line.freeze()
		w.publish(w.key())
		w.line.heal()
	}},
	{"server restart", 2, func(w *world) {
		w.n.stop()
		w.n.start()
		w.n.back(w.js)
	}},
	{"feed restart", 3, func(w *world) {
		w.settle() // what a stopped feed has not seen is tested below, by "away"
		w.feed.Close()
		w.follow()
	}},
	{"away", 3, func(w *world) {
		w.settle()
		w.feed.Close()
		for range w.r.IntN(10) {
			w.publish(w.key())
		}
		w.follow()
	}},
	{"re-created", 1, func(w *world) {
		w.settle()
		w.kv = recreate(w.t, w.js)
		for key := range w.want {
			if !w.broken[key] {
				w.republish(key)
			}
		}
		for key := range w.broken { // these the old bucket never told
			delete(w.broken, key)
			w.publish(key)
		}
		rev, err := Confirm(within(w.t), w.kv)
		require.NoError(w.t, err)
		w.last = rev
	}},
}

func (w *world) republish(key string) {
	entries, ok := w.engine.Snapshot().Entries(key)
	require.True(w.t, ok)
	rev, err := Publish(within(w.t), w.kv, key, entries, nil)
	require.NoError(w.t, err)
	w.last = rev
}

func (w *world) follow() {
	w.engine = newEngine()
	w.feed = follow(w.t, w.engine, w.fs, Options{Checkpoint: w.path})
}

// settle waits until the feed is in step and compares.
func (w *world) settle() {
	w.t.Helper()
	stream, err := w.js.Stream(within(w.t), "KV_"+bucketName)
	require.NoError(w.t, err)
	start := time.Now()
	eventually(w.t, func() bool {
		st := w.feed.Status()
		return st.Created.Equal(stream.CachedInfo().Created) && st.Revision >= w.last && st.Lag == 0 &&
			st.Err == nil && w.feed.Ready(0) == nil && st.Source == SourceBucket && st.Staleness < time.Since(start)
	}, func() string { return fmt.Sprintf("%+v\n%v", w.feed.Status(), w.log) })
	got := lists(w.engine)
	for key := range w.broken {
		// It keeps the last list that the feed saw, or is closed.
		require.NotEmpty(w.t, got[key], "%q\n%v", key, w.log)
		delete(got, key)
	}
	want := map[string]string{}
	for key, list := range w.want {
		if !w.broken[key] {
			want[key] = list
		}
	}
	require.Equal(w.t, want, got, "%+v\n%v", w.feed.Status(), w.log)
	require.Equal(w.t, len(w.broken), w.feed.Status().FaultsNow)
}

// Whatever happens in whatever order, in the end the engine has what a map
// has.
func TestSequences(t *testing.T) {
	rounds, steps := 3, 60
	if testing.Short() || raceEnabled {
		rounds = 2
	}
	seed := uint64(time.Now().UnixNano())
	for i := range rounds {
		t.Run(fmt.Sprintf("seed=%d", seed+uint64(i)), func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, r: rand.New(rand.NewPCG(seed+uint64(i), 0)), want: map[string]string{}, broken: map[string]bool{}}
			w.n = startNode(t)
			w.line = startProxy(t, fmt.Sprintf("127.0.0.1:%d", w.n.opts.Port))
			w.js, w.fs = connect(t, w.n.url()), connect(t, w.line.url())
			w.kv = makeBucket(t, w.js, jetstream.KeyValueConfig{History: uint8(1 + 2*(i%2))})
			w.path = filepath.Join(t.TempDir(), "checkpoint")
			publish(t, w.kv, "canary", "203.0.113.0/24")
			w.want["canary"] = "203.0.113.0/24"
			w.follow()
			sum := 0
			for _, op := range ops {
				sum += op.weight
			}
			seen := map[string]int{}
			for range steps {
				x := w.r.IntN(sum)
				for _, op := range ops {
					if x -= op.weight; x < 0 {
						w.note("%s:", op.name)
						seen[op.name]++
						op.do(w)
						break
					}
				}
				require.Equal(t, ipallow.Denied, w.engine.Check("canary", wrong))
			}
			w.settle()
			st := w.feed.Status()
			t.Logf("%v; loads %d, sessions %d, faults %d", seen, st.Loads, st.Sessions, st.Faulty)
		})
	}
}
