package httpallow_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/httpallow"
)

// effects is what the handlers behind the allowlist would change.
type effects struct{ rate, quota, lastUsed, served int }

// newChain is authentication, scope, allowlist, and behind them what changes.
func newChain(t *testing.T, e *effects, observed *int) http.Handler {
	allow := newMiddleware(t, newEngine(t, nil), httpallow.Options{
		Observe: func(*http.Request, httpallow.Decision) { *observed++ },
	})
	changes := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		require.Equal(t, 1, *observed, "the observer is told before the request is handed on")
		e.rate, e.quota, e.lastUsed, e.served = e.rate+1, e.quota+1, e.lastUsed+1, e.served+1
		_, _ = io.WriteString(w, "served")
	})
	scope := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Scope") != "read" {
				http.Error(w, `{"error":{"code":"SCOPE_MISSING"}}`, http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	keys := map[string]string{"Bearer secret-r": restricted, "Bearer secret-u": unrestricted}
	authenticate := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			key, ok := keys[r.Header.Get("Authorization")]
			if !ok {
				httpallow.Unauthorized(w, r)
				return
			}
			next.ServeHTTP(w, r.WithContext(httpallow.ContextWithKey(r.Context(), key)))
		})
	}
	return authenticate(scope(allow.Handler(changes)))
}

func TestOrder(t *testing.T) {
	for _, test := range []struct {
		reason               string
		secret, scope, peer  string
		status               int
		body                 string
		reachesList, changes bool
	}{
		{"an invalid key from an allowed address is 401", "Bearer wrong", "read", inside, 401, "UNAUTHENTICATED", false, false},
		{"an invalid key from a foreign address is 401, never 403", "Bearer wrong", "", outside, 401, "UNAUTHENTICATED", false, false},
		{"no key is 401", "", "read", outside, 401, "UNAUTHENTICATED", false, false},
		{"a missing scope is told before the address", "Bearer secret-r", "write", outside, 403, "SCOPE_MISSING", false, false},
		{"a missing scope is told to an allowed address", "Bearer secret-r", "write", inside, 403, "SCOPE_MISSING", false, false},
		{"a foreign address is refused last", "Bearer secret-r", "read", outside, 403, "IP_NOT_ALLOWED", true, false},
		{"all three pass", "Bearer secret-r", "read", inside, 200, "served", true, true},
		{"a key without list", "Bearer secret-u", "read", outside, 200, "served", true, true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			var e effects
			observed := 0
			r := httptest.NewRequest("POST", "/v1/items", nil)
			r.RemoteAddr = test.peer
			r.Header.Set("Authorization", test.secret)
			r.Header.Set("Scope", test.scope)
			w := httptest.NewRecorder()
			newChain(t, &e, &observed).ServeHTTP(w, r)
			require.Equal(t, test.status, w.Code)
			require.Contains(t, w.Body.String(), test.body)
			require.Equal(t, test.reachesList, observed == 1)
			want := effects{}
			if test.changes {
				want = effects{1, 1, 1, 1}
			}
			require.Equal(t, want, e)
		})
	}
}
