package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// A gateway has a change in force if it has said so of the bucket that has it, and nothing
// against it.
func TestPropagationOfReports(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	h := openHome(t, l)
	reg := NewRegistry(l)
	t.Cleanup(reg.Close)
	c := &Center{Link: l, Publisher: h.pub, Registry: reg}
	made := h.create("203.0.113.0/24")
	id := made.Key.ID
	h.settle()
	p := c.Propagation(within(t), id, 0)
	require.True(t, p.InForce, "there is no gateway: %+v", p)
	require.NotZero(t, p.Revision)

	confirm := h.pub.lastConfirm()
	report := Report{
		Name: "gate", Role: Gateway, Ready: true, Revision: p.Revision, Bucket: h.pub.Created(), Confirm: confirm.rev, Confirmed: confirm.at,
	}
	_, say := reporter(t, link(t, n), report)
	instance := 0
	see := func(change func(*Report)) Propagation {
		t.Helper()
		r := report
		instance++
		r.Backlog, r.Keys = uint64(instance%2), instance // news
		change(&r)
		say.Store(&r)
		fleettest.Eventually(t, func() bool { return len(reg.Nodes()) == 1 && reg.Nodes()[0].Keys == instance }, func() string { return fmt.Sprintf("%+v", reg.Nodes()) })
		return c.Propagation(within(t), id, 0)
	}
	require.True(t, see(func(*Report) {}).InForce)
	for what, change := range map[string]func(*Report){
		"an earlier revision":                        func(r *Report) { r.Revision-- },
		"another bucket":                             func(r *Report) { r.Revision, r.Bucket = r.Revision+100, r.Bucket.Add(-time.Hour) },
		"a later revision of a history that is lost": func(r *Report) { r.Revision, r.Confirmed = r.Revision+100, r.Confirmed.Add(-time.Hour) },
		"an earlier Confirm":                         func(r *Report) { r.Confirm-- },
		"no bucket":                                  func(r *Report) { r.Bucket = time.Time{} },
		"a fault of the key":                         func(r *Report) { r.NameFaults(1, []Fault{{Key: id, Reason: "no room"}}) },
		"faults without name":                        func(r *Report) { r.NameFaults(50, []Fault{{Key: "another"}}) },
	} {
		p := see(change)
		require.False(t, p.InForce, what)
		require.Equal(t, []string{"gate"}, p.Waiting(), what)
		require.Contains(t, p.Reason, "gate", what)
	}
	require.True(t, see(func(r *Report) { r.NameFaults(1, []Fault{{Key: "another"}}) }).InForce)
	require.True(t, see(func(r *Report) { r.Missing = 3 }).InForce, "the bucket has this key's value")
	require.True(t, see(func(r *Report) { r.Confirm, r.Confirmed = 0, time.Time{} }).InForce, "a version that does not tell")

	// A wait ends when a gateway confirms, and is not for one that is silent.
	require.NoError(t, h.svc.Revoke(within(t), by, id))
	done := make(chan Propagation, 1)
	go func() { done <- c.Propagation(within(t), id, 10*time.Second) }()
	fleettest.Eventually(t, func() bool { return c.Propagation(within(t), id, 0).Published }, h.state)
	r := report
	r.Revision, r.Missing = h.pub.Revision(), 3
	say.Store(&r)
	fleettest.Eventually(t, func() bool { return len(reg.Nodes()) == 1 && reg.Nodes()[0].Missing == 3 }, h.state)
	require.False(t, c.Propagation(within(t), id, 0).InForce, "this may be one of the keys that it keeps")
	r.Missing = 0
	say.Store(&r)
	select {
	case p = <-done:
		require.True(t, p.InForce, "%+v", p)
	case <-time.After(15 * time.Second):
		require.FailNow(t, "it waits for ever")
	}
	require.NoError(t, h.svc.Revoke(within(t), by, h.create().Key.ID))

	// A publisher that has not compared knows nothing of what the bucket has.
	h.pub.Close()
	n.Stop()
	h.publish(l)
	c.Publisher = h.pub
	began := time.Now()
	p = c.Propagation(within(t), id, 10*time.Second)
	require.False(t, p.Published)
	require.Contains(t, p.Reason, "NATS cannot be reached")
	require.Less(t, time.Since(began), 8*time.Second, "there is nothing to wait for")
}

// A gateway that has obeyed the last Confirm and keeps keys all the same, because the server
// that stored it has a clock that is behind, is told again, and not without end.
func TestConfirmedAgain(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	h := openHome(t, l)
	h.create("203.0.113.0/24")
	h.settle()
	c := NewCenter(l, h.pub, nil, func() Report { return Report{Name: "home", Role: Management} })
	t.Cleanup(func() { c.consumers.close(); c.Reporter.Close(); c.Registry.Close() })
	first := h.pub.lastConfirm()
	report := Report{Name: "gate", Role: Gateway, Missing: 3, Bucket: h.pub.Created(), Confirm: first.rev, Confirmed: first.at}
	_, say := reporter(t, link(t, n), report)
	fleettest.Eventually(t, func() bool { return h.pub.lastConfirm().rev > first.rev }, h.state)
	time.Sleep(2 * checkEvery) // it has not obeyed this one yet
	second := h.pub.lastConfirm()
	require.Equal(t, first.rev+1, second.rev)
	require.True(t, h.pub.Status(within(t)).InStep)
	obeyed := report
	obeyed.Confirm, obeyed.Confirmed = second.rev, second.at
	say.Store(&obeyed)
	fleettest.Eventually(t, func() bool { return h.pub.lastConfirm().rev > second.rev }, h.state)

	// One that always says so has it said ever less often.
	p := &Publisher{}
	always := func(time.Time, confirmation) bool { return true }
	p.keeps.Store(&always)
	start, told := time.Now(), 0
	for s := range 3600 {
		if p.owed(start.Add(time.Duration(s) * time.Second)) {
			told++
		}
	}
	require.Less(t, told, 70)
	require.Greater(t, told, 55)
}
