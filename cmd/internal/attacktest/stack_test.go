package attacktest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/server"
)

const adminToken = "adm_attacktest_0123456789abcdefghijklmnopq"

// Clients; all of 127.0.0.0/8 is this machine. Limits on guesses are by address,
// so tests that guess do so from addresses of their own.
const (
	home    = "127.0.0.1" // the administrator
	inside  = "127.0.0.2" // on the lists of the tests
	outside = "127.0.0.3" // on none
)

// patience bounds every wait. A machine under load needs some.
const patience = 60 * time.Second

// An output collects what a server logs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// A stack is a whole server, as ipallowd starts it.
type stack struct {
	*server.Server
	t       testing.TB
	dir     string
	said    *output // all levels
	gateway string  // addresses
	manage  string
	authz   string
	close   func()
}

// start starts a server on free ports. Non-public entries are allowed, so that
// this machine's addresses are as many clients.
func start(t testing.TB, with ...func(*server.Config)) *stack {
	t.Helper()
	cfg := server.Defaults()
	cfg.Listen, cfg.AdminListen, cfg.AuthzListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.AdminToken = adminToken
	cfg.AllowNonPublic = true
	for _, f := range with {
		f(&cfg)
	}
	s := &stack{t: t, dir: cfg.Data, said: new(output)}
	logger := slog.New(slog.NewTextHandler(s.said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	s.Server, err = server.Start(t.Context(), cfg, logger)
	require.NoError(t, err)
	addrs := s.Addrs()
	s.gateway, s.manage, s.authz = addrs[0].String(), addrs[1].String(), addrs[2].String()
	s.close = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Close(ctx))
	})
	t.Cleanup(s.close)
	return s
}

// client returns a client at an address of this machine. It follows no
// redirection and keeps no cookies.
func client(t testing.TB, from string) *http.Client {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	tr := &http.Transport{DialContext: d.DialContext, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport: tr, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// An answer is what came back.
type answer struct {
	*http.Response
	text string
}

// do sends one request. The header is name, value, name, value.
func (s *stack) do(from, method, url, body string, header ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	require.NoError(s.t, err)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	res, err := client(s.t, from).Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	return answer{res, string(text)}
}

// api calls the management API as the administrator.
func (s *stack) api(method, path, body string, header ...string) answer {
	s.t.Helper()
	header = append([]string{"Authorization", "Bearer " + adminToken, "Content-Type", "application/json"}, header...)
	return s.do(home, method, "http://"+s.manage+path, body, header...)
}

// ping asks the gateway with a token, or without one.
func (s *stack) ping(from, token string, header ...string) answer {
	s.t.Helper()
	if token != "" {
		header = append([]string{"X-API-Key", token}, header...)
	}
	return s.do(from, "GET", "http://"+s.gateway+"/v1/ping", "", header...)
}

// A key is an API key.
type key struct{ ID, Secret string }

// key makes one for both scopes, with a list of the address inside, and a name.
func (s *stack) key(name string) key {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{
		"name": name, "scopes": []string{"read", "write"}, "allowlist": []map[string]string{{"entry": inside, "label": name}},
	})
	require.NoError(s.t, err)
	a := s.api("POST", "/api/v1/keys", string(body))
	require.Equal(s.t, 201, a.StatusCode, a.text)
	var k key
	require.NoError(s.t, json.Unmarshal([]byte(a.text), &k))
	return k
}

// login returns the header of a session's cookie.
func (s *stack) login(from string) string {
	s.t.Helper()
	a := s.form(from, "/login", url.Values{"token": {adminToken}})
	require.Equal(s.t, 303, a.StatusCode, a.text)
	require.Len(s.t, a.Cookies(), 1)
	return a.Cookies()[0].Name + "=" + a.Cookies()[0].Value
}

// form posts a form to the page.
func (s *stack) form(from, path string, values url.Values, header ...string) answer {
	s.t.Helper()
	header = append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)
	return s.do(from, "POST", "http://"+s.manage+path, values.Encode(), header...)
}

// page reads a page with a cookie.
func (s *stack) page(path, cookie string) answer {
	s.t.Helper()
	return s.do(home, "GET", "http://"+s.manage+path, "", "Cookie", cookie)
}

// stored waits until all records are in the store.
func (s *stack) stored() {
	s.t.Helper()
	require.NoError(s.t, s.Log.Drain(s.t.Context()))
}
