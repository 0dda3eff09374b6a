package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// BenchmarkReconcile measures how long a management node with many keys takes
// at its start: to fill an empty bucket, and to find that a full one is right.
// Run it with -benchtime 1x.
func BenchmarkReconcile(b *testing.B) {
	for _, keys := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			n := fleettest.Start(b)
			l := link(b, n)
			h := openHome(b, l)
			h.settle()
			h.pub.Close()
			_, err := h.svc.Import(b.Context(), by, func(yield func(manage.NewKey) bool) {
				for range keys {
					if !yield(manage.NewKey{Name: "k", Scopes: []string{"read"}, Allowlist: list("203.0.113.0/24", "198.51.100.7")}) {
						return
					}
				}
			})
			require.NoError(b, err)
			settle := func() time.Duration {
				began := time.Now()
				h.publish(l)
				for !h.pub.inStep() {
					time.Sleep(10 * time.Millisecond)
				}
				return time.Since(began)
			}
			for b.Loop() {
				fill := settle()
				h.settle()
				h.pub.Close()
				same := settle()
				h.pub.Close()
				b.ReportMetric(fill.Seconds(), "s/fill")
				b.ReportMetric(same.Seconds(), "s/compare")
			}
		})
	}
}

func (p *Publisher) inStep() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st.InStep
}
