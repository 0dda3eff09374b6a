package fleet

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if stacks := leaked(); code == 0 && stacks != "" {
		fmt.Fprintln(os.Stderr, "goroutines are left after all tests:\n"+stacks)
		code = 1
	}
	os.Exit(code)
}

// leaked returns the stacks of goroutines that belong to this package, giving
// them a moment to end.
func leaked() string {
	var found string
	for range 200 {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		found = ""
		for _, g := range strings.Split(string(buf), "\n\n") {
			if strings.Contains(g, "fleet.(*") {
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

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func config(n *fleettest.NATS) Config {
	return Config{URLs: []string{n.URL()}, Prefix: DefaultPrefix, Replicas: 1}
}

// link makes a link that the end of the test closes.
func link(t testing.TB, n *fleettest.NATS, change ...func(*Config)) *Link {
	t.Helper()
	cfg := config(n)
	for _, fn := range change {
		fn(&cfg)
	}
	require.NoError(t, cfg.Validate())
	l, err := Connect(cfg, "test", quiet)
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l
}

// within returns a context for what takes no time unless it hangs.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

var by = manage.Actor{Name: "token"}

// A home is a management's database and its publisher.
type home struct {
	t    testing.TB
	svc  *manage.Service
	ring *keyring.Ring
	pub  *Publisher
}

func openHome(t testing.TB, l *Link) *home {
	t.Helper()
	h := &home{t: t}
	h.svc, _, h.ring = managetest.Open(t, func(o *manage.Options) { o.Outbox = true })
	h.publish(l)
	return h
}

// publish begins to publish.
func (h *home) publish(l *Link) {
	h.pub = NewPublisher(l, h.svc, ipallow.DefaultPolicy())
	h.t.Cleanup(h.pub.Close)
}

// settle waits until everything is published and the outbox is empty.
func (h *home) settle() {
	h.t.Helper()
	fleettest.Eventually(h.t, func() bool {
		st := h.pub.Status(within(h.t))
		return st.InStep && st.Outbox == 0
	}, func() string { return fmt.Sprintf("%+v", h.pub.Status(within(h.t))) })
}

func (h *home) create(entries ...string) manage.Created {
	h.t.Helper()
	c, err := h.svc.Create(within(h.t), by, manage.NewKey{Name: "k", Scopes: []string{"read"}, Allowlist: list(entries...)})
	require.NoError(h.t, err)
	return c
}

func (h *home) save(id string, entries ...string) {
	h.t.Helper()
	_, err := h.svc.SetAllowlist(within(h.t), by, id, manage.ListEdit{Entries: list(entries...)})
	require.NoError(h.t, err)
}

func list(entries ...string) []manage.ListEntry {
	l := make([]manage.ListEntry, len(entries))
	for i, e := range entries {
		l[i].Entry = e
	}
	return l
}

// A gate is a gateway's engine and ring, that follow.
type gate struct {
	*Follower
	engine *ipallow.Engine
	ring   *keyring.Ring
}

func openGate(t testing.TB, l *Link) *gate {
	t.Helper()
	g := &gate{engine: ipallow.New(&ipallow.Options{DenyUntilLoaded: true}), ring: new(keyring.Ring)}
	g.Follower = NewFollower(g.engine, g.ring, quiet)
	require.NoError(t, g.Follow(within(t), l, ""))
	t.Cleanup(g.Close)
	return g
}

// reach waits until the gate has all that is published.
func (g *gate) reach(h *home) {
	h.t.Helper()
	h.settle()
	fleettest.Eventually(h.t, func() bool { return g.Status().Revision >= h.pub.Revision() },
		func() string { return fmt.Sprintf("revision %d: %+v", h.pub.Revision(), g.Status()) })
}

// same demands that the gate has what the database has.
func (g *gate) same(h *home) {
	h.t.Helper()
	g.reach(h)
	n := 0
	require.NoError(h.t, h.svc.Publications(within(h.t), func(p manage.Publication) error {
		n++
		got := g.ring.Get(p.ID)
		require.NotNil(h.t, got, p.ID)
		require.True(h.t, equal(got, p.Key), p.ID)
		entries, _ := g.engine.Snapshot().Entries(p.ID)
		require.Equal(h.t, len(p.Entries), len(entries))
		for i := range entries {
			require.Equal(h.t, p.Entries[i], entries[i])
		}
		return nil
	}))
	require.Equal(h.t, n, g.ring.Len())
}

func keysOf(t testing.TB, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	kv, err := js.KeyValue(within(t), DefaultPrefix+"_keys")
	require.NoError(t, err)
	return kv
}
