package natsfeed

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// backup copies the server's directory while it is stopped, and returns a
// function that puts the copy back.
func (n *node) backup() (restore func()) {
	n.t.Helper()
	dir := filepath.Join(n.t.TempDir(), "backup")
	n.stop()
	require.NoError(n.t, os.CopyFS(dir, os.DirFS(n.opts.StoreDir)))
	n.start()
	return func() {
		n.stop()
		require.NoError(n.t, os.RemoveAll(n.opts.StoreDir))
		require.NoError(n.t, os.CopyFS(n.opts.StoreDir, os.DirFS(dir)))
		n.start()
	}
}

// The server loses its last writes and gives their sequences to others, as one
// does that is restored from a backup, or that lost power with writes not yet on the disk. The
// stream is the same one by its name, its date and its length.
func TestRolledBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		others, again int
		newKeyLast    bool
	}{
		"shorter": {2, 0, false}, "longer": {8, 0, false},
		// As many names as before, and all that is new behind the last revision is
		// of a known key: only the last message tells.
		"alike": {5, 3, false},
		// As many names as before, and the last one has no message any more: only the
		// length tells.
		"shorter, alike": {5, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t)
			line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
			js := connect(t, n.url())
			kv := makeBucket(t, js, jetstream.KeyValueConfig{})
			keys := keysOf(10)
			restrict(t, kv, keys[:5])
			_, err := Confirm(within(t), kv)
			require.NoError(t, err)
			restore := n.backup()
			n.back(js)
			engine := newEngine()
			feed := follow(t, engine, connect(t, line.url()), Options{})
			var last uint64
			if c.newKeyLast {
				publish(t, kv, keys[0], "203.0.113.98")
				publish(t, kv, keys[0], "203.0.113.99")
				last = restrict(t, kv, keys[5:])
			} else {
				restrict(t, kv, keys[5:])
				last = publish(t, kv, keys[0], "203.0.113.99")
			}
			reach(t, feed, last)
			p := probe(t, engine, keys...)

			line.cut()
			restore()
			n.back(js)
			for i := range c.others {
				last = publish(t, kv, fmt.Sprintf("other-%d", i), "203.0.113.7")
			}
			for range c.again {
				last = publish(t, kv, keys[1], "203.0.113.0/24")
			}
			line.heal()
			eventually(t, func() bool { return feed.Status().Missing == 5 }, status(feed))
			require.ErrorIs(t, feed.Ready(0), ErrMissing)
			require.Equal(t, 10+c.others, engine.Snapshot().Len())
			require.Equal(t, "203.0.113.0/24", lists(engine)[keys[0]], "the bucket's word counts for what it has")
			require.Equal(t, last, feed.Status().Revision)
			p.stop()
			// The Confirm in the backup is an old one and says nothing; a new
			// one does, even if its sequence is lower than that.
			rev, err := Confirm(within(t), kv)
			require.NoError(t, err)
			reach(t, feed, rev)
			eventually(t, func() bool { return feed.Status().Missing == 0 }, status(feed))
			require.NoError(t, feed.Ready(0))
			require.Equal(t, ipallow.Unrestricted, engine.Check(keys[7], wrong))
			require.Equal(t, ipallow.Denied, engine.Check(keys[0], wrong))
		})
	}
}

// The server loses its last writes while a node is cut off, and when that comes back the
// numbers have gone on, and the key that it saw last was written again. What got the
// numbers that it had seen, it would never ask for: the deletion of a key above all.
func TestRolledBackAndOvertaken(t *testing.T) {
	t.Parallel()
	for name, consumer := range map[string]string{"own consumer": "node", "shared": ""} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t)
			line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
			js := connect(t, n.url())
			kv := makeBucket(t, js, jetstream.KeyValueConfig{})
			keys := keysOf(20)
			restrict(t, kv, keys)
			restore := n.backup()
			n.back(js)
			if consumer != "" {
				require.NoError(t, CreateConsumer(within(t), js, bucketName, consumer))
			}
			engine := newEngine()
			feed := follow(t, engine, connect(t, line.url()), Options{Consumer: consumer})
			last := uint64(0)
			for _, key := range keys[10:] {
				last = publish(t, kv, key, "203.0.113.7")
			}
			reach(t, feed, last)
			seen := last

			line.cut()
			restore()
			n.back(js)
			narrowed := publish(t, kv, keys[0], "203.0.113.99")
			require.LessOrEqual(t, narrowed, seen)
			for last <= seen+5 {
				for _, key := range keys[10:] {
					last = publish(t, kv, key, "203.0.113.8")
				}
			}
			if consumer != "" {
				require.NoError(t, CreateConsumer(within(t), js, bucketName, consumer))
			}
			line.heal()
			reach(t, feed, last)
			require.Equal(t, "203.0.113.99/32", lists(engine)[keys[0]])
			require.Equal(t, uint64(2), feed.Status().Loads)

			// Without a loss nothing is loaded, however little is left of what was seen.
			line.cut()
			for range 3 {
				for _, key := range keys[1:] {
					last = publish(t, kv, key, "203.0.113.9")
				}
			}
			line.heal()
			reach(t, feed, last)
			require.Equal(t, uint64(2), feed.Status().Loads)
		})
	}
}

// The stream's last messages were removed before the feed saw them: there is
// nothing to wait for.
func TestLastMessagesRemoved(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
	js := connect(t, n.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	restrict(t, kv, keysOf(3))
	engine := newEngine()
	feed := follow(t, engine, connect(t, line.url()), Options{})
	stream, err := js.Stream(within(t), "KV_"+bucketName)
	require.NoError(t, err)
	line.cut()
	last := publish(t, kv, "guest", "203.0.113.7")
	require.NoError(t, stream.Purge(within(t), jetstream.WithPurgeSubject("$KV."+bucketName+".guest")))
	line.heal()
	healed(t, feed, last)
	require.NoError(t, feed.Status().Err)
	require.Len(t, lists(engine), 3)
	require.Equal(t, uint64(1), feed.Status().Loads)
	require.Equal(t, uint64(2), feed.Status().Sessions)

	// The same for a load: the file has nothing, the stream's end is gone.
	last = publish(t, kv, "guest", "203.0.113.7")
	require.NoError(t, stream.Purge(within(t), jetstream.WithPurgeSubject("$KV."+bucketName+".guest")))
	second := follow(t, newEngine(), js, Options{})
	require.Equal(t, last, second.Status().Revision)
	require.Len(t, lists(second.engine), 3)
}
