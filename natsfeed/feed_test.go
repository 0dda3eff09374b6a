package natsfeed

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

func TestFollow(t *testing.T) {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	publish(t, kv, "key-1", "203.0.113.0/24", "2001:db8::/48")
	publish(t, kv, "key-2", "198.51.100.0/24")
	publish(t, kv, "key-2", "203.0.113.7")
	publish(t, kv, "a key", "203.0.113.9")
	publish(t, kv, "open")
	publish(t, kv, "deleted", "203.0.113.9")
	unpublish(t, kv, "deleted")

	engine := newEngine()
	require.False(t, engine.Check("unknown", good).OK())
	feed := follow(t, engine, js, Options{})
	want := map[string]string{"key-1": "203.0.113.0/24 2001:db8::/48", "key-2": "203.0.113.7/32", "a key": "203.0.113.9/32"}
	require.Equal(t, want, lists(engine))
	require.Equal(t, ipallow.Allowed, engine.Check("key-1", good))
	require.Equal(t, ipallow.Denied, engine.Check("key-1", wrong))
	require.Equal(t, ipallow.Unrestricted, engine.Check("open", wrong))
	require.NoError(t, feed.Ready(0))

	publish(t, kv, "key-3", "203.0.113.3")
	publish(t, kv, "key-1", "203.0.113.1")
	reach(t, feed, unpublish(t, kv, "key-2"))
	want = map[string]string{"key-1": "203.0.113.1/32", "key-3": "203.0.113.3/32", "a key": "203.0.113.9/32"}
	require.Equal(t, want, lists(engine))
	reach(t, feed, publish(t, kv, "key-1"))
	delete(want, "key-1")
	require.Equal(t, want, lists(engine))

	st := feed.Status()
	require.Equal(t, SourceBucket, st.Source)
	require.Equal(t, "CONNECTED", st.Connection)
	require.Equal(t, uint64(1), st.Loads)
	require.Equal(t, uint64(1), st.Sessions)
	require.Equal(t, uint64(4), st.Applied)
	require.Zero(t, st.Lag)
	require.NoError(t, st.Err)
	require.NoError(t, feed.Close())
	require.ErrorIs(t, feed.Ready(0), ErrClosed)
	require.NoError(t, feed.Close(), "twice")
}

func TestBatchesAreAtomic(t *testing.T) {
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	publish(t, kv, "first", "203.0.113.7")
	engine := newEngine()
	hold, held := make(chan struct{}), make(chan struct{})
	var batches []uint64
	feed := follow(t, engine, js, Options{Before: func(b *Batch) {
		if b.Reset {
			return
		}
		n := uint64(0)
		for range b.All() {
			n++
		}
		batches = append(batches, n)
		if len(batches) == 1 {
			close(held)
			<-hold
		}
	}})
	// While the first change is held up, many more arrive; they become one
	// step, of which no reader sees a part.
	publish(t, kv, "first", "203.0.113.8")
	<-held
	const keys = 200
	last := uint64(0)
	for round := range 2 {
		for i := range keys {
			last = publish(t, kv, fmt.Sprintf("key-%d", i), fmt.Sprintf("203.0.113.%d", round+1))
		}
	}
	before := engine.Snapshot().Revision()
	eventually(t, func() bool { return feed.received.Load() >= 2+2*keys }, status(feed))
	close(hold)
	reach(t, feed, last)
	require.Equal(t, []uint64{1, keys}, batches, "of each key only the last value")
	require.Equal(t, before+2, engine.Snapshot().Revision())
	require.Equal(t, keys+1, engine.Snapshot().Len())
	require.Equal(t, uint64(2), feed.Status().Batches)
}

// A client that is too slow drops messages, which nobody sends again.
func TestLeftOutMessage(t *testing.T) {
	s := &session{in: make(chan message, 8), quit: make(chan struct{}), faults: make(chan error, 1)}
	number := func(n uint64) *nats.Msg {
		return &nats.Msg{Subject: "$KV.allowlists.key.1", Reply: fmt.Sprintf("$JS.ACK.KV_allowlists.c.1.%d.%d.0.0", n+10, n), Sub: new(nats.Subscription)}
	}
	s.handle(number(1))
	s.handle(number(2))
	require.Equal(t, "key.1", (<-s.in).name)
	require.Equal(t, uint64(12), (<-s.in).seq)
	s.handle(number(4))
	require.ErrorIs(t, <-s.faults, errOutOfOrder)
	require.Empty(t, s.in, "what comes behind a gap is not applied")
}
