package gateway_test

import (
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
)

func trusting(t testing.TB) func(*gateway.Options) {
	return func(o *gateway.Options) { o.Source = trust(t, trusted) }
}

// ask sends a question as a proxy does, with the client's address and a key.
func (w *world) ask(client string, k testKey, header ...string) answer {
	return w.do(trusted, "GET", gateway.AuthzPath, append([]string{"X-Forwarded-For", client, "Authorization", bearer(k)}, header...)...)
}

// The decisions are those of the gateway, with the original request's method.
func TestAuthz(t *testing.T) {
	w := newWorld(t, trusting(t))
	get, post := []string{"X-Forwarded-Method", "GET"}, []string{"X-Forwarded-Method", "POST"}
	for _, test := range []struct {
		reason, client string
		key            testKey
		header         []string
		status         int
		code           string
		method         string
		verdict        ipallow.Verdict
	}{
		{"served", inside, w.reader, get, 204, "", "GET", ipallow.Allowed},
		{"served, nginx's names", inside, w.full, []string{"X-Original-Method", "DELETE", "X-Original-URI", "/x"}, 204, "", "DELETE", ipallow.Allowed},
		{"both names, agreeing", inside, w.reader, []string{"X-Original-Method", "GET", "X-Forwarded-Method", "GET"}, 204, "", "GET", ipallow.Allowed},
		{"no list", outside, w.open, post, 204, "", "POST", ipallow.Unrestricted},
		{"report-only", outside, w.watched, get, 204, "", "GET", ipallow.Denied},
		{"a revoked key", inside, w.revoked, get, 401, "UNAUTHENTICATED", "GET", ipallow.Denied},
		{"scope", inside, w.reader, post, 403, "INSUFFICIENT_SCOPE", "POST", ipallow.Allowed},
		{"scope before the allowlist", outside, w.reader, post, 403, "INSUFFICIENT_SCOPE", "POST", ipallow.Denied},
		{"the allowlist", outside, w.full, get, 403, "IP_NOT_ALLOWED", "GET", ipallow.Denied},
		{"a chain that ends at the client", inside + ", " + outside, w.full, get, 403, "IP_NOT_ALLOWED", "GET", ipallow.Denied},

		{"no method needs write", inside, w.reader, nil, 403, "INSUFFICIENT_SCOPE", "(unknown)", ipallow.Allowed},
		{"no method, with write", inside, w.full, nil, 204, "", "(unknown)", ipallow.Allowed},
		{"two methods need write", inside, w.reader, []string{"X-Forwarded-Method", "GET", "X-Forwarded-Method", "POST"}, 403, "INSUFFICIENT_SCOPE", "(unknown)", ipallow.Allowed},
		{"the same method twice needs write", inside, w.reader, []string{"X-Forwarded-Method", "GET", "X-Forwarded-Method", "GET"}, 403, "INSUFFICIENT_SCOPE", "(unknown)", ipallow.Allowed},
		{"headers that disagree need write", inside, w.reader, []string{"X-Forwarded-Method", "GET", "X-Original-Method", "POST"}, 403, "INSUFFICIENT_SCOPE", "(unknown)", ipallow.Allowed},
		{"an empty method needs write", inside, w.reader, []string{"X-Forwarded-Method", ""}, 403, "INSUFFICIENT_SCOPE", "(unknown)", ipallow.Allowed},
		{"an empty and a set method need write", inside, w.reader, []string{"X-Forwarded-Method", "", "X-Original-Method", "GET"}, 403, "INSUFFICIENT_SCOPE", "(unknown)", ipallow.Allowed},
		{"joined methods need write", inside, w.reader, []string{"X-Forwarded-Method", "GET, POST"}, 403, "INSUFFICIENT_SCOPE", "(unknown)", ipallow.Allowed},
		{"a method that is no token needs write", inside, w.reader, []string{"X-Forwarded-Method", "GET /x HTTP/1.1"}, 403, "INSUFFICIENT_SCOPE", "(unknown)", ipallow.Allowed},
		{"a method in lower case needs write", inside, w.reader, []string{"X-Forwarded-Method", "get"}, 403, "INSUFFICIENT_SCOPE", "get", ipallow.Allowed},
		{"a look-alike is not read", inside, w.reader, []string{"X_Forwarded_Method", "GET"}, 403, "INSUFFICIENT_SCOPE", "(unknown)", ipallow.Allowed},
		{"a tunnel", inside, w.full, []string{"X-Forwarded-Method", "CONNECT"}, 405, "METHOD_NOT_ALLOWED", "CONNECT", ipallow.Allowed},
		{"an echo", inside, w.full, []string{"X-Original-Method", "TRACE"}, 405, "METHOD_NOT_ALLOWED", "TRACE", ipallow.Allowed},
		{"a tunnel that the client denies", inside, w.full, []string{"X-Forwarded-Method", "CONNECT", "X-Original-Method", "GET"}, 405, "METHOD_NOT_ALLOWED", "(unknown)", ipallow.Allowed},
		{"a tunnel that the client denies, nginx's names", inside, w.full, []string{"X-Forwarded-Method", "POST", "X-Original-Method", "CONNECT"}, 405, "METHOD_NOT_ALLOWED", "(unknown)", ipallow.Allowed},
		{"a tunnel from elsewhere", outside, w.full, []string{"X-Forwarded-Method", "CONNECT"}, 403, "IP_NOT_ALLOWED", "CONNECT", ipallow.Denied},
		{"an override needs both scopes", inside, w.reader, append(get, "X-HTTP-Method-Override", "PUT"), 403, "INSUFFICIENT_SCOPE", "GET", ipallow.Allowed},
	} {
		t.Run(test.reason, func(t *testing.T) {
			a := w.ask(test.client, test.key, test.header...)
			require.Equal(t, test.status, a.status, a.body)
			require.Equal(t, test.code, code(a.body))
			require.Equal(t, "no-store", a.header.Get("Cache-Control"))
			r := w.record(a.header.Get("X-Request-Id"))
			require.Equal(t, test.status, r.Status)
			require.Equal(t, test.method, r.Method)
			require.Equal(t, test.verdict, r.Verdict)
			if test.status == 204 {
				require.Equal(t, test.key.ID, a.header.Get("X-Ipallow-Key-Id"))
				require.Equal(t, test.client, a.header.Get("X-Ipallow-Client"))
				require.Empty(t, a.body)
			} else {
				require.Equal(t, a.body, a.header.Get("X-Ipallow-Body"))
				require.Empty(t, a.header.Get("X-Ipallow-Key-Id"))
			}
			if test.code == "IP_NOT_ALLOWED" {
				require.Equal(t, deniedBody, a.body)
			}
		})
	}
}

// Without a client's address a key with a list is refused, and one without is let
// through without a claim about the client.
func TestAuthzWithoutAddress(t *testing.T) {
	w := newWorld(t, trusting(t))
	for _, header := range [][]string{
		{"X-Forwarded-Method", "GET"},
		{"X-Forwarded-Method", "GET", "X-Forwarded-For", ""},
		{"X-Forwarded-Method", "GET", "X-Forwarded-For", inside + ", unknown"},
		{"X-Forwarded-Method", "GET", "X-Forwarded-For", trusted},
		{"X-Forwarded-Method", "GET", "X_Forwarded_For", inside},
		{"X-Forwarded-Method", "GET", "X-Real-IP", inside},
	} {
		a := w.do(trusted, "GET", gateway.AuthzPath, append(header, "X-API-Key", w.full.token)...)
		require.Equal(t, deniedBody, a.body, header)
		a = w.do(trusted, "GET", gateway.AuthzPath, append(header, "X-API-Key", w.open.token)...)
		require.Equal(t, 204, a.status, header)
		require.Equal(t, []string{""}, a.header.Values("X-Ipallow-Client"), header)
		require.False(t, w.record(a.header.Get("X-Request-Id")).ClientAddr.IsValid(), header)
	}
}

// To everybody but a trusted proxy there is nothing here, with or without a key.
func TestAuthzIsNotForClients(t *testing.T) {
	for _, change := range []func(*gateway.Options){nil, trusting(t)} {
		w := newWorld(t, change)
		for _, from := range []string{inside, outside, "127.0.0.1"} {
			for _, key := range []testKey{w.full, w.open, w.revoked} {
				a := w.do(from, "GET", gateway.AuthzPath, "Authorization", bearer(key), "X-Forwarded-Method", "GET",
					"X-Forwarded-For", trusted, "X-Forwarded-Uri", "/forged")
				require.Equal(t, 404, a.status)
				require.Equal(t, "NOT_FOUND", code(a.body))
				r := w.record(a.header.Get("X-Request-Id"))
				require.Empty(t, r.KeyID)
				require.Equal(t, gateway.AuthzPath, r.Path, "nothing that it sent is recorded")
				require.Equal(t, netip.MustParseAddr(from), r.ClientAddr)
			}
		}
		require.True(t, w.full.LastUsed().IsZero())
		require.True(t, w.open.LastUsed().IsZero())
	}
}

// What is recorded of the original path.
func TestAuthzPaths(t *testing.T) {
	w := newWorld(t, trusting(t))
	for _, test := range []struct {
		header []string
		want   string
	}{
		{[]string{"X-Forwarded-Uri", "/v1/things?key=1"}, "/v1/things"},
		{[]string{"X-Original-URI", "/v1/a%2Fb"}, "/v1/a%2Fb"},
		{[]string{"X-Original-URL", "https://api.example/v1/things?key=1#x"}, "/v1/things"},
		{[]string{"X-Original-URL", "https://api.example"}, ""},
		{[]string{"X-Forwarded-Uri", "/x", "X-Original-URI", "/x"}, "/x"},
		{[]string{"X-Forwarded-Uri", "/x", "X-Original-URI", "/y"}, "(unknown)"},
		{[]string{"X-Forwarded-Uri", "/x", "X-Forwarded-Uri", "/x"}, "(unknown)"},
		{nil, "(unknown)"},
		{[]string{"X-Forwarded-Uri", "/%zz?key=1"}, "/%zz"},
		{[]string{"X-Forwarded-Uri", "//host/x"}, "//host/x"},
		{[]string{"X-Forwarded-Uri", "no path"}, "no path"},
		{[]string{"X-Forwarded-Uri", "*"}, "*"},
		{[]string{"X-Forwarded-Uri", "/" + w.full.token}, "/ipk_" + w.full.ID + "..."},
		{[]string{"X-Forwarded-Uri", w.full.token}, "ipk_" + w.full.ID + "..."},
	} {
		a := w.ask(inside, w.full, append(test.header, "X-Forwarded-Method", "GET")...)
		require.Equal(t, 204, a.status)
		require.Equal(t, test.want, w.record(a.header.Get("X-Request-Id")).Path, test.header)
	}
}

// Nothing else is under the reserved path, for nobody, and nothing of it is
// passed on.
func TestReservedPaths(t *testing.T) {
	up := newUpstream(t, nil)
	w := newWorld(t, func(o *gateway.Options) { trusting(t)(o); o.Upstream = parse(t, up.url) })
	for _, path := range []string{
		"/_ipallow", "/_ipallow/", "/_ipallow/authz/", "/_ipallow/authz/x", "/_ipallow/AUTHZ", "/_ipallow/healthz",
		"/_ipallow/../v1/ping", "/%5fipallow/other", "/_ipallow%2Fother", "/%5fipallow/authz", "/_ipallow%2Fauthz", "/_ipallow/auth%7a", "/_ipallow//authz",
	} {
		for _, from := range []string{inside, trusted} {
			require.Equal(t, 404, w.do(from, "GET", path, "X-API-Key", w.open.token).status, path)
		}
	}
	require.Empty(t, up.requests())
	require.Equal(t, 204, w.ask(inside, w.full, "X-Forwarded-Method", "GET").status)
	require.Equal(t, 200, w.do(inside, "GET", "/_ipallowed", "X-API-Key", w.open.token).status, "a path that begins alike")
}

// A unix socket is trusted where the operator says so.
func TestAuthzOverUnixSocket(t *testing.T) {
	w := newWorld(t, func(o *gateway.Options) {
		source, err := clientip.New(&clientip.Options{Mode: clientip.XForwardedFor, TrustUnixPeer: true})
		require.NoError(t, err)
		o.Source = source
	})
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "gateway"))
	require.NoError(t, err)
	server := &http.Server{Handler: w.gate}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	defer func() { server.Close(); <-done }()
	for client, status := range map[string]int{inside: 204, outside: 403} {
		conn, err := net.Dial("unix", listener.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte("GET " + gateway.AuthzPath + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-Method: GET\r\nX-Forwarded-For: " +
			client + "\r\nX-API-Key: " + w.full.token + "\r\n\r\n"))
		require.NoError(t, err)
		require.Equal(t, status, readAnswers(t, conn)[0].status)
	}
	require.Equal(t, 404, w.do(inside, "GET", gateway.AuthzPath, "X-API-Key", w.full.token).status)
}

// A local process can give its end of a unix socket any name, that of a trusted
// proxy too.
func TestAuthzOverUnixSocketWithAName(t *testing.T) {
	w := newWorld(t, trusting(t))
	t.Chdir(t.TempDir())
	listener, err := net.Listen("unix", "gateway")
	require.NoError(t, err)
	server := &http.Server{Handler: w.gate}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	defer func() { server.Close(); <-done }()
	conn, err := net.DialUnix("unix", &net.UnixAddr{Net: "unix", Name: trusted + ":80"}, listener.Addr().(*net.UnixAddr))
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("GET " + gateway.AuthzPath + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-Method: GET\r\nX-Forwarded-For: " +
		inside + "\r\nX-API-Key: " + w.full.token + "\r\n\r\n"))
	require.NoError(t, err)
	require.Equal(t, 404, readAnswers(t, conn)[0].status)
}
