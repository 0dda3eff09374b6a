package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// A natsServer is one that a test started, wherever it runs.
type natsServer interface{ URL() string }

// A natsProcess is nats-server in a process of its own.
type natsProcess struct {
	*fleettest.Process
	addr, dir string
}

func (n natsProcess) URL() string { return "nats://" + n.addr }

// runNATS runs nats-server with JetStream. Its kill is a kill -9.
func runNATS(t *testing.T) natsProcess {
	t.Helper()
	dir := t.TempDir()
	addr := fmt.Sprintf("127.0.0.1:%d", fleettest.FreePorts(t, 1, 0)[0])
	conf := filepath.Join(dir, "nats.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "listen: %q\njetstream { store_dir: %q }\n", addr, dir), 0o600))
	return natsProcess{fleettest.Run(t, conf, addr), addr, dir}
}

// copyData copies the files of a data directory to a new one.
func copyData(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(to, "data"), os.DirFS(from)))
	return filepath.Join(to, "data")
}

// get returns the status and the text of an answer of the management listener.
func (p *process) get(path string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequest("GET", p.management+path, nil)
	require.NoError(p.t, err)
	req.Header.Set("Authorization", "Bearer "+testToken)
	resp, err := p.client.Do(req)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	return resp.StatusCode, string(text)
}

// owns waits until the server is the fleet's management node.
func (p *process) owns() {
	p.t.Helper()
	fleettest.Eventually(p.t, func() bool {
		_, text := p.get("/metrics")
		return strings.Contains(text, "ipallowd_fleet_in_step 1\n")
	}, p.said)
}

// fenced waits until the server knows that it is not, and demands that it
// says so everywhere.
func (p *process) fenced(why string) {
	p.t.Helper()
	fleettest.Eventually(p.t, func() bool {
		status, text := p.get("/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(text, why)
	}, func() string { _, text := p.get("/readyz"); return text + "\n" + p.said() })
	var answer struct {
		Error struct{ Code, Message string }
	}
	status, err := p.api("POST", "/keys", map[string]any{"name": "k", "scopes": []string{"read"}}, &answer)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusConflict, status)
	require.Equal(p.t, "NOT_THE_OWNER", answer.Error.Code)
	require.Contains(p.t, answer.Error.Message, why)
	require.Contains(p.t, answer.Error.Message, "ipallowd fleet adopt")
	_, text := p.get("/metrics")
	require.Contains(p.t, text, "ipallowd_fleet_fenced 1\n")
	require.Contains(p.t, text, "ipallowd_fleet_epoch 0\n")
	_, text = p.get("/api/v1/nodes")
	require.Contains(p.t, text, why)
	require.Contains(p.t, p.said(), "level=ERROR")
	require.Contains(p.t, p.said(), why)
}

// A refusal is a key that must not be served by anybody from now on.
type refusal struct {
	t      *testing.T
	secret string
	quit   chan struct{}
	done   sync.WaitGroup
	probes atomic.Int64
	served atomic.Int64
}

// never probes gateways until the end.
func never(t *testing.T, secret string, gates ...*process) *refusal {
	r := &refusal{t: t, secret: secret, quit: make(chan struct{})}
	for _, g := range gates {
		r.also(g)
	}
	t.Cleanup(r.end)
	return r
}

func (r *refusal) also(g *process) {
	r.done.Go(func() {
		for {
			select {
			case <-r.quit:
				return
			case <-time.After(2 * time.Millisecond):
			}
			status, _, err := g.ping(r.secret)
			if err != nil {
				continue // it was killed
			}
			r.probes.Add(1)
			if status == http.StatusOK {
				r.served.Add(1)
			}
		}
	})
}

func (r *refusal) end() {
	select {
	case <-r.quit:
		return
	default:
	}
	close(r.quit)
	r.done.Wait()
	require.Positive(r.t, r.probes.Load())
	require.Zero(r.t, r.served.Load(), "a revoked key was served")
}

func (p *process) revoke(k createdKey) {
	p.t.Helper()
	status, err := p.api("DELETE", "/keys/"+k.ID, nil, nil)
	require.NoError(p.t, err)
	require.Contains(p.t, []int{http.StatusOK, http.StatusAccepted}, status)
}

func (p *process) narrow(k createdKey, to string) {
	p.t.Helper()
	status, err := p.api("PUT", "/keys/"+k.ID+"/allowlist", map[string]any{"entries": []entry{{to, ""}}, "confirm_lockout": true}, nil)
	require.NoError(p.t, err)
	require.Contains(p.t, []int{http.StatusOK, http.StatusAccepted}, status)
}

// runFleet runs "ipallowd fleet adopt" and returns its status and what it says.
func adoptFleet(t *testing.T, nats natsServer, data string, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := run(t.Context(), append([]string{"fleet", "adopt", "--data", data, "--nats", nats.URL(), "--name", "adopter"}, args...), &out, &out)
	return code, out.String()
}

// A server that is started with an old copy of the data publishes nothing,
// takes no usage records, accepts no changes, serves no requests, and says why.
// An adoption shows what it brings back, and is obeyed.
func TestOldCopyIsFenced(t *testing.T) {
	t.Parallel()
	nats := runNATS(t)
	data := t.TempDir()
	m := startManagement(t, nats, data)
	gate := startGateway(t, nats, t.TempDir(), "gate-1")
	gone, wide := m.create("gone"), m.create("wide", entry{"127.0.0.1", ""})
	gate.answers(gone.Secret, 200)
	gate.answers(wide.Secret, 200)
	m.owns()
	m.kill()
	yesterday := copyData(t, data)

	m = startManagement(t, nats, data)
	m.revoke(gone)
	m.narrow(wide, "203.0.113.7")
	fresh := m.create("fresh")
	gate.answers(gone.Secret, 401)
	gate.answers(wide.Secret, 403)
	gate.answers(fresh.Secret, 200)
	m.kill()
	revoked, narrowed := never(t, gone.Secret, gate), never(t, wide.Secret, gate)

	for range 2 { // and again after a restart
		old := startManagement(t, nats, yesterday)
		revoked.also(old)
		narrowed.also(old)
		old.fenced("older than what the fleet has")
		status, id, err := gate.ping(fresh.Secret)
		require.NoError(t, err)
		require.Equal(t, 200, status)
		// Its own records are stored; those of the gateway wait for their owner.
		time.Sleep(300 * time.Millisecond)
		require.Zero(t, old.requestIDs()[id])
		old.kill()
		m = startManagement(t, nats, data)
		m.owns()
		fleettest.Eventually(t, func() bool { return m.requestIDs()[id] == 1 }, m.said)
		// Beside the owner, too.
		old = startManagement(t, nats, yesterday)
		old.fenced("older than what the fleet has")
		m.create("more")
		old.kill()
		m.kill()
	}
	revoked.end()
	narrowed.end()

	m = startManagement(t, nats, data)
	m.owns()
	code, text := adoptFleet(t, nats, yesterday)
	require.Equal(t, exitFailed, code, text)
	require.Contains(t, text, "nothing was changed")
	for _, want := range []string{
		"IT IS RUNNING NOW", "accepted again, or for the first time: 1", gone.ID, "accepted where they are refused now: 1", wide.ID,
		"served from 127.0.0.1/32 (now from 203.0.113.7/32)", "refused from then on: 3", fresh.ID,
	} {
		require.Contains(t, text, want)
	}
	m.create("still here")
	code, text = adoptFleet(t, nats, yesterday, "--yes")
	require.Zero(t, code, text)
	m.fenced("adopter")
	old := startManagement(t, nats, yesterday)
	gate.answers(gone.Secret, 200)
	gate.answers(fresh.Secret, 401)
	old.owns()
	m.kill()
	m = startManagement(t, nats, data)
	m.fenced("has been the fleet's management node since")
}

// A server with another database takes no record of the fleet, and nothing of
// what it does is seen on a gateway.
func TestForeignDatabaseIsFenced(t *testing.T) {
	t.Parallel()
	nats := runNATS(t)
	m := startManagement(t, nats, t.TempDir())
	gate := startGateway(t, nats, t.TempDir(), "gate-1")
	k := m.create("k")
	gate.answers(k.Secret, 200)
	other := startManagement(t, nats, t.TempDir())
	other.fenced("belong to another database")
	ids := make([]string, 500)
	for i := range ids {
		_, id, err := gate.ping(k.Secret)
		require.NoError(t, err)
		ids[i] = id
	}
	fleettest.Eventually(t, func() bool {
		got := m.requestIDs()
		for _, id := range ids {
			if got[id] != 1 {
				return false
			}
		}
		return true
	}, m.said)
	got := other.requestIDs()
	for _, id := range ids {
		require.Zero(t, got[id])
	}
}

// Of servers on copies of one data directory exactly one publishes, whichever
// ends and comes back: a key that it revoked is served by no gateway, and what
// the others are asked to change they refuse.
func TestCopiesAreFenced(t *testing.T) {
	t.Parallel()
	nats := runNATS(t)
	first := t.TempDir()
	a := startManagement(t, nats, first)
	gate := startGateway(t, nats, t.TempDir(), "gate-1")
	gone := a.create("gone")
	gate.answers(gone.Secret, 200)
	a.owns()
	a.kill()
	second := copyData(t, first)

	// The copy comes while the owner runs.
	a = startManagement(t, nats, first)
	a.owns()
	a.revoke(gone)
	gate.answers(gone.Secret, 401)
	r := never(t, gone.Secret, gate)
	b := startManagement(t, nats, second)
	b.fenced("ipallowd fleet adopt")
	a.create("a")
	// It stays fenced when the owner is killed, and the owner comes back.
	a.kill()
	b.kill()
	b = startManagement(t, nats, second)
	b.fenced("ipallowd fleet adopt")
	a = startManagement(t, nats, first)
	a.owns()
	a.create("a")
	b.kill()
	a.kill()

	// A directory that is moved to another machine goes on there, and what it
	// was moved from is fenced.
	third := copyData(t, first)
	c := startManagement(t, nats, third)
	c.owns()
	c.create("c")
	a = startManagement(t, nats, first)
	a.fenced("ipallowd fleet adopt")
	a.kill()
	c.create("c")
	c.kill()
	a = startManagement(t, nats, first)
	a.fenced("ipallowd fleet adopt")
	r.end()
}

// Servers on copies that start at the same moment: one of them is the owner,
// also when the other has more changes that it never published.
func TestCopiesAtOnce(t *testing.T) {
	t.Parallel()
	nats := runNATS(t)
	data := t.TempDir()
	m := startManagement(t, nats, data)
	gate := startGateway(t, nats, t.TempDir(), "gate-1")
	gone := m.create("gone")
	gate.answers(gone.Secret, 200)
	m.owns()
	m.kill()
	for round := range 4 {
		dirs := []string{data, copyData(t, data)}
		both := make([]*process, 2)
		nats.Kill()
		for i := range both {
			both[i] = startManagement(t, nats, dirs[i])
			if round%2 == 1 {
				both[i].create(fmt.Sprintf("round %d", round))
			}
		}
		nats.Start()
		owner := -1
		fleettest.Eventually(t, func() bool {
			lost := 0
			for i, p := range both {
				_, text := p.get("/metrics")
				if strings.Contains(text, "ipallowd_fleet_in_step 1\n") {
					owner = i
				}
				if strings.Contains(text, "ipallowd_fleet_fenced 1\n") {
					lost++
				}
			}
			return owner >= 0 && lost == 1
		}, func() string { return both[0].said() + "\n" + both[1].said() })
		both[1-owner].fenced("ipallowd fleet adopt")
		victim := both[owner].create("victim")
		gate.answers(victim.Secret, 200)
		both[owner].revoke(victim)
		gate.answers(victim.Secret, 401)
		r := never(t, victim.Secret, gate)
		both[1-owner].kill()
		both[1-owner] = startManagement(t, nats, dirs[1-owner])
		both[1-owner].fenced("ipallowd fleet adopt")
		both[owner].create("more")
		r.end()
		both[0].kill()
		both[1].kill()
		data = dirs[owner]
	}
}

// A server on a copy comes and goes, NATS, the owner and the gateway are killed
// with SIGKILL at random moments, the data moves on to a copy, and all along keys
// are revoked: none is served again by any gateway, nor by a server that is fenced.
func TestFenceKill(t *testing.T) {
	t.Parallel()
	nats := runNATS(t)
	data := t.TempDir()
	m := startManagement(t, nats, data)
	gate := startGateway(t, nats, t.TempDir(), "gate-1")
	m.owns()
	probes, fenced := int64(0), 0
	for round := range killRounds(t) {
		k := m.create("k")
		gate.answers(k.Secret, 200)
		m.settledIn()
		m.kill()
		old := copyData(t, data)
		m = startManagement(t, nats, data)
		m.owns()
		m.revoke(k)
		gate.answers(k.Secret, 401)
		r := never(t, k.Secret, gate)
		stale := startManagement(t, nats, old)
		r.also(stale)
		switch round % 4 {
		case 0: // the owner is gone before the old copy has asked
			m.kill()
		case 1:
			nats.Kill()
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			nats.Start()
		case 2:
			stale.kill()
			stale = startManagement(t, nats, old)
			r.also(stale)
			m.kill()
		}
		stale.fenced("ipallowd fleet adopt")
		fenced++
		stale.kill()
		m.kill()
		if round%2 == 1 {
			data = copyData(t, data) // and it goes on there
		}
		m = startManagement(t, nats, data)
		m.owns()
		m.create("more")
		r.end()
		probes += r.probes.Load()
	}
	t.Logf("%d rounds, %d probes of revoked keys, 0 served; %d old copies fenced", killRounds(t), probes, fenced)
}

// settledIn waits until all that was changed is published.
func (p *process) settledIn() {
	p.t.Helper()
	fleettest.Eventually(p.t, func() bool {
		_, text := p.get("/metrics")
		return strings.Contains(text, "ipallowd_outbox_rows 0\n")
	}, p.said)
}
