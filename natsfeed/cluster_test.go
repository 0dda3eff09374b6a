package natsfeed

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// freePort returns a port that nobody listens on just now.
func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// startCluster starts three nodes that form a cluster.
func startCluster(t testing.TB) []*node {
	nodes := make([]*node, 3)
	var routes string
	for i := range nodes {
		port := freePort(t)
		nodes[i] = &node{t: t, opts: server.Options{
			ServerName: fmt.Sprintf("node-%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: t.TempDir(), SyncInterval: time.Hour,
			Cluster: server.ClusterOpts{Name: "fleet", Host: "127.0.0.1", Port: port},
		}}
		routes += fmt.Sprintf("nats://127.0.0.1:%d,", port)
	}
	for _, n := range nodes {
		n.opts.Routes = server.RoutesFromStr(strings.TrimSuffix(routes, ","))
		n.start()
		t.Cleanup(n.stop)
	}
	return nodes
}

// The stream's leader is killed, and later a second node, so that there is no
// quorum; then both come back. A feed on the third node's side loses nothing.
func TestClusterLosesLeader(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	urls := nodes[0].url() + "," + nodes[1].url() + "," + nodes[2].url()
	js := connect(t, urls)
	var kv jetstream.KeyValue
	var err error
	eventually(t, func() (ok bool) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucketName, Replicas: 3})
		return err == nil
	}, func() string { return fmt.Sprint("a cluster: ", err) })
	keys := keysOf(20)
	restrict(t, kv, keys)
	engine := newEngine()
	feed := follow(t, engine, connect(t, urls), Options{})
	probe(t, engine, keys...)
	leader := func() *node {
		t.Helper()
		var name string
		eventually(t, func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			stream, err := js.Stream(ctx, "KV_"+bucketName)
			if err == nil && stream.CachedInfo().Cluster != nil {
				name = stream.CachedInfo().Cluster.Leader
			}
			return err == nil && name != ""
		}, func() string { return "a leader" })
		for _, n := range nodes {
			if n.opts.ServerName == name {
				return n
			}
		}
		require.FailNow(t, "no node is called "+name)
		return nil
	}
	// acknowledged publishes until the cluster says that it has it.
	acknowledged := func(key, entry string) (rev uint64) {
		t.Helper()
		eventually(t, func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			var err error
			rev, err = Publish(ctx, kv, key, entriesOf(entry), nil)
			return err == nil
		}, func() string { return "an acknowledgement" })
		return rev
	}

	require.Less(t, feed.Status().Staleness, 3*time.Second)

	first := leader()
	first.stop()
	healed(t, feed, acknowledged(keys[0], "203.0.113.1"))

	second := leader()
	second.stop()
	eventually(t, func() bool { return feed.Ready(500*time.Millisecond) != nil }, status(feed))
	require.Equal(t, ipallow.Allowed, engine.Check(keys[1], good), "without a quorum the lists stay")
	second.start()
	first.start()
	healed(t, feed, acknowledged(keys[1], "203.0.113.2"))
	got := lists(engine)
	require.Equal(t, "203.0.113.1/32", got[keys[0]])
	require.Equal(t, "203.0.113.2/32", got[keys[1]])
	require.Len(t, got, 20)
	require.Equal(t, uint64(1), feed.Status().Loads)
}

// A feed that follows a mirror of the bucket on a leaf node is as stale as the
// mirror.
func TestMirror(t *testing.T) {
	t.Parallel()
	hub := startNode(t)
	js := connect(t, hub.url())
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	keys := keysOf(5)
	restrict(t, kv, keys)
	_, err := js.CreateKeyValue(within(t), jetstream.KeyValueConfig{Bucket: "copy", Mirror: &jetstream.StreamSource{Name: bucketName}})
	require.NoError(t, err)
	engine := newEngine()
	feed, err := Follow(within(t), engine, js, "copy", quick(Options{}))
	require.NoError(t, err)
	defer feed.Close()
	eventually(t, func() bool { return len(lists(engine)) == 5 }, status(feed))
	probe(t, engine, keys...)
	reach(t, feed, publish(t, kv, keys[0], "203.0.113.9"))
	require.Equal(t, "203.0.113.9/32", lists(engine)[keys[0]])
	eventually(t, func() bool { return feed.Ready(0) == nil }, status(feed))

	// The origin goes: the mirror is there, and says that it heard nothing.
	require.NoError(t, js.DeleteKeyValue(within(t), bucketName))
	eventually(t, func() bool { return isErr(feed.Ready(500*time.Millisecond), ErrStale) }, status(feed))
	require.Len(t, lists(engine), 5)
}

// A consumer is asked for through the prefix of a domain.
func TestDomain(t *testing.T) {
	n := &node{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamDomain: "edge",
	}}
	n.start()
	t.Cleanup(n.stop)
	nc, err := nats.Connect(n.url(), ConnOptions()...)
	require.NoError(t, err)
	defer nc.Close()
	js, err := jetstream.NewWithDomain(nc, "edge")
	require.NoError(t, err)
	kv := makeBucket(t, js, jetstream.KeyValueConfig{})
	restrict(t, kv, keysOf(3))
	path := t.TempDir() + "/checkpoint"
	for range 2 { // the second one compares the last message
		engine := newEngine()
		feed := follow(t, engine, js, Options{Checkpoint: path})
		require.Len(t, lists(engine), 3)
		feed.Close()
	}
	require.Equal(t, "$JS.edge.API.", apiPrefix(js))
	other, err := jetstream.NewWithAPIPrefix(nc, "JS.hub")
	require.NoError(t, err)
	require.Equal(t, "JS.hub.", apiPrefix(other))
}

func TestContact(t *testing.T) {
	peers := func(ages ...time.Duration) *jetstream.ClusterInfo {
		c := &jetstream.ClusterInfo{}
		for _, age := range ages {
			c.Replicas = append(c.Replicas, &jetstream.PeerInfo{Active: age})
		}
		return c
	}
	for name, c := range map[string]struct {
		info jetstream.StreamInfo
		want time.Duration
	}{
		"one server":            {jetstream.StreamInfo{}, 0},
		"one replica":           {jetstream.StreamInfo{Cluster: peers()}, 0},
		"one of three is away":  {jetstream.StreamInfo{Cluster: peers(time.Hour, 1)}, 1},
		"two of three are away": {jetstream.StreamInfo{Cluster: peers(time.Hour, time.Minute)}, time.Minute},
		"two of five are away":  {jetstream.StreamInfo{Cluster: peers(time.Hour, 2, time.Hour, 1)}, 2},
		"three of five":         {jetstream.StreamInfo{Cluster: peers(time.Hour, time.Minute, time.Hour, 1)}, time.Minute},
		"mirror":                {jetstream.StreamInfo{Mirror: &jetstream.StreamSourceInfo{Active: 5}, Cluster: peers(1, 2)}, 6},
		"mirror without origin": {jetstream.StreamInfo{Mirror: &jetstream.StreamSourceInfo{Active: -1}}, -1},
	} {
		require.Equal(t, c.want, contact(&c.info), name)
	}
}
