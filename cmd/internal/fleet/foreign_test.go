package fleet

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
	"github.com/ipallow/ipallow/natsfeed"
)

func init() { checkEvery, foreignPause = 250*time.Millisecond, time.Second }

func (h *home) state() string { return fmt.Sprintf("%+v", h.pub.Status(within(h.t))) }

// reconciled waits until the bucket was compared so often.
func (h *home) reconciled(n uint64) {
	h.t.Helper()
	fleettest.Eventually(h.t, func() bool { return h.pub.Status(within(h.t)).Reconciled == n }, h.state)
}

// write sends what a process would send that knows no condition but this one.
func write(t testing.TB, js jetstream.JetStream, name string, opts ...jetstream.PublishOpt) error {
	t.Helper()
	data, err := natsfeed.AppendValue(nil, natsfeed.Value{Meta: EncodeMeta(&keyring.Key{Scopes: keyring.Read})})
	require.NoError(t, err)
	_, err = js.Publish(within(t), "$KV."+DefaultPrefix+"_keys."+name, data, opts...)
	return err
}

// Somebody empties a key's list in the bucket, and the publisher's own next
// write does not hide it.
func TestOwnWriteAfterForeign(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	h := openHome(t, link(t, n))
	a := h.create("203.0.113.0/24")
	g := openGate(t, link(t, n))
	g.same(h)
	require.NoError(t, write(t, n.JetStream(), a.Key.ID))
	h.create("203.0.113.1")
	fleettest.Eventually(t, func() bool { return g.engine.Check(a.Key.ID, stranger) != ipallow.Denied }, h.state)
	fleettest.Eventually(t, func() bool { return g.engine.Check(a.Key.ID, stranger) == ipallow.Denied }, h.state)
	h.reconciled(2)
	g.same(h)
}

// The same while there is always a change on its way; and without a foreign
// one the bucket is not compared again.
func TestForeignUnderLoad(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	h := openHome(t, link(t, n))
	a, b := h.create("203.0.113.0/24"), h.create()
	g := openGate(t, link(t, n))
	g.same(h)
	stop := make(chan struct{})
	var load sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); load.Wait() })
	defer end()
	for range 4 {
		load.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				entry := manage.ListEdit{Entries: list(fmt.Sprintf("198.51.100.%d", i%250))}
				if _, err := h.svc.SetAllowlist(within(t), by, b.Key.ID, entry); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	require.NoError(t, write(t, n.JetStream(), a.Key.ID))
	h.reconciled(2)
	fleettest.Eventually(t, func() bool { return g.engine.Check(a.Key.ID, stranger) == ipallow.Denied }, h.state)
	// As many checks as it takes to compare once more, were there a reason.
	last := time.Now()
	fleettest.Eventually(t, func() bool { return time.Since(last) > foreignPause+2*checkEvery }, h.state)
	end()
	g.same(h)
	require.EqualValues(t, 2, h.pub.Status(within(t)).Reconciled)
}

// A message of a process that was killed arrives when its successor has
// published the opposite: the bucket refuses it, also where the successor found
// the bucket as it should be.
func TestLateMessages(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	h := openHome(t, l)
	kept := h.create("203.0.113.0/24")
	h.settle()
	h.pub.Close()
	js := n.JetStream()
	last := h.pub.Revision()
	h.save(kept.Key.ID)
	h.save(kept.Key.ID, "203.0.113.0/24")
	gone := h.create("203.0.113.0/24")
	require.NoError(t, h.svc.Revoke(within(t), by, gone.Key.ID))

	h.publish(l)
	h.settle()
	require.ErrorContains(t, write(t, js, gone.Key.ID, jetstream.WithExpectLastSequence(last)), "wrong last sequence")
	require.ErrorContains(t, write(t, js, kept.Key.ID, jetstream.WithExpectLastSequence(last)), "wrong last sequence")
	openGate(t, link(t, n)).same(h)

	// And one that nothing could prevent is noticed.
	require.NoError(t, write(t, js, gone.Key.ID))
	h.reconciled(2)
	g := openGate(t, link(t, n))
	g.same(h)
	require.Nil(t, g.ring.Get(gone.Key.ID))
}

// Somebody purges the stream: it is filled again, and what is revoked
// meanwhile goes from the gateways.
func TestPurged(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	h := openHome(t, link(t, n))
	a, b := h.create("203.0.113.0/24"), h.create("203.0.113.1")
	g := openGate(t, link(t, n))
	g.same(h)
	js := n.JetStream()
	stream, err := js.Stream(within(t), "KV_"+DefaultPrefix+"_keys")
	require.NoError(t, err)
	require.NoError(t, stream.Purge(within(t)))
	h.reconciled(2)
	_, err = keysOf(t, js).Get(within(t), a.Key.ID)
	require.NoError(t, err)
	g.same(h)
	fleettest.Eventually(t, func() bool { return g.Ready(0) == nil }, h.state)

	// One value, right before it is to be deleted.
	require.NoError(t, stream.Purge(within(t), jetstream.WithPurgeSubject("$KV."+DefaultPrefix+"_keys."+b.Key.ID)))
	require.NoError(t, h.svc.Revoke(within(t), by, b.Key.ID))
	fleettest.Eventually(t, func() bool { return g.ring.Get(b.Key.ID) == nil }, h.state)
	g.same(h)
}

// Messages whose names no key-value client would take stop nobody.
func TestNamesOfNoKey(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	h := openHome(t, l)
	h.create("203.0.113.0/24")
	h.settle()
	h.pub.Close()
	js := n.JetStream()
	for i := range 300 {
		require.NoError(t, write(t, js, fmt.Sprintf("x!%d", i)))
	}
	h.publish(l)
	h.create("203.0.113.1")
	h.settle()
	stream, err := js.Stream(within(t), "KV_"+DefaultPrefix+"_keys")
	require.NoError(t, err)
	for _, i := range []int{0, 299} {
		m, err := stream.GetLastMsgForSubject(within(t), fmt.Sprintf("$KV.%s_keys.x!%d", DefaultPrefix, i))
		require.NoError(t, err)
		require.Equal(t, "DEL", m.Header.Get("KV-Operation"))
	}
	g := openGate(t, link(t, n))
	g.same(h)
	// While it runs, too; and the deletions were not taken for foreign.
	require.EqualValues(t, 1, h.pub.Status(within(t)).Reconciled)
	require.NoError(t, write(t, js, "x!y"))
	h.create("203.0.113.2")
	h.reconciled(2)
	g.same(h)
}

// The publisher asks the stream's leader, and no replica that may lag behind.
func TestRefreshAsksTheLeader(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	h := openHome(t, l)
	a := h.create("203.0.113.0/24")
	h.settle()
	var direct atomic.Int64
	_, err := l.nc.Subscribe("$JS.API.DIRECT.GET.KV_"+DefaultPrefix+"_keys.>", func(*nats.Msg) { direct.Add(1) })
	require.NoError(t, err)
	require.NoError(t, l.nc.Flush())
	js := n.JetStream()
	require.NoError(t, write(t, js, a.Key.ID))
	h.save(a.Key.ID, "198.51.100.1")
	fleettest.Eventually(t, func() bool { return h.pub.Status(within(t)).Conflicts > 0 }, h.state)
	h.reconciled(2)
	openGate(t, link(t, n)).same(h)
	require.NoError(t, l.nc.Flush())
	require.Zero(t, direct.Load())
	_, err = keysOf(t, js).Get(within(t), a.Key.ID)
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return direct.Load() == 1 }, func() string { return "any replica answers this" })

	// A bucket that was read from a replica that lags behind is not compared.
	h.pub.Close()
	_, info, err := l.openKeys(within(t), h.svc.Identity())
	require.NoError(t, err)
	last := info.State.LastSeq
	require.NoError(t, h.pub.reached(within(t), last, last))
	require.ErrorContains(t, h.pub.reached(within(t), last-1, last), "lags behind")
	require.ErrorContains(t, h.pub.reached(within(t), 0, last), "lags behind")
	stream, err := js.Stream(within(t), "KV_"+DefaultPrefix+"_keys")
	require.NoError(t, err)
	require.NoError(t, stream.Purge(within(t)))
	require.NoError(t, h.pub.reached(within(t), 0, last), "there is nothing")
	require.NoError(t, write(t, js, a.Key.ID))
	require.NoError(t, h.pub.reached(within(t), 0, last), "that came later")
}

// A damaged row of the database is named, and holds up no other key.
func TestDamagedRow(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	h := &home{t: t}
	file := filepath.Join(t.TempDir(), "ipallowd.db")
	h.svc, _, h.ring = managetest.Open(t, func(o *manage.Options) { o.Outbox, o.Path = true, file })
	h.publish(l)
	bad := h.create("203.0.113.0/24")
	h.settle()
	h.pub.Close()
	db, err := sql.Open("sqlite", file)
	require.NoError(t, err)
	_, err = db.ExecContext(within(t), "PRAGMA busy_timeout = 5000; UPDATE keys SET report_only = 1")
	require.NoError(t, err)
	require.NoError(t, db.Close())

	h.publish(l)
	fine := h.create("203.0.113.1")
	h.settle()
	fleettest.Eventually(t, func() bool { return h.pub.Status(within(t)).Err != nil }, h.state)
	st := h.pub.Status(within(t))
	require.True(t, st.InStep)
	require.ErrorIs(t, st.Err, manage.ErrDamaged)
	require.ErrorContains(t, st.Err, bad.Key.ID)
	g := openGate(t, link(t, n))
	fleettest.Eventually(t, func() bool { return g.ring.Get(fine.Key.ID) != nil }, h.state)
	require.NotNil(t, g.ring.Authenticate(bad.Token), "it stays as it was")
	require.Equal(t, ipallow.Denied, g.engine.Check(bad.Key.ID, stranger))
}
