package browsertest

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/admin"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
	"github.com/ipallow/ipallow/cmd/internal/page"
	"github.com/ipallow/ipallow/usagelog"
)

const adminToken = "adm_browsertest_0123456789abcdefghijklmnop"

// proxyAddr is the trusted proxy: requests from there name their client.
const proxyAddr = "127.0.0.9"

// A stack is what a server consists of, on sockets of its own.
type stack struct {
	t       *testing.T
	svc     *manage.Service
	store   *logstore.Store
	log     *usagelog.Writer
	gateway string // addresses
	page    string
}

// newStack starts a stack. Its policy allows loopback entries, so that the
// machine's own addresses are as many clients.
func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{t: t}
	policy := ipallow.DefaultPolicy()
	policy.AllowNonPublic = true
	dir := t.TempDir()
	var err error
	s.store, err = logstore.Open(t.Context(), logstore.Options{Path: filepath.Join(dir, "usage.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.store.Close()) })
	s.log, err = usagelog.Open(filepath.Join(dir, "usage"), s.store, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.log.Close(context.Background())) })

	svc, engine, ring := managetest.Open(t, func(o *manage.Options) {
		o.Engine = ipallow.New(&ipallow.Options{Policy: &policy, DenyUntilLoaded: true})
		o.Seen = s.store
	})
	s.svc = svc
	token, err := admin.NewToken(adminToken)
	require.NoError(t, err)
	source, err := clientip.New(&clientip.Options{
		Mode:           clientip.XForwardedFor,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix(proxyAddr + "/32")},
	})
	require.NoError(t, err)
	quiet := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	gate, err := gateway.New(gateway.Options{Ring: ring, Engine: engine, Source: source, Log: s.log, Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(gate.Close)
	gateServer := httptest.NewServer(gate)
	t.Cleanup(gateServer.Close)
	s.gateway = gateServer.URL

	settings, err := page.New(page.Options{
		Manager: svc, Logs: s.store, LogStats: s.log.Stats, Authenticate: token.Check, Policy: policy,
		TryURL: s.gateway + "/v1/ping", Logger: quiet,
	})
	require.NoError(t, err)
	pageServer := httptest.NewServer(settings)
	t.Cleanup(pageServer.Close)
	s.page = pageServer.URL
	return s
}

// call asks the gateway for /v1/ping with a key from a local address. via is
// the client that a trusted proxy names, or empty. It returns the status when
// the request is in the usage log.
func (s *stack) call(token, from, via string) int {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.gateway+"/v1/ping", nil)
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	if via != "" {
		req.Header.Set("X-Forwarded-For", via)
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	require.NoError(s.t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, res.Body.Close())
	if res.StatusCode == http.StatusForbidden {
		require.JSONEq(s.t, `{"error":{"code":"IP_NOT_ALLOWED","message":"Request IP address is not in the API key's allowlist"}}`, string(body))
	} else if res.StatusCode == http.StatusOK {
		want := from
		if via != "" {
			want = via
		}
		require.True(s.t, strings.Contains(string(body), want), "%s does not name %s", body, want)
	}
	require.NoError(s.t, s.log.Drain(s.t.Context()))
	return res.StatusCode
}
