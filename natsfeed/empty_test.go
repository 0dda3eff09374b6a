package natsfeed

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// inVain calls Follow and wants it to give up with its context, naming the
// reason.
func inVain(t testing.TB, js jetstream.JetStream, o Options, reason error) {
	t.Helper()
	engine := newEngine()
	var err error
	for range 20 { // this machine may be so slow that it has not come so far
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		_, err = Follow(ctx, engine, js, bucketName, quick(o))
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		if isErr(err, reason) {
			break
		}
	}
	require.ErrorIs(t, err, reason)
	require.Equal(t, ipallow.Denied, engine.Check("any", good), "nothing is open")
}

// following begins a feed without waiting for it; the function that it returns
// does that.
func following(t testing.TB, engine *ipallow.Engine, js jetstream.JetStream, o Options) func() *Feed {
	done := make(chan *Feed, 1)
	go func() {
		feed, err := Follow(within(t), engine, js, bucketName, quick(o))
		if err != nil {
			t.Error(err)
		}
		done <- feed
	}()
	ended := sync.OnceValue(func() *Feed { return <-done })
	t.Cleanup(func() { ended().Close() })
	return func() *Feed {
		t.Helper()
		feed := ended()
		if feed == nil { // Follow has given up, and what waits for it would wait for ever
			t.FailNow()
		}
		return feed
	}
}

func TestFollowWaits(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	js := connect(t, n.url())
	inVain(t, js, Options{}, jetstream.ErrBucketNotFound)
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	inVain(t, js, Options{}, ErrEmpty)

	engine := newEngine()
	wait := following(t, engine, js, Options{})
	restrict(t, kv, keysOf(1))
	feed := wait()
	require.NoError(t, feed.Ready(0))
	require.Equal(t, ipallow.Allowed, engine.Check("key-0", good))
	feed.Close()
	n.stop()
	inVain(t, js, Options{}, errDisconnected)
}

func TestEmptyBucketOnPurpose(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	engine := newEngine()
	feed := follow(t, engine, js, Options{AcceptMissing: true})
	require.NoError(t, feed.Ready(0))
	require.Equal(t, ipallow.Unrestricted, engine.Check("any", good))
	reach(t, feed, publish(t, kv, "key", "203.0.113.7"))
	require.Equal(t, ipallow.Denied, engine.Check("key", wrong))
	recreate(t, js)
	eventually(t, func() bool { return engine.Check("key", wrong).OK() }, status(feed))

	// Confirmed, it is meant to be empty.
	engine = newEngine()
	wait := following(t, engine, js, Options{})
	_, err := Confirm(within(t), kv)
	require.NoError(t, err)
	feed = wait()
	require.NoError(t, feed.Ready(0))
	require.Equal(t, ipallow.Unrestricted, engine.Check("any", good))
}

// A node that remembers nothing starts while a bucket is being filled.
func TestRequireConfirm(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(10)
	restrict(t, kv, keys[:5])
	inVain(t, js, Options{RequireConfirm: true}, ErrUnconfirmed)

	engine := newEngine()
	probe(t, engine, keys...)
	wait := following(t, engine, js, Options{RequireConfirm: true})
	restrict(t, kv, keys)
	_, err := Confirm(within(t), kv)
	require.NoError(t, err)
	feed := wait()
	require.NoError(t, feed.Ready(0))
	require.Len(t, lists(engine), 10)
	require.Equal(t, uint64(1), feed.Status().Loads)

	// It was confirmed: the next one need not wait.
	follow(t, newEngine(), js, Options{RequireConfirm: true})
}

func TestBucketsThatForget(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{TTL: time.Hour})
	restrict(t, kv, keysOf(1))
	_, err := Follow(within(t), newEngine(), js, bucketName, quick(Options{}))
	require.ErrorIs(t, err, ErrExpires)

	stream, err := js.Stream(within(t), "KV_"+bucketName)
	require.NoError(t, err)
	cfg := stream.CachedInfo().Config
	cfg.MaxAge, cfg.MaxBytes, cfg.Discard = 0, 1<<20, jetstream.DiscardOld
	_, err = js.UpdateStream(within(t), cfg)
	require.NoError(t, err)
	_, err = Follow(within(t), newEngine(), js, bucketName, quick(Options{}))
	require.ErrorIs(t, err, ErrExpires)

	// A bucket that refuses new values when it is full forgets nothing.
	cfg.Discard = jetstream.DiscardNew
	_, err = js.UpdateStream(within(t), cfg)
	require.NoError(t, err)
	engine := newEngine()
	feed := follow(t, engine, js, Options{})

	// One that becomes forgetful is no longer followed.
	cfg.MaxAge = time.Hour
	_, err = js.UpdateStream(within(t), cfg)
	require.NoError(t, err)
	eventually(t, func() bool { return isErr(feed.Ready(0), ErrExpires) }, status(feed))
	require.Equal(t, ipallow.Denied, engine.Check("key-0", wrong))
}

func TestExpiry(t *testing.T) {
	for name, cfg := range map[string]jetstream.KeyValueConfig{
		"with markers":    {TTL: time.Second, LimitMarkerTTL: time.Minute},
		"without markers": {TTL: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := connect(t, startNode(t).url())
			kv := makeBucket(t, js, cfg)
			restrict(t, kv, keysOf(5))
			engine := newEngine()
			feed := follow(t, engine, js, Options{AllowExpiry: true})
			require.Len(t, lists(engine), 5)
			eventually(t, func() bool { return len(lists(engine)) == 0 }, status(feed))
			healed(t, feed, publish(t, kv, "key", "203.0.113.7"))
			require.Equal(t, ipallow.Denied, engine.Check("key", wrong))
		})
	}
}

// A key's own time to live is the publisher's wish, and its end a deletion.
func TestExpiryOfOneKey(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t).url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{LimitMarkerTTL: time.Minute})
	engine := newEngine()
	restrict(t, kv, keysOf(2))
	feed := follow(t, engine, js, Options{})
	data, err := AppendValue(nil, Value{Entries: entriesOf("203.0.113.7")})
	require.NoError(t, err)
	rev, err := kv.Create(within(t), "guest", data, jetstream.KeyTTL(time.Second))
	require.NoError(t, err)
	reach(t, feed, rev)
	require.Equal(t, ipallow.Denied, engine.Check("guest", wrong))
	eventually(t, func() bool { return engine.Check("guest", wrong).OK() }, status(feed))
	require.NoError(t, feed.Ready(0))
	require.Len(t, lists(engine), 2)

	require.NoError(t, kv.Purge(within(t), "key-0"))
	eventually(t, func() bool { return engine.Check("key-0", wrong).OK() }, status(feed))
	require.NoError(t, feed.Ready(0))
}

// Follow refuses a connection that would give up.
func TestConnectionThatGivesUp(t *testing.T) {
	nc, err := nats.Connect(startNode(t).url())
	require.NoError(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = Follow(within(t), newEngine(), js, bucketName, nil)
	require.ErrorIs(t, err, ErrConnection)
}
