package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain runs the program itself where a test started it as a NATS server.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == natsCommand {
		main()
		return
	}
	os.Exit(m.Run())
}

// long says that the faults take as long as they do in earnest.
var long = os.Getenv("IPALLOW_FLEET_LONG") != ""

// shortOr chooses between the values of the two forms.
func shortOr[T any](short, inEarnest T) T {
	if long {
		return inEarnest
	}
	return short
}

// maxStale is after what time without news a gateway of the tests is not ready. A
// gateway asks every two seconds, and the leader of a cluster hears from the
// others every second.
const maxStale = 4 * time.Second

// A world is a fleet with a proxy on every line between a node and NATS, on
// which requests are made all along.
type world struct {
	t *testing.T
	*fleet
	lines  map[string]lines // by node
	before tally            // when the present fault began
	report []string
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	w := &world{t: t, lines: make(map[string]lines)}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var flags []string
	if os.Getenv("IPALLOW_FLEET_RACE") != "" {
		flags = []string{"-race"} // of the nodes, whose reports end finds
	}
	binary, err := build(ctx, dir, flags...)
	require.NoError(t, err)
	w.fleet, err = newFleet(dir, binary, w.via, "--max-stale", maxStale.String())
	require.NoError(t, err)
	t.Cleanup(w.end)
	require.NoError(t, w.startNATS(ctx))
	require.NoError(t, w.startNodes(ctx))
	w.keys, err = makeKeys(ctx, w.manager, shortOr(60, 500))
	require.NoError(t, err)
	loaded, stop := context.WithCancel(context.Background())
	wait := load(loaded, w.caller, w.gateways, w.pick, shortOr(200, 300))
	t.Cleanup(func() { stop(); wait() })
	require.NoError(t, w.enforced(ctx, w.keys))
	return w
}

// via puts a line of its own between a node and each NATS server.
func (w *world) via(node string, nats []*natsNode) (string, error) {
	var urls []string
	for _, n := range nats {
		l, err := newLine(n.addr())
		if err != nil {
			return "", err
		}
		w.lines[node] = append(w.lines[node], l)
		urls = append(urls, l.url())
	}
	return strings.Join(urls, ","), nil
}

// end stops everything and reads what the processes said.
func (w *world) end() {
	w.stop()
	for _, l := range w.lines {
		l.close()
	}
	logs, err := filepath.Glob(filepath.Join(w.dir, "*.log"))
	require.NoError(w.t, err)
	require.Len(w.t, logs, 7)
	for _, log := range logs {
		text, err := os.ReadFile(log)
		require.NoError(w.t, err)
		for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if i := strings.Index(string(text), bad); i >= 0 {
				w.t.Errorf("%s:\n%s", log, text[i:min(len(text), i+4000)])
			}
		}
		if w.t.Failed() {
			lines := strings.Split(string(text), "\n")
			w.t.Logf("%s ends with\n%s", log, strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
	}
}

// within returns a context for what must not take longer.
func (w *world) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	w.t.Cleanup(cancel)
	return ctx
}

// churn changes keys in the background, some a second, also while the management
// node cannot be reached. stop ends it and returns how many changes were
// acknowledged.
func (w *world) churn(perSecond int) (stop func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var count, next atomic.Int64
	const workers = 4
	for range workers {
		wg.Go(func() {
			tick := time.NewTicker(time.Second * workers / time.Duration(perSecond))
			defer tick.Stop()
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-tick.C:
					k := w.keys[int(next.Add(1))%len(w.keys)]
					k.busy.Lock()
					if _, revoked := k.state(); !revoked {
						if _, err := k.change(context.Background(), w.manager); err == nil {
							count.Add(1)
						}
					}
					k.busy.Unlock()
				}
			}
		})
	}
	return func() int { cancel(); wg.Wait(); return int(count.Load()) }
}

// fault runs one: do causes it, heals it, and returns when it was healed and
// what is worth saying. After that, everything that was acknowledged must be in
// force everywhere in time, every record in the log once, and no probe served.
func (w *world) fault(name string, do func(t *testing.T) (healed time.Time, said string)) {
	w.t.Run(name, func(t *testing.T) {
		defer func(outer *testing.T) { w.t = outer }(w.t)
		w.t = t
		defer func() { // also if it fails
			for _, l := range w.lines {
				l.heal()
			}
		}()
		w.before = w.tally()
		began := time.Now()
		healed, said := do(t)
		deadline, cancel := context.WithDeadline(context.Background(), healed.Add(healWithin))
		defer cancel()
		require.NoError(t, w.askAll(deadline))
		require.NoError(t, w.enforced(deadline, w.keys), "in force everywhere within %v of healing", healWithin)
		took := time.Since(healed)
		require.NoError(t, w.ready(w.within(healWithin)))
		r, err := w.book.reckon(w.within(shortOr(20*time.Second, 60*time.Second)), w.manager)
		require.NoError(t, err)
		now := w.tally()
		require.Empty(t, now.served, "no request from a refused address is served")
		require.Greater(t, now.refused, w.before.refused+20, "the prober saw refusals")
		line := fmt.Sprintf("%-26s %6.1f s, healed in %4.1f s; %6d probes, 0 served; %7d records, 0 missing, 0 twice; %s",
			name, time.Since(began).Seconds(), took.Seconds(), now.probes-w.before.probes, r.records, said)
		w.report = append(w.report, line)
		t.Log(line)
	})
}

func (w *world) tally() tally { return w.book.tally() }

// mustChange changes keys. Each change waits for the disk, which other tests may
// be using too.
func (w *world) mustChange(keys []*key) {
	w.t.Helper()
	require.NoError(w.t, w.change(w.within(shortOr(30*time.Second, 3*time.Minute)), keys))
}

// stays checks that a gateway enforces what it last knew of keys, whatever the
// management has acknowledged since.
func (w *world) stays(g *daemon, keys []*key, known []string) {
	w.t.Helper()
	for i, k := range keys {
		status, err := w.caller.ping(w.within(10*time.Second), g, k.secret, known[i], false)
		require.NoError(w.t, err)
		require.Equal(w.t, 200, status, "%s serves what it last knew", g.name)
		status, err = w.caller.ping(w.within(10*time.Second), g, k.secret, intruder, true)
		require.NoError(w.t, err)
		require.Equal(w.t, 403, status)
	}
}

// known returns what is acknowledged for keys.
func known(keys []*key) (list []string) {
	for _, k := range keys {
		allowed, _ := k.state()
		list = append(list, allowed)
	}
	return list
}

// unready waits until a gateway says that it is not ready.
func (w *world) unready(g *daemon) {
	w.t.Helper()
	require.NoError(w.t, poll(w.within(20*time.Second), 50*time.Millisecond, g.name+" to be unready", func() error {
		status, body, err := g.get(context.Background(), "/readyz")
		if err == nil && status != 503 {
			err = fmt.Errorf("it answers %d %s", status, body)
		}
		return err
	}))
	status, _, err := g.get(context.Background(), "/healthz")
	require.NoError(w.t, err)
	require.Equal(w.t, 200, status, "it is unready, and runs")
}

func (w *world) pause(d time.Duration) { time.Sleep(d) }
