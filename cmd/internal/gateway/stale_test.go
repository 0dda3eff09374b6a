package gateway_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
)

// While what is known is too old, each request with a key is refused with 503, in
// report-only mode too, and recorded under its key. Nothing tells a valid key from another, and
// nothing is marked or counted as a verdict.
func TestTooOld(t *testing.T) {
	for name, reportOnly := range map[string]bool{"enforcing": false, "report-only": true} {
		t.Run(name, func(t *testing.T) {
			var usable atomic.Bool
			var measured atomic.Int64
			w := newWorld(t, func(o *gateway.Options) {
				o.Usable, o.Source, o.ReportOnly = usable.Load, trust(t, trusted), reportOnly
				o.Observe = func(e gateway.Event) {
					if e.Authenticated {
						measured.Add(1)
					}
				}
			})
			var first string
			for _, from := range []string{inside, outside} {
				for _, k := range []testKey{w.full, w.reader, w.revoked, {token: "ipk_nonsense"}} {
					for _, method := range []string{"GET", "POST"} {
						a := w.do(from, method, "/v1/ping", "Authorization", bearer(k))
						require.Equal(t, 503, a.status, a.body)
						require.Equal(t, "NOT_READY", code(a.body))
						require.Equal(t, "5", a.header.Get("Retry-After"))
						require.Equal(t, "no-store", a.header.Get("Cache-Control"))
						if first == "" {
							first = a.body
						}
						require.Equal(t, first, a.body)
						rec := w.record(a.header.Get("X-Request-Id"))
						require.Equal(t, 503, rec.Status)
						require.Equal(t, ipallow.Denied, rec.Verdict)
						want := ""
						if k == w.full || k == w.reader {
							want = k.ID
						}
						require.Equal(t, want, rec.KeyID)
					}
				}
				require.Equal(t, 401, w.do(from, "GET", "/v1/ping").status, "without a key nothing need be known")
			}
			a := w.do(trusted, "GET", gateway.AuthzPath, "Authorization", bearer(w.full), "X-Forwarded-For", inside, "X-Forwarded-Method", "GET")
			require.Equal(t, 503, a.status)
			require.Equal(t, first, a.header.Get("X-Ipallow-Body"))
			require.True(t, w.full.LastUsed().IsZero())
			require.Zero(t, measured.Load())
			usable.Store(true)
			require.Equal(t, 200, w.do(inside, "GET", "/v1/ping", "Authorization", bearer(w.full)).status)
			require.Equal(t, 401, w.do(inside, "GET", "/v1/ping", "X-API-Key", w.revoked.token).status)
			require.EqualValues(t, 1, measured.Load())
		})
	}
}
