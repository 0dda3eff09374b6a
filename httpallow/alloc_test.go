package httpallow_test

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/httpallow"
)

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// okHandler is static, so that it allocates nothing itself.
var okHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

func TestNoAllocs(t *testing.T) {
	engine := newEngine(t, nil)
	peer := newMiddleware(t, engine, httpallow.Options{})
	proxied := newMiddleware(t, engine, httpallow.Options{Source: proxySource(t)})
	observed := newMiddleware(t, engine, httpallow.Options{Observe: httpallow.LogTo(slog.New(slog.NewTextHandler(io.Discard, nil)))})
	reporting := newMiddleware(t, engine, httpallow.Options{ReportOnly: true})
	behind := request("GET", "10.20.0.1:443", strings.Clone(restricted))
	behind.Header.Set("X-Forwarded-For", "6.6.6.6, 203.0.113.5")
	var w http.ResponseWriter = discard{http.Header{}}
	for _, test := range []struct {
		name string
		m    *httpallow.Middleware
		r    *http.Request
	}{
		{"allowed", peer, request("GET", inside, strings.Clone(restricted))},
		{"allowed, IPv6", peer, request("GET", "[2001:db8:1::9]:443", strings.Clone(restricted))},
		{"unrestricted", peer, request("GET", outside, unrestricted)},
		{"behind a proxy", proxied, behind},
		{"served, with a logger", observed, request("GET", inside, strings.Clone(restricted))},
		{"reported", reporting, request("GET", outside, strings.Clone(restricted))},
	} {
		h := test.m.Handler(okHandler)
		require.True(t, test.m.Check(test.r).OK(), test.name)
		require.Zero(t, testing.AllocsPerRun(100, func() { h.ServeHTTP(w, test.r) }), test.name)
	}
}

// Requests are decided while lists change; run with -race.
func TestConcurrentRequests(t *testing.T) {
	engine := newEngine(t, nil)
	entries, err := engine.Policy().ParseList([]string{"198.51.100.0/24"})
	require.NoError(t, err)
	var observed atomic.Int64
	m := newMiddleware(t, engine, httpallow.Options{Observe: func(*http.Request, httpallow.Decision) { observed.Add(1) }})
	h := m.Handler(okHandler)
	var wg sync.WaitGroup
	const readers, rounds = 4, 500
	for range readers {
		wg.Go(func() {
			w := discard{http.Header{}}
			r := request("GET", outside, "key_changing")
			for range rounds {
				h.ServeHTTP(w, r)
			}
		})
	}
	for n := range 200 {
		if n%2 == 0 {
			require.NoError(t, engine.Set("key_changing", entries))
		} else {
			engine.Delete("key_changing")
		}
	}
	wg.Wait()
	require.EqualValues(t, readers*rounds, observed.Load())
	require.Equal(t, ipallow.Unrestricted, m.Check(request("GET", outside, "key_changing")).Verdict)
}
