package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// A gone is a secret and a client that must not be served any more.
type gone struct {
	secret, client string
	want           int // status of the first refusal; a revocation may come later
}

// TestRoundsUnderLoad narrows, rotates and revokes keys while other keys are in use. What the
// answer to a change says is in force is so on every node in the request after it, and
// ever after. IPALLOW_ROUNDS says how many rounds; 5 by default.
func TestRoundsUnderLoad(t *testing.T) {
	t.Parallel()
	rounds := 5
	if text := os.Getenv("IPALLOW_ROUNDS"); text != "" {
		var err error
		rounds, err = strconv.Atoi(text)
		require.NoError(t, err, "IPALLOW_ROUNDS")
	}
	nats := fleettest.Start(t)
	m := start(t, t.TempDir(), "--nats", nats.URL(), "--trusted-proxies", "127.0.0.1")
	nodes := []*process{m}
	for _, name := range []string{"one", "two"} {
		nodes = append(nodes, launch(t, "gateway", "--nats", nats.URL(), "--data", t.TempDir(), "--name", name,
			"--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0", "--trusted-proxies", "127.0.0.1"))
	}
	const home, away = "203.0.113.5", "198.51.100.7"
	busy := m.create("busy", entry{home, ""})
	for _, n := range nodes {
		fleettest.Eventually(t, func() bool {
			status, _, err := n.pingFrom(busy.Secret, home)
			return err == nil && status == http.StatusOK
		}, n.said)
	}

	var all []gone
	var mu sync.Mutex
	var requests, probes atomic.Int64
	quit := make(chan struct{})
	var load sync.WaitGroup
	defer load.Wait()
	defer sync.OnceFunc(func() { close(quit) })()
	for _, n := range nodes {
		load.Go(func() { // the load, and what has gone before
			for {
				select {
				case <-quit:
					return
				default:
				}
				status, _, err := n.pingFrom(busy.Secret, home)
				if err != nil || status != http.StatusOK {
					t.Errorf("a key that nobody changed: %d %v", status, err)
					return
				}
				requests.Add(1)
				mu.Lock()
				var g gone
				if len(all) > 0 {
					g = all[rand.IntN(len(all))]
				}
				mu.Unlock()
				if g.want == 0 {
					continue
				}
				probes.Add(1)
				if status, _, err = n.pingFrom(g.secret, g.client); err != nil || status < 400 {
					t.Errorf("%+v was answered with %d %v, long after", g, status, err)
					return
				}
			}
		})
	}

	var took []time.Duration
	change := func(method, path string, body, into any) {
		began := time.Now()
		status, err := m.api(method, path+"?wait=10s", body, into)
		took = append(took, time.Since(began))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, "%s %s is not in force everywhere\n%s", method, path, m.said())
	}
	refused := func(g gone) {
		for _, n := range nodes {
			status, _, err := n.pingFrom(g.secret, g.client)
			require.NoError(t, err)
			require.Equal(t, g.want, status, "%+v in the first request after the answer", g)
			probes.Add(1)
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, g)
	}
	served := func(secret, client string) {
		for _, n := range nodes {
			status, _, err := n.pingFrom(secret, client)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status)
		}
	}
	for round := range rounds {
		k := m.create(fmt.Sprintf("round %d", round), entry{home, ""}, entry{away, ""})
		path := "/keys/" + k.ID
		change("PUT", path+"/allowlist", map[string]any{"entries": []entry{{home, ""}, {away, ""}, {"192.0.2.0/24", ""}}}, nil)
		served(k.Secret, home)
		served(k.Secret, away)

		change("PUT", path+"/allowlist", map[string]any{"entries": []entry{{home, ""}}, "confirm_lockout": true}, nil)
		refused(gone{k.Secret, away, http.StatusForbidden})
		served(k.Secret, home)

		var next createdKey
		change("POST", path+"/rotate", nil, &next)
		refused(gone{k.Secret, home, http.StatusUnauthorized})
		served(next.Secret, home)

		change("DELETE", path, nil, nil)
		refused(gone{next.Secret, home, http.StatusUnauthorized})
		require.False(t, t.Failed())
	}
	slices.Sort(took)
	t.Logf("%d rounds: %d changes in force on 3 nodes when they were answered, p50 %v, p99 %v, max %v; %d requests meanwhile; %d probes of what was taken away, 0 served",
		rounds, len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], requests.Load(), probes.Load())
}
