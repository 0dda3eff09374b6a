//go:build unix

package main

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// An owner that stands still, in the middle of changes, is followed by a copy.
// When it goes on, nothing that it had on its way is stored, and it takes no
// more changes.
func TestOwnerThatStoodStill(t *testing.T) {
	t.Parallel()
	nats := runNATS(t)
	first := t.TempDir()
	a := startManagement(t, nats, first)
	gate := startGateway(t, nats, t.TempDir(), "gate-1")
	keys := make([]createdKey, 10)
	for i := range keys {
		keys[i] = a.create("k")
		gate.answers(keys[i].Secret, 200)
	}
	a.owns()
	a.kill()
	second := copyData(t, first)
	a = startManagement(t, nats, first)
	a.owns()

	busy := make(chan int) // how many of the owner's changes were made
	go func() {
		n := 0
		for i := 0; ; i++ {
			name := map[string]any{"name": "k", "report_only": i/len(keys)%2 == 0}
			status, err := a.api("PATCH", "/keys/"+keys[i%len(keys)].ID+"?wait=0s", name, nil)
			if err != nil || status >= 300 {
				busy <- n
				return
			}
			n++
		}
	}()
	fleettest.Eventually(t, func() bool { return a.published() > 20 }, a.said)
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGSTOP))
	// The copy lacks what the owner published since: it has to be adopted.
	b := startManagement(t, nats, second)
	b.fenced("older than what the fleet has")
	b.kill()
	code, text := adoptFleet(t, nats, second, "--yes")
	require.Zero(t, code, text)
	b = startManagement(t, nats, second)
	b.owns()
	for _, k := range keys {
		b.revoke(k)
		gate.answers(k.Secret, 401)
	}
	var refused []*refusal
	for _, k := range keys {
		refused = append(refused, never(t, k.Secret, gate))
	}
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGCONT))
	a.fenced("has been the fleet's management node since")
	require.Positive(t, <-busy)
	b.create("more")
	for _, r := range refused {
		r.end()
	}
}

// published returns how many values the server has published.
func (p *process) published() int {
	var v struct{ Publisher struct{ Published int } }
	_, err := p.api("GET", "/nodes", nil, &v)
	require.NoError(p.t, err)
	return v.Publisher.Published
}
