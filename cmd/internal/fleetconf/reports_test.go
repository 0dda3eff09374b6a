package fleetconf

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
)

// TestReportsWithoutEnd: a gateway sends reports that take long to read, more than the
// management can, and the answer to a revocation still knows of the other one's.
func TestReportsWithoutEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "victim", "hostile")
	victim, hostile := w.gateway("victim"), w.gateway("hostile")
	hostile.stop()
	report := []byte(`{"name":"hostile","role":"gateway","instance":"flood","faulty":[` + strings.Repeat("{},", 5400) + `{}]}`)
	nc, quit, done := w.recordsConn("hostile"), make(chan struct{}), make(chan struct{})
	sent := 0
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				for range 60 {
					_ = nc.Publish("$KV.ipallow_nodes.gateway.hostile", report)
					sent++
				}
			}
		}
	}()
	time.Sleep(time.Second) // what comes later than it is read waits by now
	for range 5 {
		id := victim.create().Key.ID
		victim.revoke(id)
		began, p := time.Now(), fleet.Propagation{}
		for p.Nodes == nil || slices.Contains(p.Waiting(), "victim") {
			require.Less(t, time.Since(began), 10*time.Second, "the answer still names the other gateway: %+v", p)
			time.Sleep(10 * time.Millisecond)
			p = w.center.Propagation(t.Context(), id, 0)
		}
		t.Logf("the other gateway's report counts after %v", time.Since(began))
	}
	close(quit)
	<-done
	require.Greater(t, sent, 2000, "this is no flood")
}
