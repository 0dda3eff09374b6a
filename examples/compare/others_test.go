package compare

import (
	"net/http"
	"net/netip"

	"github.com/gaissmai/bart"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/jpillora/ipfilter"
	realip "github.com/realclientip/realclientip-go"

	"github.com/ipallow/ipallow/httpallow"
)

// withIPFilter is the middleware of jpillora/ipfilter. It has one list for the
// whole server and knows no keys, so it does less than the others.
func withIPFilter(next http.Handler, list []string) http.Handler {
	return ipfilter.Wrap(next, ipfilter.Options{AllowedIPs: list, BlockByDefault: true})
}

// withLists is what one writes by hand: find the address as text, parse it, look
// the key's list up in a map and ask the list. None of it may change while
// requests are served, so it does less, too.
func withLists[L any](next http.Handler, find func(*http.Request) string, lists map[string]L, contains func(L, netip.Addr) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, ok := httpallow.KeyFromContext(r)
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if list, restricted := lists[key]; restricted {
			addr, err := netip.ParseAddr(find(r))
			if err != nil || !contains(list, addr.Unmap().WithZone("")) {
				w.WriteHeader(http.StatusForbidden)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// byStrategy finds the address by a strategy of realclientip-go.
func byStrategy(s realip.Strategy) func(*http.Request) string {
	return func(r *http.Request) string { return s.ClientIP(r.Header, r.RemoteAddr) }
}

// withChi is withLists behind chi's own middleware for the client's address,
// which hands it on as a netip.Addr in the context.
func withChi[L any](next http.Handler, clientIP func(http.Handler) http.Handler, lists map[string]L, contains func(L, netip.Addr) bool) http.Handler {
	return clientIP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, ok := httpallow.KeyFromContext(r)
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if list, restricted := lists[key]; restricted && !contains(list, middleware.GetClientIPAddr(r.Context()).WithZone("")) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

func inPrefixes(list []netip.Prefix, addr netip.Addr) bool {
	for _, prefix := range list {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

func inTable(table *bart.Lite, addr netip.Addr) bool { return table.Contains(addr) }
