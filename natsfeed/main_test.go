package natsfeed

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

func TestMain(m *testing.M) {
	if os.Getenv(killEnv) != "" {
		killChild() // never returns
	}
	code := m.Run()
	if stacks := leaked(); code == 0 && stacks != "" {
		fmt.Fprintln(os.Stderr, "goroutines of a Feed are left after all tests:\n"+stacks)
		code = 1
	}
	os.Exit(code)
}

// leaked returns the stacks of goroutines that belong to a Feed, or that it
// made nats.go start, giving them a moment to end.
func leaked() string {
	var found string
	for range 500 {
		buf := make([]byte, 16<<20)
		buf = buf[:runtime.Stack(buf, true)]
		found = ""
		for _, g := range strings.Split(string(buf), "\n\n") {
			if strings.Contains(g, "natsfeed.(*") || strings.Contains(g, "jetstream.(*pull") {
				found += g + "\n\n"
			}
		}
		if found == "" {
			return ""
		}
		time.Sleep(10 * time.Millisecond)
	}
	return found
}

// A node is a NATS server in this process, with a port and a directory that it
// keeps over restarts.
type node struct {
	t    testing.TB
	opts server.Options
	srv  *server.Server
}

func startNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: t.TempDir(), SyncInterval: time.Hour,
	}}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *node) start() {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		opts := n.opts
		srv, err := server.NewServer(&opts)
		require.NoError(n.t, err)
		srv.Start()
		if !srv.ReadyForConnections(10 * time.Second) {
			srv.Shutdown() // somebody else has the port just now
			return false
		}
		n.srv = srv
		return true
	}, 30*time.Second, 50*time.Millisecond)
	n.opts.Port = n.srv.Addr().(*net.TCPAddr).Port
}

func (n *node) stop() {
	if n.srv != nil {
		n.srv.Shutdown()
		n.srv.WaitForShutdown()
		n.srv = nil
	}
}

// back waits until the connection is one to the server as it runs now.
func (n *node) back(js jetstream.JetStream) {
	n.t.Helper()
	eventually(n.t, func() bool { return js.Conn().ConnectedServerId() == n.srv.ID() }, func() string { return "the publisher's connection" })
}

func (n *node) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.opts.Port) }

// connect returns a JetStream context on a connection of its own.
func connect(t testing.TB, url string, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	opts = append(ConnOptions(), append([]nats.Option{nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond)}, opts...)...)
	nc, err := nats.Connect(url, opts...)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return js
}

// bucketName is the bucket of most tests.
const bucketName = "allowlists"

func makeBucket(t testing.TB, js jetstream.JetStream, cfg jetstream.KeyValueConfig) jetstream.KeyValue {
	t.Helper()
	cfg.Bucket = bucketName
	kv, err := js.CreateKeyValue(within(t), cfg)
	require.NoError(t, err)
	return kv
}

// within returns a context for what takes no time unless it hangs.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// quick are options with short times.
func quick(o Options) *Options {
	if o.Heartbeat == 0 {
		o.Heartbeat = 500 * time.Millisecond
	}
	if o.CheckInterval == 0 {
		o.CheckInterval = 100 * time.Millisecond
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = 500 * time.Millisecond
	}
	if o.CheckpointInterval == 0 {
		o.CheckpointInterval = 20 * time.Millisecond
	}
	return &o
}

// bareFeed returns a feed without a connection, to which messages are given by
// hand.
func bareFeed(t testing.TB) *Feed {
	f := &Feed{engine: newEngine(), policy: ipallow.DefaultPolicy(), bucket: bucketName, names: newTracker(maphash.MakeSeed(), 0)}
	var err error
	f.o, err = quick(Options{}).withDefaults()
	require.NoError(t, err)
	f.st = state{faults: make(map[string]Fault)}
	return f
}

func newEngine() *ipallow.Engine {
	return ipallow.New(&ipallow.Options{DenyUntilLoaded: true})
}

// follow begins a feed that the end of the test closes.
func follow(t testing.TB, engine *ipallow.Engine, js jetstream.JetStream, o Options) *Feed {
	t.Helper()
	feed, err := Follow(within(t), engine, js, bucketName, quick(o))
	require.NoError(t, err)
	t.Cleanup(func() { feed.Close() })
	return feed
}

func publish(t testing.TB, kv jetstream.KeyValue, key string, entries ...string) uint64 {
	t.Helper()
	rev, err := Publish(within(t), kv, key, entriesOf(entries...), nil)
	require.NoError(t, err)
	return rev
}

func unpublish(t testing.TB, kv jetstream.KeyValue, key string) uint64 {
	t.Helper()
	rev, err := Unpublish(within(t), kv, key, nil)
	require.NoError(t, err)
	return rev
}

// reach waits until the feed has applied the revision.
func reach(t testing.TB, f *Feed, rev uint64) {
	t.Helper()
	eventually(t, func() bool { return f.Status().Revision >= rev }, func() string {
		return fmt.Sprintf("revision %d: %+v", rev, f.Status())
	})
}

// eventually waits for what takes no time unless it never comes.
func eventually(t testing.TB, ok func() bool, what func() string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			require.FailNow(t, "it never came", what())
		}
	}
}

func status(f *Feed) func() string { return func() string { return fmt.Sprintf("%+v", f.Status()) } }

// lists returns what the engine has, as text.
func lists(e *ipallow.Engine) map[string]string {
	got := make(map[string]string)
	for key, entries := range e.Snapshot().All() {
		texts := make([]string, len(entries))
		for i, entry := range entries {
			texts[i] = entry.String()
		}
		got[key] = strings.Join(texts, " ")
	}
	return got
}

var (
	good  = netip.MustParseAddr("203.0.113.7") // in the lists of the tests
	wrong = netip.MustParseAddr("198.51.100.9")
)

// A prober asks all the time whether restricted keys are served from the wrong
// address, and fails the test if one is.
type prober struct {
	stop   func()
	asked  atomic.Uint64
	opened atomic.Uint64
}

// probe begins one for the keys. Its end prints how often it asked.
func probe(t testing.TB, engine *ipallow.Engine, keys ...string) *prober {
	p := new(prober)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
			}
			for range 100 {
				for _, key := range keys {
					if engine.Check(key, wrong).OK() {
						p.opened.Add(1)
					}
				}
			}
			p.asked.Add(100 * uint64(len(keys)))
			time.Sleep(50 * time.Microsecond) // two cores, and others want them
		}
	})
	p.stop = sync.OnceFunc(func() {
		close(quit)
		wg.Wait()
		t.Logf("prober: %d requests from a wrong address, %d served", p.asked.Load(), p.opened.Load())
		require.Zero(t, p.opened.Load(), "a restricted key was open")
		require.NotZero(t, p.asked.Load())
	})
	t.Cleanup(p.stop)
	return p
}

func isErr(err, target error) bool { return errors.Is(err, target) }
