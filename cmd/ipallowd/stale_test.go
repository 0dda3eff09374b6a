package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// A gateway that is cut off answers a key that was revoked meanwhile only until the bound,
// also after it was started again from its checkpoint, and recovers by itself. Without the
// bound it goes on.
func TestRefuseStale(t *testing.T) {
	t.Parallel()
	nats := fleettest.Start(t)
	line := fleettest.StartLine(t, nats.Addr())
	m := startManagement(t, nats, t.TempDir())
	data := t.TempDir()
	run := func(data, name string, args ...string) *process {
		return launch(t, append([]string{"gateway", "--nats", line.URL(), "--data", data, "--name", name,
			"--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0"}, args...)...)
	}
	const bound = 2 * time.Second
	gate, forever := run(data, "bounded", "--refuse-stale", bound.String()), run(t.TempDir(), "forever")
	k := m.create("k", entry{"127.0.0.1", ""})
	gate.answers(k.Secret, 200)
	forever.answers(k.Secret, 200)
	require.Contains(t, gate.metrics(""), "ipallowd_feed_refusing 0\n")

	line.Cut()
	cut := time.Now()
	status, err := m.api("DELETE", "/keys/"+k.ID, nil, nil)
	require.NoError(t, err)
	require.Less(t, status, 300)
	gate.answers(k.Secret, 503)
	require.Greater(t, time.Since(cut), bound/4, "what it knew was not older than a check's interval and a round trip")
	gate.answers(k.Secret+"x", 503)
	require.False(t, gate.ready())
	require.Contains(t, gate.metrics(""), "ipallowd_feed_refusing 1\n")
	forever.answers(k.Secret, 200)

	gate.kill()
	gate = run(data, "bounded", "--refuse-stale", bound.String())
	status, id, err := gate.ping(k.Secret)
	require.NoError(t, err)
	require.Equal(t, 503, status, "the checkpoint is as old as it was")

	line.Heal()
	gate.answers(k.Secret, 401)
	forever.answers(k.Secret, 401)
	fleettest.Eventually(t, gate.ready, gate.said)
	other := m.create("other")
	gate.answers(other.Secret, 200)
	fleettest.Eventually(t, func() bool { return m.requestIDs()[id] == 1 }, func() string { return "the record of a refused request" })
}
