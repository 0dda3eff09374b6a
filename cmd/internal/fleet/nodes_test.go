package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
	"github.com/ipallow/ipallow/natsfeed"
)

// reporter reports what is in the pointer.
func reporter(t *testing.T, l *Link, first Report) (*Reporter, *atomic.Pointer[Report]) {
	var p atomic.Pointer[Report]
	p.Store(&first)
	r := NewReporter(l, func() Report { return *p.Load() })
	t.Cleanup(r.Close)
	return r, &p
}

func TestNodes(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	reg := NewRegistry(link(t, n))
	t.Cleanup(reg.Close)
	find := func(name string) *Node {
		for _, n := range reg.Nodes() {
			if n.Name == name {
				return &n
			}
		}
		return nil
	}
	see := func(what string, ok func() bool) {
		t.Helper()
		fleettest.Eventually(t, ok, func() string { return fmt.Sprintf("%s: %+v", what, reg.Nodes()) })
	}
	// The clocks of the nodes are hours off, to both sides.
	a := Report{Name: "gate a.", Role: Gateway, Instance: "1", Ready: true, Revision: 5, Time: time.Now().Add(-7 * time.Hour)}
	b := Report{Name: "home", Role: Management, Instance: "2", Ready: true, Time: time.Now().Add(7 * time.Hour)}
	_, pa := reporter(t, link(t, n), a)
	reporter(t, link(t, n), b)
	see("both", func() bool {
		a, b := find("gate a."), find("home")
		return a != nil && b != nil && !a.Heard.IsZero() && !b.Heard.IsZero()
	})
	list := reg.Nodes()
	require.Equal(t, "home", list[0].Name, "the management first")
	for _, node := range list {
		require.Equal(t, StateReady, node.State(time.Now()))
		require.WithinDuration(t, time.Now(), node.Heard, 10*time.Second)
		require.Equal(t, StateSilent, node.State(time.Now().Add(Silent+20*time.Second)))
	}
	// What changes is told within about a second.
	next := a
	next.Revision, next.Ready, next.Reason = 6, false, "stale"
	pa.Store(&next)
	began := time.Now()
	see("the change", func() bool { n := find("gate a."); return n.Revision == 6 && n.State(time.Now()) == StateUnready })
	require.Less(t, time.Since(began), 4*time.Second)
	require.False(t, find("gate a.").Twice)

	// A restart is another instance; two nodes with one name are noticed.
	again := next
	again.Instance = "3"
	twin, _ := reporter(t, link(t, n), again)
	see("the twin", func() bool { return find("gate a.").Instance == "3" })
	next.Revision++ // it has news, and so reports before the twin is idle
	last := next
	pa.Store(&last)
	see("both of them", func() bool { return find("gate a.").Twice })
	twin.Close()

	// A registry that begins later does not take old reports for new ones.
	kv, err := link(t, n).openNodes(within(t))
	require.NoError(t, err)
	old := Report{Name: "dead", Role: Gateway, Ready: true}
	data, err := json.Marshal(old)
	require.NoError(t, err)
	_, err = kv.Put(within(t), "gateway.dead", data)
	require.NoError(t, err)
	for key, text := range map[string]string{"gateway.bad": "{", "gateway.other": string(data), "gateway.large": `"` + strings.Repeat("x", reportBytes) + `"`} {
		_, err = kv.Put(within(t), key, []byte(text))
		require.NoError(t, err)
	}
	see("the dead one", func() bool { return find("dead") != nil })
	late := NewRegistry(link(t, n))
	t.Cleanup(late.Close)
	fleettest.Eventually(t, func() bool { return len(late.Nodes()) == 3 }, func() string { return fmt.Sprintf("%+v", late.Nodes()) })
	fleettest.Eventually(t, func() bool { return !late.Nodes()[0].Heard.IsZero() }, func() string { return "the living are not heard" })
	require.Equal(t, "dead", late.Nodes()[1].Name)
	require.Equal(t, StateSilent, late.Nodes()[1].State(time.Now()))

	// NATS is away for a while.
	n.Stop()
	n.Start()
	heard := time.Now()
	see("after a restart", func() bool { return find("home").Heard.After(heard) && find("gate a.").Heard.After(heard) })
}

func TestConfig(t *testing.T) {
	good := Config{URLs: []string{"nats://127.0.0.1:4222", "tls://user:secret@nats.example"}, Prefix: "a-b_1", Replicas: 3}
	require.NoError(t, good.Validate())
	require.True(t, good.On())
	require.NoError(t, new(Config).Validate())
	require.False(t, new(Config).On())
	for want, change := range map[string]func(*Config){
		"--nats:":         func(c *Config) { c.URLs = []string{"http://user:secret@x"} },
		"cannot be read":  func(c *Config) { c.URLs = []string{"nats://user:secret@x:%"} },
		"--nats-creds":    func(c *Config) { c.Creds = "/no/such/file" },
		"--nats-prefix":   func(c *Config) { c.Prefix = "a.b" },
		"--nats-replicas": func(c *Config) { c.Replicas = 6 },
	} {
		c := good
		change(&c)
		err := c.Validate()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
	// A user without a password is a token.
	good.URLs = append(good.URLs, "nats://secret@nats.example:4222")
	require.Equal(t, "nats://127.0.0.1:4222, tls://nats.example, nats://nats.example:4222", (&Link{cfg: good}).String())
	bad := good
	bad.URLs = []string{"http://secret@x"}
	require.NotContains(t, bad.Validate().Error(), "secret")
}

// A server that refuses for a while, since its users are changed, is asked
// again.
func TestLinkOutlivesRefusals(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t, &server.User{Username: "u", Password: "p"})
	l := link(t, n, func(c *Config) { c.URLs = []string{n.As("u", "p")} })
	connected := func() bool { return l.Connected() }
	fleettest.Eventually(t, connected, func() string { return "no connection" })
	n.Stop()
	n.Users(&server.User{Username: "u", Password: "another"})
	n.Start()
	refused := l.nc.Stats().Reconnects
	time.Sleep(4 * time.Second) // three attempts and more
	require.False(t, l.Connected())
	n.Stop()
	n.Users(&server.User{Username: "u", Password: "p"})
	n.Start()
	fleettest.Eventually(t, connected, func() string { return fmt.Sprintf("no connection again: %v, %v", l.nc.Status(), l.nc.LastError()) })
	require.Greater(t, l.nc.Stats().Reconnects, refused)
}

// A report that no answer could show is none.
func TestReportOfNoYear(t *testing.T) {
	_, err := parseReport("gateway.a", []byte(`{"name":"a","role":"gateway","started_at":"9999-12-31T23:59:59-01:00"}`))
	require.ErrorContains(t, err, "year")
	_, err = parseReport("gateway.a", []byte(`{"name":"a","role":"gateway","started_at":"2026-12-31T23:59:59-01:00"}`))
	require.NoError(t, err)
}

// What is silent is not heard while others are. While nobody is, the line is at fault, or a
// server of NATS that hangs, and no node is silent for it.
func TestSilence(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		what               string
		heard, since, live int // seconds
		now                int
		want               State
	}{
		{"all are heard", 100, 0, 100, 103, StateReady},
		{"it alone is not", 100, 0, 120, 121, StateSilent},
		{"it alone is not, for a moment", 100, 0, 112, 113, StateReady},
		{"nobody is", 100, 0, 101, 160, StateReady},
		{"the first after a pause was another", 100, 160, 160, 161, StateReady},
		{"and others go on after the pause", 100, 160, 176, 177, StateSilent},
		{"it came first after the pause", 160, 160, 160, 170, StateReady},
	} {
		r := &Registry{since: at(c.since), live: at(c.live)}
		n := &node{heard: at(c.heard)}
		got := Node{Report: Report{Ready: true}, Heard: n.heard, Deaf: r.deaf(n, at(c.now))}
		require.Equal(t, c.want, got.State(at(c.now)), c.what)
	}
	require.Equal(t, StateSilent, (&Node{Report: Report{Ready: true}}).State(start), "never heard")
}

// A node that is no more can be removed, and one that reports cannot.
func TestRemoveNode(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	reg := NewRegistry(link(t, n))
	t.Cleanup(reg.Close)
	reporter(t, link(t, n), Report{Name: "alive/.", Role: Gateway, Ready: true})
	kv, err := link(t, n).openNodes(within(t))
	require.NoError(t, err)
	_, err = kv.Put(within(t), "gateway.dead", []byte(`{"name":"dead","role":"gateway"}`))
	require.NoError(t, err)
	late := NewRegistry(link(t, n)) // for which it was never heard
	t.Cleanup(late.Close)
	names := func(r *Registry) (list []string) {
		for _, n := range r.Nodes() {
			list = append(list, n.Name)
		}
		return list
	}
	fleettest.Eventually(t, func() bool { l := late.Nodes(); return len(l) == 2 && !l[0].Heard.IsZero() }, func() string { return fmt.Sprint(late.Nodes()) })
	require.ErrorIs(t, late.Remove(within(t), "alive/."), ErrNodeAlive)
	require.ErrorIs(t, late.Remove(within(t), "another"), ErrNoNode)
	require.NoError(t, late.Remove(within(t), "dead"))
	require.ErrorIs(t, late.Remove(within(t), "dead"), ErrNoNode)
	for _, r := range []*Registry{late, reg} {
		fleettest.Eventually(t, func() bool { return len(names(r)) == 1 }, func() string { return fmt.Sprint(names(r)) })
	}
}

// A server without JetStream is told so, in words that say what to do.
func TestNoJetStream(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	n.Without()
	h := &home{t: t}
	h.svc, _, h.ring = managetest.Open(t, func(o *manage.Options) { o.Outbox = true })
	h.publish(link(t, n))
	fleettest.Eventually(t, func() bool { return errors.Is(h.pub.Status(within(t)).Err, errNoJetStream) }, h.state)
	require.ErrorContains(t, h.pub.Status(within(t)).Err, "nats-server -js")

	ctx, cancel := context.WithTimeout(within(t), 2*time.Second)
	defer cancel()
	err := NewFollower(ipallow.New(&ipallow.Options{DenyUntilLoaded: true}), new(keyring.Ring), quiet).Follow(ctx, link(t, n), "")
	require.ErrorIs(t, err, natsfeed.ErrNoJetStream)
}

// A gateway that is silent may serve, for as long as it likes: no change is said to be in
// force everywhere without it, until it is removed by hand.
func TestNodesAreNotForgotten(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	// An earlier version's bucket has an age.
	kv, err := l.js.CreateKeyValue(within(t), jetstream.KeyValueConfig{Bucket: l.cfg.nodesBucket(), TTL: 24 * time.Hour})
	require.NoError(t, err)
	h := openHome(t, l)
	made := h.create("203.0.113.0/24")
	h.settle()
	_, err = kv.Put(within(t), "gateway.away", []byte(`{"name":"away","role":"gateway","revision":1}`))
	require.NoError(t, err)
	_, err = kv.Put(within(t), "management.old", []byte(`{"name":"old","role":"management"}`))
	require.NoError(t, err)
	reg := NewRegistry(l)
	t.Cleanup(reg.Close)
	fleettest.Eventually(t, func() bool { return len(reg.Nodes()) == 2 }, func() string { return fmt.Sprint(reg.Nodes()) })
	status, err := kv.Status(within(t))
	require.NoError(t, err)
	require.Zero(t, status.TTL())

	reg.mu.Lock()
	for _, n := range reg.nodes {
		n.seen = n.seen.Add(-1000 * time.Hour)
	}
	reg.mu.Unlock()
	require.Len(t, reg.Nodes(), 1)
	c := &Center{Link: l, Publisher: h.pub, Registry: reg}
	require.NoError(t, h.svc.Revoke(within(t), by, made.Key.ID))
	h.settle()
	p := c.Propagation(within(t), made.Key.ID, 0)
	require.True(t, p.Published)
	require.False(t, p.InForce)
	require.Equal(t, []string{"away"}, p.Waiting())
	require.NoError(t, reg.Remove(within(t), "away"))
	require.True(t, c.Propagation(within(t), made.Key.ID, 0).InForce)
}

// A gateway that stops says so, and nothing waits for it any more; nothing is left of it.
func TestNodesLeave(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	reg := NewRegistry(l)
	t.Cleanup(reg.Close)
	names := func(r *Registry) (list string) {
		for _, n := range r.Nodes() {
			list += n.Name + " "
		}
		return list
	}
	see := func(r *Registry, want string) {
		t.Helper()
		fleettest.Eventually(t, func() bool { return names(r) == want }, func() string { return names(r) + "for " + want })
	}
	left, _ := reporter(t, link(t, n), Report{Name: "left", Role: Gateway, Instance: "1"})
	back, _ := reporter(t, link(t, n), Report{Name: "back", Role: Gateway, Instance: "1"})
	see(reg, "back left ")
	require.NoError(t, left.Leave(within(t)))
	require.NoError(t, back.Leave(within(t)))
	see(reg, "")
	reporter(t, link(t, n), Report{Name: "back", Role: Gateway, Instance: "2"})
	see(reg, "back ")
	late := NewRegistry(l)
	t.Cleanup(late.Close)
	see(late, "back ")
	stream, err := l.js.Stream(within(t), "KV_"+l.cfg.nodesBucket())
	require.NoError(t, err)
	_, err = stream.GetLastMsgForSubject(within(t), l.cfg.nodesSubject("gateway.left"))
	require.NoError(t, err)
	require.NoError(t, late.sweep(within(t)))
	require.NoError(t, reg.sweep(within(t)))
	_, err = stream.GetLastMsgForSubject(within(t), l.cfg.nodesSubject("gateway.left"))
	require.ErrorIs(t, err, jetstream.ErrMsgNotFound)
	_, err = stream.GetLastMsgForSubject(within(t), l.cfg.nodesSubject("gateway.back"))
	require.NoError(t, err, "it has reported since")

	// Of two with one name, the one that leaves does not take the other one along.
	twin, _ := reporter(t, link(t, n), Report{Name: "back", Role: Gateway, Instance: "3"})
	fleettest.Eventually(t, func() bool { return reg.Nodes()[0].Twice }, func() string { return fmt.Sprint(reg.Nodes()) })
	require.NoError(t, twin.Leave(within(t)))
	heard := time.Now()
	fleettest.Eventually(t, func() bool {
		require.Equal(t, "back ", names(reg))
		return reg.Nodes()[0].Heard.After(heard)
	}, func() string { return fmt.Sprint(reg.Nodes()) })

	// Without NATS it is said that it stays.
	gone, _ := reporter(t, link(t, n), Report{Name: "gone", Role: Gateway})
	see(reg, "back gone ")
	n.Stop()
	fleettest.Eventually(t, func() bool { return !gone.link.Connected() }, func() string { return "still connected" })
	require.ErrorIs(t, gone.Leave(within(t)), errNotConnected)
}

// Where more nodes have reported than can be known, nothing is said to be in force on all of
// them.
func TestNodesWithoutNumber(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	h := openHome(t, l)
	id := h.create("203.0.113.0/24").Key.ID
	h.settle()
	reg := NewRegistry(l)
	t.Cleanup(reg.Close)
	c := &Center{Link: l, Publisher: h.pub, Registry: reg}
	fleettest.Eventually(t, func() bool { _, err := l.openNodes(within(t)); return err == nil }, func() string { return "no bucket" })
	p := c.Propagation(within(t), id, 0)
	require.True(t, p.InForce, "%+v", p)
	reg.mu.Lock()
	for i := range maxNodes {
		name := fmt.Sprintf("m-%d", i) // management nodes: no change waits for them
		reg.nodes["management."+name] = &node{Report: Report{Name: name, Role: Management}, seen: time.Now()}
	}
	reg.mu.Unlock()
	reporter(t, link(t, n), Report{Name: "one more", Role: Gateway})
	fleettest.Eventually(t, func() bool { return reg.Crowded() != "" }, func() string { return "it is not noticed" })
	p = c.Propagation(within(t), id, 0)
	require.False(t, p.InForce)
	require.Empty(t, p.Waiting())
	require.Contains(t, p.Reason, "More than 5000 nodes")
	require.Len(t, reg.Nodes(), maxNodes)

	require.NoError(t, reg.Remove(within(t), "m-0"))
	fleettest.Eventually(t, func() bool {
		p := c.Propagation(within(t), id, 0)
		return reg.Crowded() == "" && len(p.Waiting()) == 1
	}, func() string { return reg.Crowded() })
}
