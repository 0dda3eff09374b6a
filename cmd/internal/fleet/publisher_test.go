package fleet

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/natsfeed"
)

func TestPublish(t *testing.T) {
	n := fleettest.Start(t)
	h := openHome(t, link(t, n))
	g := openGate(t, link(t, n))
	a, b := h.create("203.0.113.0/24"), h.create()
	g.same(h)
	require.NotNil(t, g.ring.Authenticate(a.Token))

	// What the gateways need not know is not published.
	before := h.pub.Status(within(t)).Published
	name := "another name"
	_, err := h.svc.Edit(within(t), by, a.Key.ID, manage.KeyEdit{Name: &name})
	require.NoError(t, err)
	h.settle()
	require.Equal(t, before, h.pub.Status(within(t)).Published)

	rotated, err := h.svc.Rotate(within(t), by, a.Key.ID)
	require.NoError(t, err)
	h.save(b.Key.ID, "2001:db8:1::/48", "198.51.100.7")
	yes := true
	_, err = h.svc.Edit(within(t), by, b.Key.ID, manage.KeyEdit{ReportOnly: &yes, Scopes: &[]string{"read", "write"}})
	require.NoError(t, err)
	g.same(h)
	require.Nil(t, g.ring.Authenticate(a.Token))
	require.NotNil(t, g.ring.Authenticate(rotated.Token))
	require.True(t, g.ring.Get(b.Key.ID).ReportOnly)

	// A key whose last entry is removed is open, one that is revoked is gone.
	h.save(b.Key.ID)
	require.NoError(t, h.svc.Revoke(within(t), by, a.Key.ID))
	short := h.create("203.0.113.9")
	require.NoError(t, h.svc.Revoke(within(t), by, short.Key.ID))
	g.same(h)
	require.Nil(t, g.ring.Get(a.Key.ID))
	require.Zero(t, g.engine.Snapshot().Len())
}

// Changes that are made while NATS is down are published when it is back, and
// what was published meanwhile by a state that is gone does not matter.
func TestPublishWhenNATSIsBack(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	h := openHome(t, l)
	g := openGate(t, link(t, n))
	a := h.create("203.0.113.0/24")
	g.same(h)
	n.Stop()
	h.save(a.Key.ID, "203.0.113.7")
	for range 20 {
		h.create("203.0.113.8")
	}
	st := h.pub.Status(within(t))
	require.Equal(t, 21, st.Outbox)
	require.WithinDuration(t, time.Now(), st.Oldest, 10*time.Second)
	fleettest.Eventually(t, func() bool { return h.pub.Status(within(t)).Err != nil }, func() string { return "no error" })
	n.Start()
	g.same(h)
}

// A new process finds in the bucket what an old one left, in whatever state.
func TestReconcile(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	h := openHome(t, l)
	var made []manage.Created
	for range 20 {
		made = append(made, h.create("203.0.113.0/24"))
	}
	g := openGate(t, link(t, n))
	g.same(h)
	h.pub.Close()

	kv := keysOf(t, n.JetStream())
	foreign := keyring.NewID()
	_, err := natsfeed.Publish(within(t), kv, foreign, nil, &natsfeed.PublishOptions{Meta: EncodeMeta(&keyring.Key{Scopes: keyring.Read})})
	require.NoError(t, err)
	_, err = natsfeed.Publish(within(t), kv, made[0].Key.ID, nil, nil) // open, and no Meta
	require.NoError(t, err)
	_, err = natsfeed.Unpublish(within(t), kv, made[1].Key.ID, nil)
	require.NoError(t, err)
	_, err = kv.Put(within(t), made[2].Key.ID, []byte("poison"))
	require.NoError(t, err)
	_, err = kv.Put(within(t), "no-key-at-all", []byte("x"))
	require.NoError(t, err)
	h.save(made[3].Key.ID, "198.51.100.1")
	require.NoError(t, h.svc.Revoke(within(t), by, made[4].Key.ID))

	h.publish(l)
	g.same(h)
	require.Nil(t, g.ring.Get(foreign))
	st := h.pub.Status(within(t))
	require.EqualValues(t, 4, st.Published, "made 0 to 3")
	require.EqualValues(t, 2, st.Removed, "made 4 and the foreign one")
	now, _, _ := g.Faults()
	require.Zero(t, now)
	_, err = kv.Get(within(t), "no-key-at-all")
	require.ErrorIs(t, err, jetstream.ErrKeyNotFound)

	// And while it runs: somebody writes to the bucket.
	_, err = natsfeed.Publish(within(t), kv, made[5].Key.ID, nil, nil)
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return h.pub.Status(within(t)).Reconciled == 2 }, func() string { return fmt.Sprintf("%+v", h.pub.Status(within(t))) })
	g.same(h)
	// A conditional write that comes too late, as of a process that was killed.
	_, err = natsfeed.Publish(within(t), kv, made[5].Key.ID, nil, &natsfeed.PublishOptions{ExpectRevision: 1})
	require.ErrorIs(t, err, natsfeed.ErrConflict)
	// Or one that comes right before the publisher's own.
	_, err = natsfeed.Publish(within(t), kv, made[6].Key.ID, nil, nil)
	require.NoError(t, err)
	h.save(made[6].Key.ID, "198.51.100.2")
	g.same(h)
	require.Positive(t, h.pub.Status(within(t)).Conflicts)
}

// The bucket is deleted under everybody's feet: it is made anew and filled, and
// no gateway loses a list meanwhile.
func TestBucketIsGone(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	h := openHome(t, link(t, n))
	a := h.create("203.0.113.0/24")
	g := openGate(t, link(t, n))
	g.same(h)
	js := n.JetStream()
	require.NoError(t, js.DeleteKeyValue(within(t), DefaultPrefix+"_keys"))
	fleettest.Eventually(t, func() bool {
		require.NotNil(t, g.ring.Authenticate(a.Token))
		require.Equal(t, ipallow.Denied, g.engine.Check(a.Key.ID, stranger))
		return h.pub.Status(within(t)).Reconciled == 2
	}, func() string { return fmt.Sprintf("%+v", h.pub.Status(within(t))) })
	h.create("203.0.113.1")
	g.same(h)
	fleettest.Eventually(t, func() bool { return g.Ready(0) == nil }, func() string { return fmt.Sprint(g.Ready(0)) })
}

// A bucket that an operator has made is used as it is, and belongs to the first
// database that comes.
func TestBucketOfAnOperator(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	js := n.JetStream()
	_, err := js.CreateKeyValue(within(t), jetstream.KeyValueConfig{Bucket: DefaultPrefix + "_keys", Description: "mine", MaxBytes: 64 << 20})
	require.NoError(t, err)
	h := openHome(t, link(t, n))
	h.create("203.0.113.1")
	openGate(t, link(t, n)).same(h)
	stream, err := js.Stream(within(t), "KV_"+DefaultPrefix+"_keys")
	require.NoError(t, err)
	cfg := stream.CachedInfo().Config
	require.Equal(t, "mine", cfg.Description)
	require.EqualValues(t, 64<<20, cfg.MaxBytes)
	require.Equal(t, h.svc.Identity(), cfg.Metadata[ownerKey])
}

// A key that cannot be published holds up no other one.
func TestStuck(t *testing.T) {
	n := fleettest.Start(t)
	l := link(t, n)
	h := openHome(t, l)
	h.settle()
	h.pub.Close()
	narrow := ipallow.DefaultPolicy()
	narrow.MaxEntries = 1
	stuck := h.create("203.0.113.1", "203.0.113.2")
	h.pub = NewPublisher(l, h.svc, narrow)
	t.Cleanup(h.pub.Close)
	fine := h.create("203.0.113.3")
	g := openGate(t, link(t, n))
	fleettest.Eventually(t, func() bool { return g.ring.Get(fine.Key.ID) != nil && h.pub.Status(within(t)).Outbox == 1 }, func() string { return fmt.Sprintf("%+v", h.pub.Status(within(t))) })
	st := h.pub.Status(within(t))
	require.True(t, st.InStep)
	require.ErrorContains(t, st.Err, stuck.Key.ID)
	require.Nil(t, g.ring.Get(stuck.Key.ID))
	h.save(stuck.Key.ID, "203.0.113.1") // at once, and not after the pause
	g.same(h)
}

// A gateway starts without NATS from its checkpoint.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	h := openHome(t, link(t, n))
	a := h.create("203.0.113.0/24")
	file := filepath.Join(t.TempDir(), "checkpoint")
	open := func() *gate {
		g := &gate{engine: ipallow.New(&ipallow.Options{DenyUntilLoaded: true}), ring: new(keyring.Ring)}
		g.Follower = NewFollower(g.engine, g.ring, quiet)
		t.Cleanup(g.Close)
		return g
	}
	g := open()
	require.NoError(t, g.Follow(within(t), link(t, n), file))
	g.same(h)
	g.Close()
	n.Stop()

	g = open()
	done := make(chan error, 1)
	go func() { done <- g.Follow(within(t), link(t, n), file) }()
	<-g.First()
	require.True(t, g.Loaded())
	require.NotNil(t, g.ring.Authenticate(a.Token))
	require.Equal(t, ipallow.Denied, g.engine.Check(a.Key.ID, stranger))
	require.Error(t, g.Ready(time.Millisecond))
	n.Start()
	require.NoError(t, <-done)
	h.create("203.0.113.9")
	g.same(h)
}
