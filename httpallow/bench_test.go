package httpallow_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/httpallow"
)

// served is request with the context that net/http's server gives it.
func served(remoteAddr, key string) *http.Request {
	r := request("GET", remoteAddr, "")
	ctx := context.WithValue(context.Background(), http.ServerContextKey, &http.Server{})
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}))
	ctx, cancel := context.WithCancel(ctx)
	_ = cancel
	return r.WithContext(httpallow.ContextWithKey(ctx, strings.Clone(key)))
}

// BenchmarkMiddleware is one request through the handler chain: the bare
// handler, and the same behind the middleware.
func BenchmarkMiddleware(b *testing.B) {
	engine := newEngine(b, nil)
	peer := newMiddleware(b, engine, httpallow.Options{})
	proxied := newMiddleware(b, engine, httpallow.Options{Source: proxySource(b)})
	explained := newMiddleware(b, engine, httpallow.Options{Explain: true})
	own := newMiddleware(b, engine, httpallow.Options{
		Context: true, Key: func(*http.Request) (string, bool) { return restricted, true },
	})
	bare := served(inside, restricted)
	bare = bare.WithContext(context.WithValue(context.Background(), http.ServerContextKey, &http.Server{}))
	behind := served("10.20.0.1:443", restricted)
	behind.Header.Set("X-Forwarded-For", "6.6.6.6, 203.0.113.5")
	for _, bench := range []struct {
		name string
		h    http.Handler
		r    *http.Request
	}{
		{"chain=bare", okHandler, served(inside, restricted)},
		{"chain=httpallow/source=peer/family=4", peer.Handler(okHandler), served(inside, restricted)},
		{"chain=httpallow/source=peer/family=6", peer.Handler(okHandler), served("[2001:db8:1::9]:443", restricted)},
		{"chain=httpallow/source=xff/family=4", proxied.Handler(okHandler), behind},
		{"chain=httpallow/source=peer/list=none", peer.Handler(okHandler), served(inside, unrestricted)},
		{"chain=httpallow/source=peer/explain=true", explained.Handler(okHandler), served(inside, restricted)},
		{"chain=httpallow/source=peer/context=own", own.Handler(okHandler), bare},
		{"chain=httpallow/source=peer/result=denied", peer.Handler(okHandler), served(outside, restricted)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var w http.ResponseWriter = discard{http.Header{}}
			for b.Loop() {
				bench.h.ServeHTTP(w, bench.r)
			}
		})
	}
}
