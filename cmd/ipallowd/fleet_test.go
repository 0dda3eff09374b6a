package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// startManagement runs the management node of a fleet.
func startManagement(t *testing.T, nats natsServer, data string) *process {
	t.Helper()
	return start(t, data, "--nats", nats.URL())
}

// startGateway runs a gateway of the fleet.
func startGateway(t *testing.T, nats natsServer, data, name string) *process {
	t.Helper()
	return launch(t, "gateway", "--nats", nats.URL(), "--data", data, "--name", name,
		"--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0")
}

// ready reports whether /readyz says so.
func (p *process) ready() bool {
	resp, err := p.client.Get(p.management + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

func (p *process) said() string { return p.stderr.String() }

// answers waits until the gateway answers a key in this way.
func (p *process) answers(secret string, want int) {
	p.t.Helper()
	got := 0
	fleettest.Eventually(p.t, func() bool {
		var err error
		got, _, err = p.ping(secret)
		require.NoError(p.t, err)
		return got == want
	}, func() string { return "status " + http.StatusText(got) })
}

// A gateway without a database learns of keys, lists, and what becomes of them,
// and its records are in the management's log.
func TestFleet(t *testing.T) {
	t.Parallel()
	nats := fleettest.Start(t)
	gate := startGateway(t, nats, t.TempDir(), "gate-1")
	status, id, err := gate.ping("ipk_unknown")
	require.NoError(t, err)
	require.Equal(t, 503, status, "nothing is known yet")
	require.False(t, gate.ready())

	m := startManagement(t, nats, t.TempDir())
	open := m.create("open")
	here := m.create("here", entry{"127.0.0.1", "this machine"})
	elsewhere := m.create("elsewhere", entry{"203.0.113.0/24", "office"})
	gate.answers(elsewhere.Secret, 403)
	gate.answers(here.Secret, 200)
	gate.answers(open.Secret, 200)
	gate.answers(here.Secret+"x", 401)
	fleettest.Eventually(t, gate.ready, gate.said)

	status, err = m.api("PUT", "/keys/"+here.ID+"/allowlist", map[string]any{"entries": []entry{{"203.0.113.7", ""}}, "confirm_lockout": true}, nil)
	require.NoError(t, err)
	require.Less(t, status, 300)
	gate.answers(here.Secret, 403)
	status, err = m.api("DELETE", "/keys/"+open.ID, nil, nil)
	require.NoError(t, err)
	require.Less(t, status, 300)
	gate.answers(open.Secret, 401)

	fleettest.Eventually(t, func() bool { return m.requestIDs()[id] == 1 }, func() string { return "the record of the first request" })

	// The nodes are known, with their lag; a gateway's clock is not asked.
	var view struct {
		Fleet  bool   `json:"fleet"`
		Newest uint64 `json:"newest_revision"`
		Nodes  []struct {
			Name, Role, State, Source string
			Revision, Lag             uint64
			Keys                      int
		} `json:"nodes"`
	}
	fleettest.Eventually(t, func() bool {
		status, err := m.api("GET", "/nodes", nil, &view)
		return err == nil && status == 200 && len(view.Nodes) == 2 && view.Nodes[1].Lag == 0 && view.Nodes[1].Keys == 2
	}, func() string { return fmt.Sprintf("%+v", view) })
	require.True(t, view.Fleet)
	require.Equal(t, "management", view.Nodes[0].Role)
	require.Equal(t, "gate-1", view.Nodes[1].Name)
	require.Equal(t, "ready", view.Nodes[1].State)
	require.Equal(t, "bucket", view.Nodes[1].Source)
	require.Equal(t, view.Newest, view.Nodes[1].Revision)

	for _, want := range []string{"ipallowd_feed_ready 1", "ipallowd_feed_lag 0", "ipallowd_feed_faults 0", "ipallowd_keys 2"} {
		require.Contains(t, gate.metrics(""), want)
	}
	for _, want := range []string{"ipallowd_fleet_in_step 1", "ipallowd_fleet_rivals 0", `ipallowd_fleet_nodes{state="ready"} 1`, "ipallowd_usage_damaged_total 0"} {
		require.Contains(t, m.metrics(testToken), want)
	}
	fleettest.Eventually(t, func() bool { return strings.Contains(m.metrics(testToken), "ipallowd_outbox_rows 0\n") }, func() string { return "the outbox is never empty" })
}

// metrics returns what /metrics says.
func (p *process) metrics(token string) string {
	p.t.Helper()
	req, err := http.NewRequest("GET", p.management+"/metrics", nil)
	require.NoError(p.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := p.client.Do(req)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, 200, resp.StatusCode)
	return string(text)
}

// Both start while NATS is down, and stop when they are told to. What was made
// and recorded meanwhile is published and stored afterwards.
func TestFleetWithoutNATS(t *testing.T) {
	t.Parallel()
	nats := fleettest.Start(t)
	nats.Stop()
	data, gateData := t.TempDir(), t.TempDir()
	m, gate := startManagement(t, nats, data), startGateway(t, nats, gateData, "gate-1")
	k := m.create("k", entry{"127.0.0.1", ""})
	status, id, err := gate.ping(k.Secret)
	require.NoError(t, err)
	require.Equal(t, 503, status)
	require.Contains(t, m.metrics(testToken), "ipallowd_outbox_rows 1\n")
	for _, p := range []*process{gate, m} {
		began := time.Now()
		require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
		require.NoError(t, p.cmd.Wait(), "%s", p.stderr)
		require.Less(t, time.Since(began), 15*time.Second)
	}
	nats.Start()
	m, gate = startManagement(t, nats, data), startGateway(t, nats, gateData, "gate-1")
	gate.answers(k.Secret, 200)
	fleettest.Eventually(t, func() bool { return m.requestIDs()[id] == 1 }, func() string { return "the record of the first request" })

	// NATS goes away: the gateway goes on, also after a kill -9.
	fleettest.Eventually(t, gate.ready, gate.said)
	nats.Stop()
	gate.kill()
	gate = startGateway(t, nats, gateData, "gate-1")
	gate.answers(k.Secret, 200)
	gate.answers(k.Secret+"x", 401)
}

// metric returns the value of one of the management node's metrics, or "".
func (p *process) metric(name string) string {
	for line := range strings.Lines(p.metrics(testToken)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
