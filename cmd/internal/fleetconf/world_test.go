package fleetconf

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
	"github.com/ipallow/ipallow/usagelog"
)

func TestMain(m *testing.M) {
	code := m.Run()
	fleettest.RemoveProgram()
	os.Exit(code)
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// within returns a context for what takes no time unless it hangs.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A world is a fleet as Init makes it, with real NATS servers, the management
// node's parts, and links for gateways.
type world struct {
	t      *testing.T
	fleet  *Fleet
	nats   []*fleettest.Process
	svc    *manage.Service
	store  *logstore.Store
	drain  *fleet.Drain
	center *fleet.Center
	js     jetstream.JetStream // of the management's user
	dir    string              // of messages that cannot be read
}

// newWorld starts a fleet with these gateways on so many servers.
func newWorld(t *testing.T, servers int, gateways ...string) *world {
	t.Helper()
	return newWorldOf(t, servers, 0, gateways...)
}

// newWorldOf is newWorld with a bound of the log, in bytes.
func newWorldOf(t *testing.T, servers int, logBytes int64, gateways ...string) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "quarantine")}
	var s Settings
	for _, port := range fleettest.FreePorts(t, servers, routePorts) {
		s.Servers = append(s.Servers, fmt.Sprintf("127.0.0.1:%d", port))
	}
	var err error
	w.fleet, err = Init(t.TempDir(), s, gateways)
	require.NoError(t, err)
	for i, server := range w.fleet.Servers {
		w.nats = append(w.nats, fleettest.Run(t, w.fleet.ServerConfig(i+1), server))
	}
	link := w.link("")
	var ring *keyring.Ring
	w.svc, _, ring = managetest.Open(t, func(o *manage.Options) { o.Outbox = true })
	w.store, err = logstore.Open(t.Context(), logstore.Options{Path: filepath.Join(t.TempDir(), "usage.db"), MaxBytes: logBytes, Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { w.store.Close() })
	publisher := fleet.NewPublisher(link, w.svc, ipallow.DefaultPolicy())
	w.drain = fleet.NewDrain(link, publisher, w.store, ring, w.dir)
	w.center = fleet.NewCenter(link, publisher, w.drain, func() fleet.Report { return fleet.Report{Name: "home", Role: fleet.Management, Ready: true} })
	t.Cleanup(w.center.Close)
	w.js, err = jetstream.New(w.conn(""))
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return publisher.Status(within(t)).InStep }, func() string { return fmt.Sprintf("%+v", publisher.Status(within(t))) })
	fleettest.Eventually(t, func() bool {
		_, err := w.js.Stream(within(t), "ipallow_usage")
		return err == nil
	}, func() string { return "no usage stream" })
	return w
}

// key returns the path of a gateway's key file, or of the management's.
func (w *world) key(gateway string) string {
	if gateway == "" {
		return w.fleet.ManagementKey()
	}
	return w.fleet.GatewayKey(gateway)
}

// link connects as a node does, for keys.
func (w *world) link(gateway string) *fleet.Link { return w.connect(gateway, false) }

// records connects as a gateway does for its records and reports.
func (w *world) records(gateway string) *fleet.Link { return w.connect(gateway, true) }

func (w *world) connect(gateway string, records bool) *fleet.Link {
	w.t.Helper()
	cfg := fleet.Config{
		URLs: []string{w.fleet.URLs()}, Prefix: w.fleet.Prefix, Replicas: min(3, len(w.fleet.Servers)),
		Identity: fleet.Identity{NKey: w.key(gateway), Gateway: gateway, Records: records},
	}
	link, err := fleet.Connect(cfg, "test "+gateway, quiet)
	require.NoError(w.t, err)
	w.t.Cleanup(link.Close)
	return link
}

// conn connects with a node's key, as an attacker who has it.
func (w *world) conn(gateway string, opts ...nats.Option) *nats.Conn {
	w.t.Helper()
	seed, err := nats.NkeyOptionFromSeed(w.key(gateway))
	require.NoError(w.t, err)
	return w.connAs(seed, opts...)
}

// recordsConn is conn to the account of a gateway's records.
func (w *world) recordsConn(gateway string, opts ...nats.Option) *nats.Conn {
	w.t.Helper()
	seed, err := fleet.RecordsOption(w.key(gateway))
	require.NoError(w.t, err)
	return w.connAs(seed, opts...)
}

func (w *world) connAs(seed nats.Option, opts ...nats.Option) *nats.Conn {
	w.t.Helper()
	opts = append([]nats.Option{seed, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}, opts...)
	nc, err := nats.Connect(w.fleet.URLs(), opts...)
	require.NoError(w.t, err)
	w.t.Cleanup(nc.Close)
	fleettest.Eventually(w.t, nc.IsConnected, func() string { return fmt.Sprint("no connection: ", nc.LastError()) })
	return nc
}

// A gateway follows, sends usage records and reports, as the program does.
type gateway struct {
	*fleet.Follower
	w    *world
	name string
	ring *keyring.Ring
	sink *fleet.Sink
	stop func() // ends following and reporting
}

func (w *world) gateway(name string) *gateway {
	w.t.Helper()
	g := &gateway{w: w, name: name, ring: new(keyring.Ring)}
	g.Follower = fleet.NewFollower(ipallow.New(&ipallow.Options{DenyUntilLoaded: true}), g.ring, quiet)
	reporter := fleet.NewReporter(w.records(name), func() fleet.Report {
		st := g.Status()
		return fleet.Report{
			Name: name, Role: fleet.Gateway, Ready: true, Revision: st.Revision, Bucket: st.Created,
			Confirm: st.Confirmed, Confirmed: st.ConfirmedAt,
		}
	})
	w.t.Cleanup(reporter.Close)
	require.NoError(w.t, g.Follow(within(w.t), w.link(name), ""))
	g.stop = sync.OnceFunc(func() { g.Close(); reporter.Close() })
	w.t.Cleanup(g.stop)
	var err error
	g.sink, err = fleet.NewSink(w.records(name), name)
	require.NoError(w.t, err)
	return g
}

// create makes a key and waits until the gateway knows it.
func (g *gateway) create() manage.Created {
	g.w.t.Helper()
	c, err := g.w.svc.Create(within(g.w.t), manage.Actor{Name: "token"}, manage.NewKey{
		Name: "k", Scopes: []string{"read"}, Allowlist: []manage.ListEntry{{Entry: "203.0.113.1"}},
	})
	require.NoError(g.w.t, err)
	g.knows(c.Key.ID, true)
	return c
}

// revoke revokes a key and returns how long the gateway took.
func (g *gateway) revoke(id string) time.Duration {
	g.w.t.Helper()
	require.NoError(g.w.t, g.w.svc.Revoke(within(g.w.t), manage.Actor{Name: "token"}, id))
	began := time.Now()
	g.knows(id, false)
	return time.Since(began)
}

func (g *gateway) knows(id string, want bool) {
	g.w.t.Helper()
	fleettest.Eventually(g.w.t, func() bool { return (g.ring.Get(id) != nil) == want }, func() string {
		return fmt.Sprintf("key %s known: want %t; %+v", id, want, g.Status())
	})
}

// send sends records as the gateway's.
func (g *gateway) send(records []usagelog.Record) {
	g.w.t.Helper()
	require.NoError(g.w.t, g.sink.Append(within(g.w.t), records))
}

// has waits until the log has so many records with the path.
func (w *world) has(path string, want int) {
	w.t.Helper()
	n := 0
	fleettest.Eventually(w.t, func() bool {
		n = 0
		for r, err := range w.store.Stream(w.t.Context(), usagelog.Filter{}) {
			require.NoError(w.t, err)
			if r.Path == path {
				n++
			}
		}
		return n >= want
	}, func() string {
		return fmt.Sprintf("%d records with the path %s, want %d; %+v", n, path, want, w.drain.Status())
	})
	require.Equal(w.t, want, n, path)
}

// records returns records of one Writer, from a number on.
func records(epoch uint64, first, n int, path string) []usagelog.Record {
	list := make([]usagelog.Record, n)
	for i := range list {
		r := &list[i]
		binary.BigEndian.PutUint64(r.ID[:8], epoch)
		binary.BigEndian.PutUint64(r.ID[8:], uint64(first+i))
		*r = usagelog.Record{
			ID: r.ID, Time: time.Now(), RequestID: fmt.Sprintf("%x-%d", epoch, first+i), KeyID: "k",
			Method: "GET", Path: path, Status: 200, ClientAddr: netip.MustParseAddr("203.0.113.7"), Verdict: ipallow.Allowed,
		}.Normalize()
	}
	return list
}
