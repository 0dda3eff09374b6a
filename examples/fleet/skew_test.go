package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// skew is how wrong the clocks are.
const skew = 5 * time.Hour

// clockSkew has nodes with clocks that are hours off. The short form has reports
// of nodes in which every time is wrong; the long form also runs a gateway whose
// time.Now is.
func (w *world) clockSkew(t *testing.T) (healed time.Time, said string) {
	ctx := w.within(10 * time.Minute)
	w.forgeReports(ctx)
	said = "reports of nodes 5 h before and after"
	if long {
		for _, off := range []time.Duration{skew, -skew} {
			w.wrongClock(ctx, off)
		}
		said += "; a gateway whose clock was 5 h fast, then 5 h slow"
	}
	return time.Now(), said
}

// forgeReports writes copies of a gateway's report, with other names and times.
// The management node must judge by when it heard them.
func (w *world) forgeReports(ctx context.Context) {
	t := w.t
	kv, err := w.js.KeyValue(ctx, nodesBucket)
	require.NoError(t, err)
	names, err := kv.Keys(ctx)
	require.NoError(t, err)
	require.Contains(t, names, "gateway.gateway-1")
	entry, err := kv.Get(ctx, "gateway.gateway-1")
	require.NoError(t, err)
	var report map[string]any
	require.NoError(t, json.Unmarshal(entry.Value(), &report))
	times := 0
	for _, off := range []time.Duration{skew, -skew} {
		name := "clock-" + strings.ReplaceAll(off.String(), "-", "minus-")
		forged := map[string]any{}
		for field, value := range report {
			if text, ok := value.(string); ok {
				if at, err := time.Parse(time.RFC3339, text); err == nil {
					value = at.Add(off)
					times++
				}
			}
			forged[field] = value
		}
		forged["name"], forged["instance"] = name, name
		text, err := json.Marshal(forged)
		require.NoError(t, err)
		_, err = kv.Put(ctx, "gateway."+name, text)
		require.NoError(t, err)
		require.NoError(t, poll(w.within(10*time.Second), 50*time.Millisecond, name+" among the nodes", func() error {
			view, err := w.manager.nodes(ctx)
			if err != nil {
				return err
			}
			for _, n := range view.Nodes {
				if n.Name == name && n.Heard != nil && *n.Heard >= 0 && *n.Heard < 10_000 {
					return nil
				}
			}
			return fmt.Errorf("%+v", view.Nodes)
		}))
		require.NoError(t, kv.Delete(ctx, "gateway."+name)) // the bucket takes no roll-ups
		require.NoError(t, poll(w.within(10*time.Second), 50*time.Millisecond, name+" to be gone", func() error {
			view, err := w.manager.nodes(ctx)
			if err == nil && len(view.Nodes) > 4 {
				err = fmt.Errorf("there are %d nodes", len(view.Nodes))
			}
			return err
		}))
	}
	require.Equal(t, 8, times, "a report has four times: %v", report)
}

// wrongClock runs gateway-3 with a clock that is off: a build of the same program
// in which time.Now answers so.
func (w *world) wrongClock(ctx context.Context, off time.Duration) {
	t := w.t
	g := w.gateways[2]
	right := g.path
	g.path = buildSkewed(t, w.dir, off)
	w.killGateway(g)
	require.NoError(t, w.startGateway(ctx, g))
	require.NoError(t, poll(ctx, 50*time.Millisecond, g.name+" to be ready", func() error { return g.isReady(ctx) }))
	for range 5 {
		w.mustChange(w.keys)
		require.NoError(t, w.enforced(w.within(healWithin), w.keys))
	}
	// It tells when it is stale by its own clock, and no other.
	w.lines[g.name].cut()
	w.unready(g)
	w.lines[g.name].heal()
	require.NoError(t, w.ready(w.within(healWithin)))
	view, err := w.manager.allReady(w.within(healWithin), 4)
	require.NoError(t, err)
	for _, n := range view.Nodes {
		require.NotNil(t, n.Heard)
		require.Less(t, *n.Heard, int64(10_000), n.Name)
	}
	// With the right clock again it starts from a checkpoint from another time.
	g.path = right
	w.killGateway(g)
	require.NoError(t, w.startGateway(ctx, g))
	require.NoError(t, w.ready(ctx))
	require.NoError(t, w.enforced(w.within(healWithin), w.keys))
}

// buildSkewed builds ipallowd with a standard library whose wall clock is off.
// The monotonic clock, which timers use, is right, as on a machine whose
// clock was set wrongly.
func buildSkewed(t *testing.T, dir string, off time.Duration) string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	original := filepath.Join(strings.TrimSpace(string(out)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	require.NoError(t, err)
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	require.Contains(t, string(text), now)
	shifted := strings.Replace(string(text), now, now+fmt.Sprintf("\tsec += %d\n", int(off.Seconds())), 1)
	name := fmt.Sprintf("clock%+d", int(off.Hours()))
	replacement := filepath.Join(dir, name+"-time.go")
	require.NoError(t, os.WriteFile(replacement, []byte(shifted), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replacement}})
	require.NoError(t, err)
	list := filepath.Join(dir, name+".json")
	require.NoError(t, os.WriteFile(list, overlay, 0o600))
	path := filepath.Join(dir, "ipallowd-"+name)
	built, err := exec.Command("go", "build", "-overlay", list, "-o", path, program).CombinedOutput()
	require.NoError(t, err, "%s", built)
	return path
}
