package main

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// A propagation is what the API says of a change.
type propagation struct {
	InForce   bool `json:"in_force"`
	Published bool
	Revision  uint64
	Reason    string
	Waiting   []string `json:"waiting_for"`
	Nodes     []struct {
		Name, State string
		InForce     bool `json:"in_force"`
	}
}

// The answer to a change names the gateways that have it in force and those that have not, and
// can be asked again. While NATS is down, it is not in force anywhere, which metrics say too.
func TestPropagation(t *testing.T) {
	t.Parallel()
	nats := fleettest.Start(t)
	line := fleettest.StartLine(t, nats.Addr())
	m := startManagement(t, nats, t.TempDir())
	near := startGateway(t, nats, t.TempDir(), "near")
	far := launch(t, "gateway", "--nats", line.URL(), "--data", t.TempDir(), "--name", "far", "--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0")
	a, b, c := m.create("a"), m.create("b"), m.create("c")
	for _, gate := range []*process{near, far} {
		gate.answers(c.Secret, 200)
	}
	var k struct {
		Status      string
		Propagation propagation
	}
	p := &k.Propagation
	ask := func(id string, ok func() bool) {
		t.Helper()
		fleettest.Eventually(t, func() bool {
			*p = propagation{}
			status, err := m.api("GET", "/keys/"+id+"/propagation?wait=1s", nil, p)
			return err == nil && status == 200 && ok()
		}, func() string { return fmt.Sprintf("%+v", *p) })
	}
	ask(a.ID, func() bool { return len(p.Nodes) == 2 })

	status, err := m.api("DELETE", "/keys/"+a.ID+"?wait=10s", nil, &k)
	require.NoError(t, err)
	require.Equal(t, 200, status, "%+v", k)
	require.Equal(t, "revoked", k.Status)
	require.True(t, p.InForce)
	require.Empty(t, p.Waiting)
	revision := p.Revision
	for _, gate := range []*process{near, far} {
		code, _, err := gate.ping(a.Secret)
		require.NoError(t, err)
		require.Equal(t, 401, code, "what is said to be in force is")
	}

	line.Cut()
	status, err = m.api("DELETE", "/keys/"+b.ID, nil, &k)
	require.NoError(t, err)
	require.Equal(t, 202, status)
	require.False(t, p.InForce)
	require.Contains(t, p.Waiting, "far")
	ask(b.ID, func() bool { return p.Published && len(p.Waiting) == 1 })
	require.Equal(t, []string{"far"}, p.Waiting)
	require.Greater(t, p.Revision, revision)
	require.Contains(t, p.Reason, "far")
	code, _, err := far.ping(b.Secret)
	require.NoError(t, err)
	require.Equal(t, 200, code, "it is not in force there")
	line.Heal()
	ask(b.ID, func() bool { return p.InForce })
	far.answers(b.Secret, 401)

	nats.Stop()
	fleettest.Eventually(t, func() bool { return m.metric("ipallowd_fleet_connected") == "0" }, m.said)
	status, err = m.api("DELETE", "/keys/"+c.ID+"?wait=10s", nil, &k)
	require.NoError(t, err)
	require.Equal(t, 202, status)
	require.False(t, p.InForce)
	require.False(t, p.Published)
	require.ElementsMatch(t, []string{"near", "far"}, p.Waiting)
	require.Contains(t, p.Reason, "NATS cannot be reached")
	require.Equal(t, "0", m.metric("ipallowd_fleet_in_step"))
	require.NotEqual(t, "0", m.metric("ipallowd_fleet_lag"))
	nats.Start()
	ask(c.ID, func() bool { return p.InForce })
	fleettest.Eventually(t, func() bool { return m.metric("ipallowd_fleet_in_step") == "1" && m.metric("ipallowd_fleet_lag") == "0" }, m.said)
	near.answers(c.Secret, 401)
	far.answers(c.Secret, 401)
}

// A gateway that stopped by itself is no more asked for, and one that was killed, or that
// nobody hears, is: it may serve.
func TestOnlyWhatStoppedIsForgotten(t *testing.T) {
	t.Parallel()
	nats := fleettest.Start(t)
	line := fleettest.StartLine(t, nats.Addr())
	data := t.TempDir()
	m := startManagement(t, nats, data)
	stopped := startGateway(t, nats, t.TempDir(), "stopped")
	killed := startGateway(t, nats, t.TempDir(), "killed")
	far := launch(t, "gateway", "--nats", line.URL(), "--data", t.TempDir(), "--name", "far", "--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0")
	a, b := m.create("a"), m.create("b")
	for _, gate := range []*process{stopped, killed, far} {
		gate.answers(b.Secret, 200)
	}
	line.Cut()
	killed.kill()
	require.NoError(t, stopped.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, stopped.cmd.Wait(), "%s", stopped.said())
	m.kill()
	m = startManagement(t, nats, data)
	m.settledIn()
	var k struct{ Propagation propagation }
	p := &k.Propagation
	for _, key := range []createdKey{a, b} {
		status, err := m.api("DELETE", "/keys/"+key.ID, nil, &k)
		require.NoError(t, err)
		require.Equal(t, 202, status)
		fleettest.Eventually(t, func() bool {
			*p = propagation{}
			_, err := m.api("GET", "/keys/"+key.ID+"/propagation", nil, p)
			return err == nil && p.Published
		}, func() string { return fmt.Sprintf("%+v", *p) })
		require.ElementsMatch(t, []string{"killed", "far"}, p.Waiting)
	}
	code, _, err := far.ping(b.Secret)
	require.NoError(t, err)
	require.Equal(t, 200, code, "it serves")
	status, err := m.api("DELETE", "/nodes/killed", nil, nil)
	require.NoError(t, err)
	require.Equal(t, 204, status)
	line.Heal()
	fleettest.Eventually(t, func() bool {
		*p = propagation{}
		_, err := m.api("GET", "/keys/"+b.ID+"/propagation", nil, p)
		return err == nil && p.InForce && len(p.Nodes) == 1
	}, func() string { return fmt.Sprintf("%+v", *p) })
}
