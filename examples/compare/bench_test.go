package compare

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/gaissmai/bart"
	"github.com/go-chi/chi/v5/middleware"
	realip "github.com/realclientip/realclientip-go"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/httpallow"
)

const (
	proxy   = "10.20.0.1"
	entries = 5
)

// okHandler is the bare handler.
var okHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

// status is a ResponseWriter that keeps the status and costs nothing.
type status struct {
	header http.Header
	code   int
}

func (s *status) Header() http.Header         { return s.header }
func (s *status) Write(p []byte) (int, error) { return len(p), nil }
func (s *status) WriteHeader(code int)        { s.code = code }

func keyName(n int) string { return fmt.Sprintf("key_%029d", n) } // 33 characters

// list returns the texts of the list of key n; the client 203.0.113.5 matches the
// last of its entries.
func list(n int) []string {
	texts := make([]string, 0, entries)
	for i := range entries - 1 {
		texts = append(texts, fmt.Sprintf("20.%d.%d.0/24", 18+i%2, (n*7+i)%256))
	}
	return append(texts, "203.0.113.0/24")
}

// request has the context that net/http's server and authentication give it.
func request(peer, forwarded, key string) *http.Request {
	r := httptest.NewRequest("GET", "/v1/items", nil)
	r.RemoteAddr = peer
	if forwarded != "" {
		r.Header.Set("X-Forwarded-For", forwarded)
	}
	ctx := context.WithValue(context.Background(), http.ServerContextKey, &http.Server{})
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}))
	return r.WithContext(httpallow.ContextWithKey(ctx, strings.Clone(key)))
}

// newHTTPAllow returns the middleware over an engine with all lists.
func newHTTPAllow(tb testing.TB, source *clientip.Source, lists map[string][]netip.Prefix) http.Handler {
	engine := ipallow.New(nil)
	require.NoError(tb, engine.Replace(func(yield func(string, []ipallow.Entry) bool) {
		for key, prefixes := range lists {
			parsed := make([]ipallow.Entry, 0, entries)
			for _, prefix := range prefixes {
				parsed = append(parsed, ipallow.Entry{Prefix: prefix})
			}
			if !yield(key, parsed) {
				return
			}
		}
	}))
	allow, err := httpallow.New(engine, &httpallow.Options{Key: httpallow.KeyFromContext, Source: source})
	require.NoError(tb, err)
	return allow.Handler(okHandler)
}

// chains returns the handler chains by name.
func chains(tb testing.TB, source string, keys int) (names []string, handlers map[string]http.Handler) {
	prefixes, tables := map[string][]netip.Prefix{}, map[string]*bart.Lite{}
	for n := range keys {
		table := new(bart.Lite)
		for _, text := range list(n) {
			prefix := netip.MustParsePrefix(text)
			prefixes[keyName(n)] = append(prefixes[keyName(n)], prefix)
			table.Insert(prefix)
		}
		tables[keyName(n)] = table
	}
	handlers = map[string]http.Handler{"bare": okHandler}
	if source == "peer" {
		handlers["httpallow"] = newHTTPAllow(tb, nil, prefixes)
		handlers["jpillora-ipfilter"] = withIPFilter(okHandler, list(0))
		handlers["realclientip-map-prefixes"] = withLists(okHandler, byStrategy(realip.RemoteAddrStrategy{}), prefixes, inPrefixes)
		handlers["SplitHostPort-map-bart"] = withLists(okHandler, func(r *http.Request) string {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			return host
		}, tables, inTable)
		handlers["chi-map-bart"] = withChi(okHandler, middleware.ClientIPFromRemoteAddr, tables, inTable)
		return []string{"bare", "httpallow", "SplitHostPort-map-bart", "chi-map-bart", "realclientip-map-prefixes", "jpillora-ipfilter"}, handlers
	}
	src, err := clientip.New(&clientip.Options{
		Mode: clientip.XForwardedFor, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")},
	})
	require.NoError(tb, err)
	_, trusted, err := net.ParseCIDR("10.20.0.0/24")
	require.NoError(tb, err)
	strategy, err := realip.NewRightmostTrustedRangeStrategy("X-Forwarded-For", []net.IPNet{*trusted})
	require.NoError(tb, err)
	handlers["httpallow"] = newHTTPAllow(tb, src, prefixes)
	handlers["realclientip-map-prefixes"] = withLists(okHandler, byStrategy(strategy), prefixes, inPrefixes)
	handlers["realclientip-map-bart"] = withLists(okHandler, byStrategy(strategy), tables, inTable)
	handlers["chi-map-bart"] = withChi(okHandler, middleware.ClientIPFromXFF("10.20.0.0/24"), tables, inTable)
	return []string{"bare", "httpallow", "chi-map-bart", "realclientip-map-bart", "realclientip-map-prefixes"}, handlers
}

// queries returns what is asked: keys drawn uniformly, from one address.
func queries(source string, keys int, client string) []*http.Request {
	random := rand.New(rand.NewPCG(1, 2))
	requests := make([]*http.Request, 4096)
	for n := range requests {
		key := keyName(random.IntN(keys))
		if source == "peer" {
			requests[n] = request(client+":41000", "", key)
		} else {
			requests[n] = request(proxy+":41000", "6.6.6.6, "+client+", 10.20.0.9", key)
		}
	}
	return requests
}

// TestChainsAgree says that what is compared answers alike, or the figures would
// mean nothing.
func TestChainsAgree(t *testing.T) {
	const keys = 1000
	for _, source := range []string{"peer", "xff"} {
		names, handlers := chains(t, source, keys)
		for client, want := range map[string]int{"203.0.113.5": http.StatusNoContent, "192.0.2.1": http.StatusForbidden} {
			for _, name := range names[1:] { // the first is the bare handler
				for _, r := range queries(source, keys, client) {
					s := &status{header: http.Header{}}
					handlers[name].ServeHTTP(s, r)
					require.Equal(t, want, s.code, "%s by %s for %s", name, source, client)
				}
			}
		}
	}
}

// BenchmarkMiddleware is one allowed request through the handler chain, of a key
// drawn uniformly, with lists of 5 entries.
func BenchmarkMiddleware(b *testing.B) {
	for _, source := range []string{"peer", "xff"} {
		for _, keys := range []int{1e3, 1e5} {
			names, handlers := chains(b, source, keys)
			requests := queries(source, keys, "203.0.113.5")
			for _, name := range names {
				b.Run(fmt.Sprintf("source=%s/keys=%d/chain=%s", source, keys, name), func(b *testing.B) {
					serve(b, handlers[name], requests)
				})
			}
		}
	}
}

func serve(b *testing.B, h http.Handler, requests []*http.Request) {
	b.ReportAllocs()
	w := &status{header: http.Header{}}
	n := 0
	for b.Loop() {
		h.ServeHTTP(w, requests[n%len(requests)])
		n++
	}
	if w.code != http.StatusNoContent {
		b.Fatal("the request was refused")
	}
}
