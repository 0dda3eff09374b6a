package httpallow_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/httpallow"
)

const (
	restricted   = "key_restricted"
	unrestricted = "key_unrestricted"
	inside       = "203.0.113.5:41000"
	outside      = "198.51.100.7:41000"

	deniedBody   = `{"error":{"code":"IP_NOT_ALLOWED","message":"Request IP address is not in the API key's allowlist"}}`
	notReadyBody = `{"error":{"code":"NOT_READY","message":"The server has not loaded its IP allowlists yet; try again in a moment"}}`
)

// newEngine has one key with the list 203.0.113.0/24, 2001:db8:1::/48.
func newEngine(t testing.TB, opts *ipallow.Options) *ipallow.Engine {
	engine := ipallow.New(opts)
	entries, err := ipallow.DefaultPolicy().ParseList([]string{"203.0.113.0/24", "2001:db8:1::/48"})
	require.NoError(t, err)
	require.NoError(t, engine.Set(restricted, entries))
	return engine
}

func newMiddleware(t testing.TB, engine *ipallow.Engine, opts httpallow.Options) *httpallow.Middleware {
	if opts.Key == nil {
		opts.Key = httpallow.KeyFromContext
	}
	m, err := httpallow.New(engine, &opts)
	require.NoError(t, err)
	return m
}

// request is one as authentication hands it on; key "" means none.
func request(method, remoteAddr, key string) *http.Request {
	r := httptest.NewRequest(method, "/v1/items?secret=1", nil)
	r.RemoteAddr = remoteAddr
	if key != "" {
		r = r.WithContext(httpallow.ContextWithKey(r.Context(), key))
	}
	return r
}

func proxySource(t testing.TB) *clientip.Source {
	source, err := clientip.New(&clientip.Options{
		Mode:           clientip.XForwardedFor,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")},
	})
	require.NoError(t, err)
	return source
}

// counter is a handler that counts its calls.
type counter struct{ calls int }

func (c *counter) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.calls++
	w.WriteHeader(http.StatusNoContent)
}
