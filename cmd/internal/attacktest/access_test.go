package attacktest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/ipallow/ipallow/cmd/internal/guesses"
	"github.com/ipallow/ipallow/cmd/internal/server"
)

// TestListenersAreSeparate: neither listener does the other's work, and neither
// takes the other's credentials.
func TestListenersAreSeparate(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	for _, path := range []string{"/api/v1/keys", "/api/openapi.json", "/metrics", "/healthz", "/readyz", "/login", "/keys", "/logs", "/static/app.css"} {
		require.Equal(t, 401, s.do(inside, "GET", "http://"+s.gateway+path, "", "Authorization", "Bearer "+adminToken).StatusCode, path)
		require.Equal(t, 404, s.do(inside, "GET", "http://"+s.gateway+path, "", "X-API-Key", k.Secret).StatusCode, path)
	}
	for _, path := range []string{"/v1/ping", "/_ipallow/authz", "/_ipallow"} {
		a := s.do(inside, "GET", "http://"+s.manage+path, "", "X-API-Key", k.Secret, "X-Forwarded-For", inside, "X-Forwarded-Method", "GET")
		require.Equal(t, 303, a.StatusCode, path) // to the login
		require.Empty(t, a.Header.Get("X-Ipallow-Key-Id"))
	}
	for _, path := range []string{"/api/v1/keys", "/metrics"} {
		require.Equal(t, 401, s.do(inside, "GET", "http://"+s.manage+path, "", "Authorization", "Bearer "+k.Secret).StatusCode, path)
	}
}

// TestNothingWithoutAToken: a token counts as a header, of the right kind, and
// nowhere else.
func TestNothingWithoutAToken(t *testing.T) {
	t.Parallel()
	s := start(t)
	cookie := s.login(home)
	for _, path := range []string{
		"/metrics", "/api/openapi.json", "/api/v1/keys", "/api/v1/logs", "/api/v1/logs.csv", "/api/v1/logs/summary", "/api/v1/audit", "/api/", "/api/v1/nothing",
	} {
		for _, header := range [][]string{
			nil, {"Cookie", cookie}, {"Cookie", "token=" + adminToken}, {"X-API-Key", adminToken}, {"Proxy-Authorization", "Bearer " + adminToken},
			{"Authorization", "Basic " + adminToken}, {"Authorization", adminToken}, {"Authorization", "Bearer " + adminToken, "Authorization", "Bearer x"},
			{"X-Forwarded-User", "admin"}, {"X-Original-Url", "/healthz"}, {"X-Rewrite-Url", "/healthz"}, {"X-Forwarded-For", "127.0.0.1"},
		} {
			require.Equal(t, 401, s.do(outside, "GET", "http://"+s.manage+path, "", header...).StatusCode, "%s %q", path, header)
		}
		require.Equal(t, 401, s.do(outside, "GET", "http://"+s.manage+path+"?token="+adminToken+"&access_token="+adminToken, "").StatusCode, path)
	}
	require.Equal(t, 401, s.do(inside, "GET", "http://"+s.gateway+"/v1/ping?api_key="+s.key("a").Secret, "").StatusCode)
	for _, path := range []string{"/healthz", "/readyz"} {
		a := s.do(outside, "GET", "http://"+s.manage+path, "")
		require.Equal(t, 200, a.StatusCode)
		require.Less(t, len(a.text), 40, "it says nothing of what there is")
	}
}

// TestKeysCannotBeEnumerated: the answers are the same byte for byte.
func TestKeysCannotBeEnumerated(t *testing.T) {
	t.Parallel()
	s := start(t)
	known, revoked := s.key("known"), s.key("revoked")
	require.Equal(t, 200, s.api("DELETE", "/api/v1/keys/"+revoked.ID, "").StatusCode)
	secret := strings.Repeat("A", 43)
	answers := map[string]answer{
		"wrong secret": s.ping(inside, "ipk_"+known.ID+"_"+secret),
		"one digit":    s.ping(inside, known.Secret[:len(known.Secret)-1]+map[bool]string{true: "B", false: "A"}[strings.HasSuffix(known.Secret, "A")]),
		"outside":      s.ping(outside, "ipk_"+known.ID+"_"+secret),
		"revoked":      s.ping(inside, revoked.Secret),
		"unknown":      s.ping(inside, "ipk_aaaaaaaaaaaaaaaa_"+secret),
		"malformed":    s.ping(inside, "nothing of the kind"),
	}
	for _, a := range answers {
		for _, varies := range []string{"Date", "X-Request-Id"} {
			require.NotEmpty(t, a.Header.Get(varies))
			a.Header.Del(varies)
		}
	}
	want := answers["unknown"]
	require.Equal(t, 401, want.StatusCode)
	for reason, a := range answers {
		require.Equal(t, want.text, a.text, reason)
		require.Equal(t, want.StatusCode, a.StatusCode, reason)
		require.Equal(t, want.Header, a.Header, reason)
	}
}

// TestGuesses: wrong tokens are counted by the peer's address, whatever a header
// says it is, and by one count for the API and for metrics.
func TestGuesses(t *testing.T) {
	t.Parallel()
	s := start(t)
	codes := map[int]int{}
	for i, header := range []string{
		"X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "X-Forwarded-For", "Client-IP",
		"X-Forwarded-For", "X-Forwarded-For", "X-Forwarded-For", "X-Real-IP", "X-Forwarded-For", "Via",
	} {
		path := []string{"/api/v1/keys", "/metrics"}[i%2]
		codes[s.do("127.0.0.20", "GET", "http://"+s.manage+path, "", "Authorization", "Bearer guess", header, "203.0.113."+string(rune('1'+i%9))).StatusCode]++
	}
	require.Equal(t, 10, codes[401])
	require.Equal(t, 4, codes[429])
	for _, path := range []string{"/api/v1/keys", "/metrics"} {
		require.Equal(t, 200, s.do("127.0.0.20", "GET", "http://"+s.manage+path, "", "Authorization", "Bearer "+adminToken).StatusCode, "the right one is answered")
	}
	require.Equal(t, 429, s.form("127.0.0.20", "/login", url.Values{"token": {"guess"}}).StatusCode, "one count for the login too")
	require.Equal(t, 303, s.form("127.0.0.20", "/login", url.Values{"token": {adminToken}}).StatusCode)
}

// TestGuessesBesideTheAdministrator: who guesses all the time, from the address of
// the administrator or with an address of his own choice for each guess through the
// proxy that the administrator uses, is slowed and keeps nobody from revoking a key.
func TestGuessesBesideTheAdministrator(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *server.Config) { c.TrustedProxies = []string{home} })
	var ids []string
	for range 30 {
		ids = append(ids, s.key("a").ID)
	}
	guess := func(header ...string) int {
		return s.do(home, "GET", "http://"+s.manage+"/metrics", "", append(header, "Authorization", "Bearer guess")...).StatusCode
	}
	codes := map[int]int{}
	for range 10 {
		codes[guess("X-Forwarded-For", outside)]++
	}
	require.Equal(t, map[int]int{401: 10}, codes)
	for i, id := range ids {
		codes[guess("X-Forwarded-For", outside)]++
		codes[guess("X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i+1))]++
		codes[guess("X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i+101))]++
		codes[guess()]++
		for method, path := range map[string]string{"DELETE": "/api/v1/keys/" + id, "GET": "/metrics"} {
			a := s.do(home, method, "http://"+s.manage+path, "", "Authorization", "Bearer "+adminToken, "X-Forwarded-For", outside)
			require.Contains(t, []int{200, 204}, a.StatusCode, a.text)
		}
	}
	require.Equal(t, 303, s.form(home, "/login", url.Values{"token": {adminToken}}, "X-Forwarded-For", outside).StatusCode)
	require.Greater(t, codes[429], 30, "%v", codes)
	for _, method := range []string{"X-Forwarded-For", "X-Real-IP"} {
		for i := range guesses.AllBurst {
			codes[guess(method, fmt.Sprintf("198.51.%d.1", i))]++
		}
	}
	require.Greater(t, codes[429], 60, "a new address each time is no way around it: %v", codes)
}

// TestLoginGuesses is the same for the form.
func TestLoginGuesses(t *testing.T) {
	t.Parallel()
	s := start(t)
	codes := map[int]int{}
	var all sync.WaitGroup
	var mu sync.Mutex
	for range 20 {
		all.Go(func() {
			a := s.form("127.0.0.22", "/login", url.Values{"token": {"guess"}}, "X-Forwarded-For", "203.0.113.7")
			mu.Lock()
			codes[a.StatusCode]++
			mu.Unlock()
		})
	}
	all.Wait()
	// One more attempt comes back every six seconds, on a slow machine within this.
	require.Positive(t, codes[429])
	require.Equal(t, 20, codes[401]+codes[429])
	require.Equal(t, 303, s.form("127.0.0.22", "/login", url.Values{"token": {adminToken}}).StatusCode)
}

// TestStrangersAtForwardAuth: only a trusted proxy may ask.
func TestStrangersAtForwardAuth(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *server.Config) { c.TrustedProxies = []string{"127.0.0.9"} })
	k := s.key("a")
	ask := func(from, path string) answer {
		return s.do(from, "GET", "http://"+s.gateway+path, "", "X-API-Key", k.Secret, "X-Forwarded-For", inside, "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/")
	}
	require.Equal(t, 204, ask("127.0.0.9", "/_ipallow/authz").StatusCode)
	for _, path := range []string{"/_ipallow/authz", "/_ipallow/authz/", "/_ipallow", "/_ipallow/x"} {
		require.Equal(t, 404, ask(outside, path).StatusCode, path)
		require.Empty(t, ask(outside, path).Header.Get("X-Ipallow-Key-Id"))
	}
	for _, path := range []string{"/_ipallow%2fauthz", "/%5fipallow/authz", "/_ipallow/auth%7a/", "/_ipallow/./authz", "/x/../_ipallow/authz", "/_IPALLOW/authz", "//_ipallow/authz"} {
		require.NotEqual(t, 204, ask("127.0.0.9", path).StatusCode, path)
		require.NotEqual(t, 204, ask(outside, path).StatusCode, path)
	}
	// The header counts from the proxy alone: a list cannot be passed by writing it.
	require.Equal(t, 403, s.ping(outside, k.Secret, "X-Forwarded-For", inside).StatusCode)
	require.Equal(t, 403, s.ping(outside, k.Secret, "X-Forwarded-For", inside+", 127.0.0.9").StatusCode)
	require.Equal(t, 200, s.ping("127.0.0.9", k.Secret, "X-Forwarded-For", inside).StatusCode)
	require.Equal(t, 403, s.ping("127.0.0.9", k.Secret, "X-Forwarded-For", inside+", "+outside).StatusCode, "the client wrote the first one")
}

// TestStrangersAtExtAuthz: the listener is for Envoy alone, by its address. Who
// reaches it all the same needs a valid key, and cannot bring it down.
func TestStrangersAtExtAuthz(t *testing.T) {
	t.Parallel()
	s := start(t)
	conn, err := grpc.NewClient(s.authz, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	envoy := authv3.NewAuthorizationClient(conn)
	for _, request := range []*authv3.CheckRequest{
		{}, {Attributes: &authv3.AttributeContext{}}, {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}},
		{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: "%zz\x00\n", Headers: map[string]string{"authorization": "Bearer guess", "x-ipallow-key-id": "admin", ":path": "/"},
		}}}},
	} {
		answer, err := envoy.Check(t.Context(), request)
		require.NoError(t, err)
		require.NotNil(t, answer.GetDeniedResponse())
		require.EqualValues(t, 401, answer.GetDeniedResponse().Status.Code)
	}
	large := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{ContextExtensions: map[string]string{"a": strings.Repeat("a", 1<<20)}}}
	_, err = envoy.Check(t.Context(), large)
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x01\x05\x00\x00\x00\x01", "\x16\x03\x01\x00\xa5\x01"} {
		require.Empty(t, raw(t, s.authz, outside, text))
	}
	_, err = envoy.Check(t.Context(), &authv3.CheckRequest{})
	require.NoError(t, err, "it lives")
}

// TestClaims: what a client says of itself does not reach the API behind the
// gateway, and neither does its key.
func TestClaims(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Clone() }))
	t.Cleanup(upstream.Close)
	s := start(t, func(c *server.Config) { c.Upstream = upstream.URL })
	k := s.key("a")
	names := []string{
		"X-Ipallow-Key-Id", "x-ipallow-client", "X_Ipallow_Key_Id", "X-Ipallow-Admin", "X-Forwarded-For", "X_Forwarded_For", "Forwarded", "X-Real-Ip", "X_Real_Ip",
		"X-Request-Id", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-User", "True-Client-Ip", "Cf-Connecting-Ip", "X-Original-Url", "X-Rewrite-Url",
	}
	header := []string{"Connection", "X-Ipallow-Key-Id, X-Ipallow-Client, X-Request-Id, X-Forwarded-For", "Authorization", "Bearer " + k.Secret}
	for _, name := range names {
		header = append(header, name, "forged-by-client")
	}
	require.Equal(t, 200, s.ping(inside, k.Secret, header...).StatusCode)
	seen := <-got
	require.Equal(t, k.ID, seen.Get("X-Ipallow-Key-Id"))
	require.Equal(t, inside, seen.Get("X-Ipallow-Client"))
	require.Equal(t, inside, seen.Get("X-Forwarded-For"))
	for name, values := range seen {
		require.Len(t, values, 1, name)
		require.NotContains(t, values[0], "forged", name)
		require.NotContains(t, values[0], k.Secret, name)
	}
	// With a scope that only reads, no header makes another method of it.
	var reads = s.api("PATCH", "/api/v1/keys/"+k.ID, `{"scopes":["read"]}`)
	require.Equal(t, 200, reads.StatusCode)
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_Http_Method_Override"} {
		require.Equal(t, 403, s.ping(inside, k.Secret, name, "DELETE").StatusCode, name)
	}
	for _, method := range []string{"POST", "DELETE", "get", "GETS", "PROPFIND", "TRACE", "QUERY"} {
		require.Equal(t, 403, s.do(inside, method, "http://"+s.gateway+"/v1/ping", "", "X-API-Key", k.Secret).StatusCode, method)
	}
	require.Empty(t, got, "nothing of these was passed on")
}

// TestComparisons: secrets are compared by their hashes and in constant time. It
// reads the code, since a test that measures would fail by chance.
func TestComparisons(t *testing.T) {
	for file, function := range map[string]string{"../keyring/keyring.go": "Authenticate", "../admin/admin.go": "Check"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		found := false
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Name.Name != function {
				continue
			}
			found = true
			calls := map[string]bool{}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					switch fun := n.Fun.(type) {
					case *ast.SelectorExpr:
						calls[fun.Sel.Name] = true
					case *ast.Ident:
						calls[fun.Name] = true
					}
				case *ast.BinaryExpr:
					if n.Op == token.EQL || n.Op == token.NEQ {
						_, literal := n.Y.(*ast.BasicLit)
						isNil, _ := n.Y.(*ast.Ident)
						require.True(t, literal || isNil != nil && isNil.Name == "nil", "%s compares something with ==", file)
					}
				}
				return true
			})
			require.True(t, calls["ConstantTimeCompare"], file)
			require.True(t, calls["HashSecret"] || calls["Sum256"], file)
		}
		require.True(t, found, "%s has no %s", file, function)
	}
}
