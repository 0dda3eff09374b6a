package natsfeed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// startAccounts starts a server on which the bucket and each of these nodes have
// an account of their own. A user is named as its account.
func startAccounts(t testing.TB, names ...string) *node {
	t.Helper()
	var accounts, exports strings.Builder
	for _, name := range names {
		var imports strings.Builder
		for _, service := range []string{"CONSUMER.RESET.KV_%s.%s", "CONSUMER.MSG.NEXT.KV_%s.%s", "CONSUMER.RESET.KV_%s.%s=check", "CONSUMER.MSG.NEXT.KV_%s.%s=check"} {
			subject, stream := fmt.Sprintf(service, bucketName, name), ""
			if strings.Contains(service, "NEXT") {
				stream = ", response: stream"
			}
			fmt.Fprintf(&exports, "{ service: \"$JS.API.%s\", accounts: [%s]%s }\n", subject, name, stream)
			fmt.Fprintf(&imports, "{ service: { account: bucket, subject: \"$JS.API.%s\" }, to: \"api.%s\" }\n", subject, subject)
		}
		fmt.Fprintf(&accounts, "%s { users: [ { user: %s, password: p } ], imports: [\n%s] }\n", name, name, &imports)
	}
	path := filepath.Join(t.TempDir(), "nats.conf")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `
host: 127.0.0.1, port: -1
jetstream { store_dir: %q }
accounts {
bucket { jetstream: enabled, users: [ { user: bucket, password: p } ], exports: [
%s] }
%s}`, t.TempDir(), &exports, &accounts), 0o600))
	opts, err := server.ProcessConfigFile(path)
	require.NoError(t, err)
	opts.NoLog, opts.NoSigs, opts.SyncInterval = true, true, time.Hour
	n := &node{t: t, opts: *opts}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *node) as(account string) string {
	return fmt.Sprintf("nats://%s:p@127.0.0.1:%d", account, n.opts.Port)
}

// inAccount returns a JetStream context of a node in an account of its own.
func inAccount(t testing.TB, url string, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.NewWithAPIPrefix(connect(t, url, opts...).Conn(), "api")
	require.NoError(t, err)
	return js
}

// A node in an account of its own follows with a consumer that was made for it,
// through lost lines, a bucket that is made anew, and a consumer that is gone. It
// needs no other right.
func TestConsumer(t *testing.T) {
	t.Parallel()
	n := startAccounts(t, "a", "b")
	js := connect(t, n.as("bucket"))
	for _, cfg := range []jetstream.KeyValueConfig{{History: 3}, {TTL: time.Hour}} {
		makeBucket(t, js, cfg)
		require.Error(t, CreateConsumer(within(t), js, bucketName, "a"))
		require.NoError(t, js.DeleteKeyValue(within(t), bucketName))
	}
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(5)
	restrict(t, kv, keys)
	publish(t, kv, keys[1], "203.0.113.0/24")
	line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
	var denied atomic.Value
	lineURL := strings.Replace(line.url(), "nats://", "nats://a:p@", 1)
	a := inAccount(t, lineURL, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied.Store(err) }))
	engine := newEngine()

	short, cancel := context.WithTimeout(within(t), 2*time.Second)
	defer cancel()
	_, err := Follow(short, engine, a, bucketName, quick(Options{Consumer: "a"}))
	require.ErrorIs(t, err, ErrNoConsumer)

	for range 2 { // the second time changes nothing
		require.NoError(t, CreateConsumer(within(t), js, bucketName, "a"))
	}
	require.NoError(t, CreateConsumer(within(t), js, bucketName, "b"))
	feed := follow(t, engine, a, Options{Consumer: "a"})
	p := probe(t, engine, keys...)
	require.Equal(t, "203.0.113.0/24", lists(engine)[keys[1]])
	other := newEngine()
	follow(t, other, inAccount(t, n.as("b")), Options{Consumer: "b"})
	require.Equal(t, lists(engine), lists(other))
	for i := range 3 {
		line.cut()
		last := publish(t, kv, keys[0], fmt.Sprintf("203.0.113.%d", i))
		line.heal()
		healed(t, feed, last)
	}
	require.Equal(t, uint64(1), feed.Status().Loads)

	// The consumer is gone, as after a server lost it, and is made again.
	for _, name := range ConsumerNames("a") {
		require.NoError(t, js.DeleteConsumer(within(t), "KV_"+bucketName, name))
	}
	last := publish(t, kv, keys[0], "203.0.113.77")
	eventually(t, func() bool { return isErr(feed.Status().Err, ErrNoConsumer) }, status(feed))
	require.NoError(t, CreateConsumer(within(t), js, bucketName, "a"))
	healed(t, feed, last)

	// The bucket is made anew, with one of the lists.
	require.NoError(t, js.DeleteKeyValue(within(t), bucketName))
	kv = makeBucket(t, js, jetstream.KeyValueConfig{})
	restrict(t, kv, keys[:1])
	require.NoError(t, CreateConsumer(within(t), js, bucketName, "a"))
	eventually(t, func() bool { return isErr(feed.Ready(0), ErrMissing) }, status(feed))
	require.Len(t, lists(engine), 5)
	p.stop() // the keys that are gone are meant to be
	_, err = Confirm(within(t), kv)
	require.NoError(t, err)
	eventually(t, func() bool { return len(lists(engine)) == 1 }, status(feed))
	require.Nil(t, denied.Load())
}

// Two feeds with one consumer notice it, and neither opens a key.
func TestConsumerOfTwo(t *testing.T) {
	t.Parallel()
	n := startAccounts(t, "a")
	js := connect(t, n.as("bucket"))
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(5)
	restrict(t, kv, keys)
	require.NoError(t, CreateConsumer(within(t), js, bucketName, "a"))
	engine := newEngine()
	feed := follow(t, engine, inAccount(t, n.as("a")), Options{Consumer: "a"})
	probe(t, engine, keys...)
	second, err := Follow(within(t), newEngine(), inAccount(t, n.as("a")), bucketName, quick(Options{Consumer: "a"}))
	if err == nil {
		defer second.Close()
	}
	eventually(t, func() bool {
		publish(t, kv, keys[0], "203.0.113.9")
		time.Sleep(20 * time.Millisecond) // between two changes, so that there is a moment to ask
		return feed.Status().Sessions > 3
	}, status(feed))
	require.Len(t, lists(engine), 5)
}
