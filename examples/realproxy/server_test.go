//go:build unix

package realproxy

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/examples/internal/check"
	"github.com/ipallow/ipallow/examples/proxyproto"
	"github.com/ipallow/ipallow/httpallow"
)

// A kind is how a server learns the client's address.
type kind int

const (
	xForwardedFor kind = iota
	forwarded
	realIP
	proxyProtocol
)

// journal keeps the decisions by the path of the request.
type journal struct {
	mu   sync.Mutex
	made map[string][]httpallow.Decision
}

func (j *journal) observe(r *http.Request, d httpallow.Decision) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.made[r.URL.Path] = append(j.made[r.URL.Path], d)
}

// under returns the decisions on requests whose path begins with path.
func (j *journal) under(path string) (found []httpallow.Decision) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for at, decisions := range j.made {
		if strings.HasPrefix(at, path) {
			found = append(found, decisions...)
		}
	}
	return found
}

// startServers starts a server of each kind, which trusts both proxies and takes
// every request for one of key_1, and returns their addresses.
func startServers(t *testing.T, j *journal) map[kind]string {
	trusted := []netip.Prefix{netip.MustParsePrefix(nginxAddr + "/32"), netip.MustParsePrefix(haproxyAddr + "/32")}
	servers := map[kind]string{}
	for kind, opts := range map[kind]*clientip.Options{
		xForwardedFor: {Mode: clientip.XForwardedFor, TrustedProxies: trusted},
		forwarded:     {Mode: clientip.Forwarded, TrustedProxies: trusted},
		realIP:        {Mode: clientip.SingleHeader, Header: "X-Real-IP", TrustedProxies: trusted},
		proxyProtocol: nil,
	} {
		source, err := clientip.New(opts)
		require.NoError(t, err)
		allow, err := httpallow.New(check.Engine(t), &httpallow.Options{
			Key:     func(*http.Request) (string, bool) { return "key_1", true },
			Source:  source,
			Observe: j.observe,
		})
		require.NoError(t, err)
		listener := check.Listen(t)
		servers[kind] = listener.Addr().String()
		if kind == proxyProtocol {
			var wrapped net.Listener
			wrapped, err = proxyproto.Listen(listener, []string{haproxyAddr})
			require.NoError(t, err)
			listener = wrapped
		}
		check.Serve(t, listener, allow.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "hello")
		})))
	}
	return servers
}

// startNaive starts a server that believes the leftmost element of
// X-Forwarded-For and keeps in j what it believes.
func startNaive(t *testing.T, j *journal) string {
	listener := check.Listen(t)
	check.Serve(t, listener, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ",")
		addr, _ := netip.ParseAddr(strings.TrimSpace(first))
		j.observe(r, httpallow.Decision{Client: clientip.Result{Addr: addr}})
	}))
	return listener.Addr().String()
}
