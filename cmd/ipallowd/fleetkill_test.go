package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// pingFrom calls the gateway with a key, as the trusted proxy would for a
// client.
func (p *process) pingFrom(secret, client string) (status int, requestID string, err error) {
	req, err := http.NewRequest("GET", p.gateway+"/v1/ping", nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("X-Forwarded-For", client)
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("X-Request-Id"), err
}

// A fleetKey is what a fleetWitness knows of a key: the client that its list
// lets in, as acknowledged last and as sent last, and whether it was revoked.
type fleetKey struct {
	createdKey
	client, sent      string
	revoked, revoking bool
}

// A fleetWitness remembers what a management node acknowledged and what a
// gateway answered.
type fleetWitness struct {
	t  *testing.T
	mu sync.Mutex

	keys     []*fleetKey
	answered map[string]time.Time // request ID -> when
	served   int                  // probes of a client that is in no list
	probes   int
}

const stranger = "192.0.2.99"

func (w *fleetWitness) with(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

// made returns how many keys there are.
func (w *fleetWitness) made() (n int) {
	w.with(func() { n = len(w.keys) })
	return n
}

// change makes keys, changes lists and revokes, until the program is gone.
func (w *fleetWitness) change(m *process, worker int) {
	for i := 0; ; i++ {
		client := func(j int) string { return fmt.Sprintf("10.%d.%d.%d", worker, i%256, j) }
		list := func(j int) []entry { return []entry{{client(j), ""}} }
		k := &fleetKey{client: client(0), sent: client(0)}
		status, err := m.api("POST", "/keys", map[string]any{"name": "k", "scopes": []string{"read"}, "allowlist": list(0)}, &k.createdKey)
		if err != nil {
			return
		}
		if status != http.StatusCreated {
			w.t.Errorf("create: status %d", status)
			return
		}
		w.with(func() { w.keys = append(w.keys, k) })
		for j := 1; j < 4; j++ {
			w.with(func() { k.sent = client(j) })
			status, err := m.api("PUT", "/keys/"+k.ID+"/allowlist?wait=0s", map[string]any{"entries": list(j), "confirm_lockout": true}, nil)
			if err != nil {
				return
			}
			if status != http.StatusOK && status != http.StatusAccepted { // in force here, or not everywhere yet
				w.t.Errorf("allowlist: status %d", status)
				return
			}
			w.with(func() { k.client = client(j) })
		}
		if i%2 == 1 {
			w.with(func() { k.revoking = true })
			if _, err := m.api("DELETE", "/keys/"+k.ID+"?wait=0s", nil, nil); err != nil {
				return
			}
			w.with(func() { k.revoked = true })
		}
	}
}

// probe asks the gateway for a client that no list lets in, until told to stop
// or the gateway is gone.
func (w *fleetWitness) probe(gate *process, quit <-chan struct{}) {
	for {
		select {
		case <-quit:
			return
		default:
		}
		secret := "ipk_unknown"
		w.with(func() {
			if n := len(w.keys); n > 0 {
				secret = w.keys[max(0, n-1-rand.IntN(10))].Secret // young ones
			}
		})
		status, id, err := gate.pingFrom(secret, stranger)
		if err != nil {
			return
		}
		w.with(func() {
			w.probes++
			if status == 403 { // of many without a known key not each has a record
				w.answered[id] = time.Now()
			}
			if status < 400 {
				w.served++
				w.t.Errorf("a restricted key was answered with %d", status)
			}
		})
	}
}

// TestFleetKill kills the management node in the middle of changes, and the
// gateway, with SIGKILL. Every change that was acknowledged is in force on the
// gateway within ten seconds of the next start, no restricted key was open for
// one request, and every usage record is in the log, once.
func TestFleetKill(t *testing.T) {
	t.Parallel()
	nats := fleettest.Start(t)
	data, gateData := t.TempDir(), t.TempDir()
	w := &fleetWitness{t: t, answered: map[string]time.Time{}}
	gateway := func() *process {
		return launch(t, "gateway", "--nats", nats.URL(), "--data", gateData, "--name", "gate", "--listen", "127.0.0.1:0",
			"--status-listen", "127.0.0.1:0", "--allow-non-public", "--trusted-proxies", "127.0.0.1")
	}
	gate := gateway()
	for round := range killRounds(t) {
		m := startManagement(t, nats, data)
		before := len(w.keys)
		quit := make(chan struct{})
		var changes, probes sync.WaitGroup
		for i := range 2 {
			changes.Go(func() { w.change(m, 2*round%200+i) })
			probes.Go(func() { w.probe(gate, quit) })
		}
		for end := time.Now().Add(10 * time.Second); w.made() < before+6 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		m.kill()
		changes.Wait()
		if round%2 == 1 {
			// Its last records are on their way to the write-ahead file.
			killed := time.Now()
			gate.kill()
			probes.Wait()
			w.with(func() {
				for id, at := range w.answered {
					if killed.Sub(at) < settled {
						delete(w.answered, id) // not promised; whether it is there twice is seen below
					}
				}
			})
			gate = gateway()
			for range 2 {
				probes.Go(func() { w.probe(gate, quit) })
			}
		}
		m = startManagement(t, nats, data)
		began := time.Now()
		// What was stored and not acknowledged may be published as late as now.
		fleettest.Eventually(t, func() bool {
			text := m.metrics(testToken)
			return strings.Contains(text, "ipallowd_fleet_in_step 1\n") && strings.Contains(text, "ipallowd_outbox_rows 0\n")
		}, m.said)
		w.check(gate)
		took := time.Since(began)
		require.Less(t, took, 10*time.Second)
		close(quit)
		probes.Wait()
		w.checkLog(m)
		m.kill()
		require.False(t, t.Failed())
	}
	revoked := 0
	for _, k := range w.keys {
		if k.revoked {
			revoked++
		}
	}
	t.Logf("%d rounds: %d keys, %d of them revoked; %d probes, %d served; %d records, each once", killRounds(t), len(w.keys), revoked, w.probes, w.served, len(w.answered))
	require.Greater(t, len(w.keys), 2*killRounds(t))
	require.Positive(t, revoked)
	require.Positive(t, w.probes)
}

// check waits until the gateway enforces what was acknowledged.
func (w *fleetWitness) check(gate *process) {
	deadline := time.Now().Add(15 * time.Second)
	for _, k := range w.keys {
		for {
			now := map[string]int{} // status by client
			for _, client := range []string{k.client, k.sent, stranger} {
				status, _, err := gate.pingFrom(k.Secret, client)
				require.NoError(w.t, err, "%s", gate.said())
				now[client] = status
			}
			require.NotEqual(w.t, 200, now[stranger])
			gone := now[k.client] == 401 && now[k.sent] == 401
			if k.revoked && gone || !k.revoked && (now[k.client] == 200 && (now[k.sent] != 200 || k.sent == k.client)) ||
				!k.revoked && k.sent != k.client && now[k.sent] == 200 && now[k.client] == 403 {
				if now[k.sent] == 200 {
					k.client = k.sent // the change was made and not acknowledged
				}
				k.sent = k.client
				break
			}
			if !k.revoked && k.revoking && gone {
				k.revoked = true
				break
			}
			require.True(w.t, time.Now().Before(deadline), "key %+v is answered with %v", k, now)
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// checkLog waits until every record that was promised is in the log.
func (w *fleetWitness) checkLog(m *process) {
	missing := 0
	fleettest.Eventually(w.t, func() bool {
		ids := m.requestIDs()
		missing = 0
		for id, n := range ids {
			require.Equal(w.t, 1, n, "record %s is there more than once", id)
		}
		for id := range w.answered {
			if ids[id] == 0 {
				missing++
			}
		}
		if missing > 0 {
			time.Sleep(100 * time.Millisecond)
		}
		return missing == 0
	}, func() string { return fmt.Sprintf("%d of %d records; %s", missing, len(w.answered), m.said()) })
}
