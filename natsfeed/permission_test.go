package natsfeed

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// A node needs no right to write: these are all that a feed asks for. They are
// in docs/fleet.md.
func TestPermissions(t *testing.T) {
	t.Parallel()
	api := func(what string) string { return "$JS.API." + what + ".KV_" + bucketName }
	reader := &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			api("STREAM.INFO"), api("STREAM.MSG.GET"),
			api("CONSUMER.CREATE") + ".>", api("CONSUMER.MSG.NEXT") + ".>", api("CONSUMER.DELETE") + ".>",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}
	n := &node{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{{Username: "publisher", Password: "p"}, {Username: "node", Password: "n", Permissions: reader}},
	}}
	n.start()
	t.Cleanup(n.stop)
	as := func(user, password string) string {
		return fmt.Sprintf("nats://%s:%s@127.0.0.1:%d", user, password, n.opts.Port)
	}
	js := connect(t, as("publisher", "p"))
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(5)
	restrict(t, kv, keys)
	line := startProxy(t, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
	var denied atomic.Value
	nodeJS := connect(t, line.url(), nats.UserInfo("node", "n"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied.Store(err) }))
	engine := newEngine()
	feed := follow(t, engine, nodeJS, Options{})
	probe(t, engine, keys...)
	for range 2 {
		line.cut()
		last := publish(t, kv, keys[0], "203.0.113.9")
		line.heal()
		healed(t, feed, last)
	}
	require.Equal(t, uint64(1), feed.Status().Loads)
	feed.Close()
	time.Sleep(50 * time.Millisecond) // for the deletion of the consumer
	require.Nil(t, denied.Load())

	readOnly, err := nodeJS.KeyValue(within(t), bucketName)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err = Publish(ctx, readOnly, keys[0], entriesOf("198.51.100.9"), nil)
	require.Error(t, err, "it cannot write")
}
