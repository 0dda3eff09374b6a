package natsfeed

import (
	"maps"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// A ring stands for what authenticates requests: the keys that are known, with
// their Meta. It checks at each change that the engine's list comes first and
// goes last.
type ring struct {
	t      *testing.T
	engine *ipallow.Engine
	keys   map[string]string
	seen   atomic.Pointer[map[string]string] // a copy of keys
	resets int
	order  []uint64
}

func (r *ring) hooks(o Options) Options {
	o.Before = func(b *Batch) {
		for key := range r.keys {
			if b.Gone(key) {
				_, has := r.engine.Snapshot().Entries(key)
				assert.True(r.t, has || key == "open", "key %q: the list has gone before the key", key)
				delete(r.keys, key)
			}
		}
		for c := range b.All() {
			if len(c.Entries) > 0 && r.keys[c.Key] == "" {
				got, _ := r.engine.Snapshot().Entries(c.Key)
				assert.NotEqual(r.t, c.Entries, got, "Before comes too late")
			}
		}
	}
	o.After = func(b *Batch) {
		if b.Reset {
			r.resets++
		}
		for c := range b.All() {
			assert.Equal(r.t, c.Deleted, b.Gone(c.Key))
			if !b.Reset {
				r.order = append(r.order, c.Revision)
			}
			if c.Deleted {
				continue
			}
			got, _ := r.engine.Snapshot().Entries(c.Key)
			assert.Equal(r.t, c.Entries, got, "key %q: its list is not in force", c.Key)
			r.keys[c.Key] = string(c.Meta)
		}
		known := maps.Clone(r.keys)
		r.seen.Store(&known)
	}
	return o
}

func TestHooks(t *testing.T) {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	with := func(key, meta string, entries ...string) uint64 {
		t.Helper()
		rev, err := Publish(within(t), kv, key, entriesOf(entries...), &PublishOptions{Meta: []byte(meta)})
		require.NoError(t, err)
		return rev
	}
	with("a", "secret-a", "203.0.113.1")
	with("b", "secret-b", "203.0.113.2")
	with("open", "secret-open")
	unpublish(t, kv, "gone")
	engine := newEngine()
	r := &ring{t: t, engine: engine, keys: map[string]string{}}
	feed := follow(t, engine, js, r.hooks(Options{}))
	want := map[string]string{"a": "secret-a", "b": "secret-b", "open": "secret-open"}
	require.Equal(t, want, r.keys)
	require.Equal(t, 1, r.resets)

	with("c", "secret-c", "203.0.113.3")
	with("a", "secret-a2", "203.0.113.4")
	put(t, kv, "b", []byte("poison"))
	last := unpublish(t, kv, "c")
	reach(t, feed, last)
	feed.Close()
	want["a"] = "secret-a2"
	require.Equal(t, want, r.keys)
	require.IsIncreasing(t, r.order)

	// In a re-created bucket b is missing; it and its list stay. Without a
	// checkpoint its Meta is not known, and it is not in the batch.
	engine = newEngine()
	r = &ring{t: t, engine: engine, keys: map[string]string{}}
	with("b", "secret-b", "203.0.113.2")
	feed = follow(t, engine, js, r.hooks(Options{}))
	kv = recreate(t, js)
	with("a", "secret-a3", "203.0.113.4")
	eventually(t, func() bool { return feed.Status().Missing == 2 }, status(feed)) // b and open
	require.Equal(t, map[string]string{"a": "secret-a3", "b": "secret-b", "open": "secret-open"}, *r.seen.Load())
	_, err := Confirm(within(t), kv)
	require.NoError(t, err)
	eventually(t, func() bool { return feed.Ready(0) == nil }, status(feed))
	feed.Close()
	require.Equal(t, map[string]string{"a": "secret-a3"}, r.keys)
	require.Len(t, lists(engine), 1)
}
