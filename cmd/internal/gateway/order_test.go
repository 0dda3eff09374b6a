package gateway_test

import (
	"fmt"
	"log/slog"

	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/httpallow"
)

// Authentication comes before scope and scope before the allowlist, whatever the
// address; what is refused marks no key as used; everything is recorded.
func TestOrder(t *testing.T) {
	w := newWorld(t, nil)
	wrong := testKey{w.full.Key, w.full.token[:len(w.full.token)-43] + w.open.token[len(w.open.token)-43:]}
	for _, test := range []struct {
		reason, from, method string
		key                  testKey
		status               int
		code, keyID          string
		verdict              ipallow.Verdict
		used                 bool
	}{
		{"no key, from outside", outside, "GET", testKey{}, 401, "UNAUTHENTICATED", "", ipallow.Denied, false},
		{"no key, from inside", inside, "GET", testKey{}, 401, "UNAUTHENTICATED", "", ipallow.Denied, false},
		{"a revoked key", inside, "GET", w.revoked, 401, "UNAUTHENTICATED", "", ipallow.Denied, false},
		{"a revoked key from outside does not reach the allowlist", outside, "GET", w.revoked, 401, "UNAUTHENTICATED", "", ipallow.Denied, false},
		{"a wrong secret does not reach the scope", outside, "POST", wrong, 401, "UNAUTHENTICATED", "", ipallow.Denied, false},
		{"scope comes before the allowlist", outside, "POST", w.reader, 403, "INSUFFICIENT_SCOPE", w.reader.ID, ipallow.Denied, false},
		{"scope, from inside", inside, "POST", w.reader, 403, "INSUFFICIENT_SCOPE", w.reader.ID, ipallow.Allowed, false},
		{"a key that may only write", inside, "GET", w.writer, 403, "INSUFFICIENT_SCOPE", w.writer.ID, ipallow.Allowed, false},
		{"a key that may do nothing", inside, "GET", w.none, 403, "INSUFFICIENT_SCOPE", w.none.ID, ipallow.Allowed, false},
		{"a method in lower case is another method", inside, "get", w.reader, 403, "INSUFFICIENT_SCOPE", w.reader.ID, ipallow.Allowed, false},
		{"the allowlist", outside, "GET", w.full, 403, "IP_NOT_ALLOWED", w.full.ID, ipallow.Denied, false},
		{"the allowlist, HEAD", outside, "HEAD", w.reader, 403, "", w.reader.ID, ipallow.Denied, false},
		{"the allowlist before the path", outside, "DELETE", w.writer, 403, "IP_NOT_ALLOWED", w.writer.ID, ipallow.Denied, false},
		{"served", inside, "GET", w.full, 200, "", w.full.ID, ipallow.Allowed, true},
		{"served, HEAD", inside, "HEAD", w.reader, 200, "", w.reader.ID, ipallow.Allowed, true},
		{"no such method, but a key in use", inside, "PUT", w.writer, 405, "METHOD_NOT_ALLOWED", w.writer.ID, ipallow.Allowed, true},
		{"no list", outside, "GET", w.open, 200, "", w.open.ID, ipallow.Unrestricted, true},
		{"report-only", outside, "GET", w.watched, 200, "", w.watched.ID, ipallow.Denied, true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			var header []string
			used := false
			if test.key.Key != nil {
				header = []string{"Authorization", bearer(test.key)}
				used = !test.key.LastUsed().IsZero()
			}
			a := w.do(test.from, test.method, "/v1/ping?token=in-the-query", header...)
			require.Equal(t, test.status, a.status, a.body)
			require.Equal(t, test.code, code(a.body))
			require.Equal(t, "no-store", a.header.Get("Cache-Control"))
			require.Equal(t, "application/json; charset=utf-8", a.header.Get("Content-Type"))
			require.Equal(t, test.status == 401 || test.code == "INSUFFICIENT_SCOPE", a.header.Get("WWW-Authenticate") != "")
			if test.key.Key != nil && !used {
				require.Equal(t, test.used, !test.key.LastUsed().IsZero(), "the mark of the last use")
			}

			r := w.record(a.header.Get("X-Request-Id"))
			require.Equal(t, test.status, r.Status)
			require.Equal(t, test.keyID, r.KeyID)
			require.Equal(t, test.method, r.Method)
			require.Equal(t, "/v1/ping", r.Path)
			require.Equal(t, test.verdict, r.Verdict)
			require.Equal(t, netip.MustParseAddr(test.from), r.ClientAddr)
			require.Positive(t, r.Duration)
		})
	}
}

// The refusal by the allowlist is that of package httpallow, to the byte.
func TestDeniedAnswer(t *testing.T) {
	w := newWorld(t, nil)
	theirs := httptest.NewRecorder()
	httpallow.Deny(theirs, nil, httpallow.Decision{})
	a := w.do(outside, "GET", "/v1/ping", "X-API-Key", w.full.token)
	require.Equal(t, deniedBody, a.body)
	require.Equal(t, theirs.Body.String(), a.body)
	require.Equal(t, theirs.Code, a.status)
	for _, extra := range []string{"X-Request-Id", "Date", "Content-Length", "Connection"} {
		a.header.Del(extra)
	}
	require.Equal(t, theirs.Header(), a.header)
}

// Challenges are those of RFC 6750.
func TestChallenges(t *testing.T) {
	w := newWorld(t, nil)
	for _, test := range []struct{ method, challenge, name, value string }{
		{"GET", `Bearer`, "X-Other", ""},
		{"GET", `Bearer error="invalid_token"`, "Authorization", "Bearer nonsense"},
		{"GET", `Bearer error="invalid_token"`, "Authorization", bearer(w.revoked)},
		{"PUT", `Bearer error="insufficient_scope", scope="write"`, "Authorization", bearer(w.reader)},
		{"GET", `Bearer error="insufficient_scope", scope="read"`, "Authorization", bearer(w.writer)},
	} {
		a := w.do(inside, test.method, "/v1/ping", test.name, test.value)
		require.Equal(t, []string{test.challenge}, a.header["Www-Authenticate"], test)
	}
}

// A key elsewhere than its owner's networks burns nothing of its owner's.
func TestLeakedKeyLeavesNoMark(t *testing.T) {
	w := newWorld(t, nil)
	for range 5 {
		require.Equal(t, 403, w.do(outside, "GET", "/v1/ping", "Authorization", bearer(w.full)).status)
	}
	require.True(t, w.full.LastUsed().IsZero())
	require.Len(t, w.records(), 5)
	require.Equal(t, 200, w.do(inside, "GET", "/v1/ping", "Authorization", bearer(w.full)).status)
	require.False(t, w.full.LastUsed().IsZero())
}

// A change is enforced by the next request.
func TestChangesCountAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	status := func(from string) int {
		return w.do(from, "GET", "/v1/ping", "Authorization", bearer(w.full)).status
	}
	require.Equal(t, 403, status(outside))
	entries, err := w.engine.Policy().ParseList([]string{outside})
	require.NoError(t, err)
	require.NoError(t, w.engine.Set(w.full.ID, entries))
	require.Equal(t, 200, status(outside))
	require.Equal(t, 403, status(inside))
	w.ring.Remove(w.full.ID)
	require.Equal(t, 401, status(outside))
}

func TestReportOnlyAndNoAllowlist(t *testing.T) {
	for _, test := range []struct {
		change  func(*gateway.Options)
		verdict ipallow.Verdict
	}{
		{func(o *gateway.Options) { o.ReportOnly = true }, ipallow.Denied},
		{func(o *gateway.Options) { o.NoAllowlist = true }, ipallow.Unrestricted},
	} {
		w := newWorld(t, test.change)
		a := w.do(outside, "GET", "/v1/ping", "Authorization", bearer(w.full))
		require.Equal(t, 200, a.status)
		require.Equal(t, test.verdict, w.record(a.header.Get("X-Request-Id")).Verdict)
		require.Equal(t, fmt.Sprintf(`{"key_id":"%s","address":"%s","verdict":"%s"}`, w.full.ID, outside, test.verdict), a.body)
		require.Equal(t, 403, w.do(outside, "POST", "/v1/ping", "Authorization", bearer(w.reader)).status, "scope is enforced")
		require.Equal(t, 401, w.do(outside, "GET", "/v1/ping", "Authorization", bearer(w.revoked)).status, "keys are checked")
	}
}

func TestNotLoadedYet(t *testing.T) {
	engine := ipallow.New(&ipallow.Options{DenyUntilLoaded: true})
	w := newWorld(t, func(o *gateway.Options) {
		o.Engine, o.ReportOnly, o.Source = engine, true, trust(t, trusted)
	})
	ask := func(path, from string, header ...string) answer {
		if path == gateway.AuthzPath {
			return w.do(trusted, "GET", path, append(header, "X-Forwarded-For", from)...)
		}
		return w.do(from, "GET", path, header...)
	}
	for _, path := range []string{"/v1/ping", gateway.AuthzPath} {
		for _, header := range [][]string{nil, {"X-API-Key", w.open.token}, {"X-API-Key", w.full.token}, {"X-API-Key", w.revoked.token}} {
			a := ask(path, inside, header...)
			require.Equal(t, 503, a.status, "%s %v: %s", path, header, a.body)
			require.Equal(t, "NOT_READY", code(a.body))
			require.Equal(t, "1", a.header.Get("Retry-After"))
			require.Equal(t, 503, w.record(a.header.Get("X-Request-Id")).Status)
		}
	}
	require.True(t, w.open.LastUsed().IsZero())
	require.NoError(t, engine.Replace(func(func(string, []ipallow.Entry) bool) {}))
	require.Equal(t, 200, ask("/v1/ping", inside, "X-API-Key", w.open.token).status)
	require.Equal(t, 401, ask("/v1/ping", inside, "X-API-Key", w.revoked.token).status)
}

func TestPing(t *testing.T) {
	w := newWorld(t, nil)
	a := w.do(inside, "GET", "/v1/ping", "X-API-Key", w.full.token)
	require.Equal(t, 200, a.status)
	require.Equal(t, fmt.Sprintf(`{"key_id":"%s","address":"127.0.0.2","verdict":"allowed"}`, w.full.ID), a.body)
	require.Len(t, a.header.Get("X-Request-Id"), 32)

	a = w.do(inside, "POST", "/v1/ping", "X-API-Key", w.full.token)
	require.Equal(t, 405, a.status)
	require.Equal(t, "GET, HEAD", a.header.Get("Allow"))
	for _, path := range []string{"/", "/v1/ping/", "/v1/pings", "/v1", "//v1/ping", "/v1/../v1/ping"} {
		a = w.do(inside, "GET", path, "X-API-Key", w.full.token)
		require.Equal(t, 404, a.status, path)
		require.Equal(t, "NOT_FOUND", code(a.body))
	}
	require.Equal(t, 401, w.do(inside, "GET", "/nowhere").status, "what is there is told to nobody without a key")
}

func TestOptionsErrors(t *testing.T) {
	_, err := gateway.New(gateway.Options{UpstreamTimeout: -1, Upstream: parse(t, "ftp://user:hidden@example.com")})
	require.ErrorIs(t, err, ipallow.ErrNoEngine)
	for _, want := range []string{"Options.Ring", "Options.Engine", "Options.UpstreamTimeout", "Options.Upstream"} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "hidden")
}

// Without a Log, an Observe and a Logger everything else works.
func TestZeroOptions(t *testing.T) {
	old := slog.Default()
	defer slog.SetDefault(old)
	said := new(output)
	slog.SetDefault(slog.New(slog.NewTextHandler(said, nil)))
	w := newWorld(t, func(o *gateway.Options) { o.Log, o.Logger = nil, nil })
	require.Equal(t, 200, w.do(inside, "GET", "/v1/ping", "X-API-Key", w.full.token).status)
	require.Equal(t, 403, w.do(outside, "GET", "/v1/ping", "X-API-Key", w.full.token).status)
	require.Empty(t, w.records())
	require.Empty(t, said.String(), "a refusal is no news to a default logger")
}

// Until the gateway knows the keys, it says so to everybody, whatever they
// send: a key that is not known yet is not an invalid one.
func TestNotLoaded(t *testing.T) {
	var loaded atomic.Bool
	w := newWorld(t, func(o *gateway.Options) { o.Loaded = loaded.Load; o.Source = trust(t, trusted) })
	for _, from := range []string{inside, outside} {
		for _, header := range [][]string{nil, {"Authorization", bearer(w.full)}, {"Authorization", "Bearer nonsense"}, {"X-API-Key", w.revoked.token}} {
			a := w.do(from, "GET", "/v1/ping", header...)
			require.Equal(t, 503, a.status, a.body)
			require.Equal(t, "NOT_READY", code(a.body))
			require.Equal(t, "1", a.header.Get("Retry-After"))
			require.Equal(t, "no-store", a.header.Get("Cache-Control"))
		}
	}
	require.Equal(t, 503, w.do(trusted, "GET", gateway.AuthzPath, "Authorization", bearer(w.full), "X-Forwarded-For", inside).status)
	require.True(t, w.full.LastUsed().IsZero())
	loaded.Store(true)
	require.Equal(t, 200, w.do(inside, "GET", "/v1/ping", "Authorization", bearer(w.full)).status)
	require.Equal(t, 401, w.do(inside, "GET", "/v1/ping", "X-API-Key", w.revoked.token).status)
}
