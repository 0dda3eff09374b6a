//go:build unix

package proxies

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/claims"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// A setup is a proxy with its configuration of this directory.
type setup struct {
	name     string
	upstream bool // the gateway passes requests on, and not the proxy
	start    func(t *testing.T, w *world) string
}

var setups = []setup{
	{"nginx", false, func(t *testing.T, w *world) string {
		return start(t, "nginx", func(dir, port string) []string {
			text := configuration(t, "nginx.conf", "listen 80;", "listen 127.0.0.1:"+port+";",
				"127.0.0.1:8080", w.gateway, "127.0.0.1:3000", w.api, "load_module modules", "load_module "+nginxModules(t))
			// What a test needs and a server has: a place for files that it may write.
			text = "user root root; daemon off; worker_processes 1; pid pid; error_log stderr;\n" + strings.Replace(text, "http {", `http {
				access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;`, 1)
			return []string{"-p", dir, "-e", "stderr", "-c", write(t, dir, "nginx.conf", text)}
		})
	}},
	{"caddy", false, func(t *testing.T, w *world) string {
		return start(t, "caddy", func(dir, port string) []string {
			text := configuration(t, "Caddyfile", ":80 {", "http://127.0.0.1:"+port+" {\n\tbind 127.0.0.1",
				"127.0.0.1:8080", w.gateway, "127.0.0.1:3000", w.api)
			text = strings.Replace(text, "http://127.0.0.1:"+port, ":"+port, 1) // of any host name
			write(t, dir, "claims.caddy", configuration(t, "claims.caddy"))
			return []string{"run", "--adapter", "caddyfile", "--config", write(t, dir, "Caddyfile", "{\n\tadmin off\n\tauto_https off\n}\n"+text)}
		})
	}},
	{"haproxy", false, func(t *testing.T, w *world) string { return startHAProxy(t, w, nil, nil) }},
	{"haproxy-front", true, func(t *testing.T, w *world) string {
		return start(t, "haproxy", func(dir, port string) []string {
			text := configuration(t, "haproxy-front.cfg", "bind :80", "bind 127.0.0.1:"+port,
				"server ipallowd 127.0.0.1:8080", "server ipallowd "+w.gateway)
			return []string{"-db", "-f", write(t, dir, "haproxy.cfg", text)}
		})
	}},
}

// startHAProxy starts the HAProxy that asks, with words replaced in the script and in the
// configuration.
func startHAProxy(t *testing.T, w *world, script, conf []string) string {
	return start(t, "haproxy", func(dir, port string) []string {
		write(t, dir, "haproxy.lua", configuration(t, "haproxy.lua", append(script, "127.0.0.1:8080", w.gateway)...))
		text := configuration(t, "haproxy.cfg", append(conf, "bind :80", "bind 127.0.0.1:"+port, "127.0.0.1:3000", w.api,
			"lua-load haproxy.lua", "lua-load "+filepath.Join(dir, "haproxy.lua"))...)
		return []string{"-db", "-f", write(t, dir, "haproxy.cfg", text)}
	})
}

func TestProxies(t *testing.T) {
	for _, s := range setups {
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t, s.upstream)
			addr := s.start(t, w)
			t.Run("answers", func(t *testing.T) { tryAnswers(t, w, addr, s) })
			t.Run("body", func(t *testing.T) { tryBody(t, w, addr) })
			t.Run("attempts", func(t *testing.T) { tryAttempts(t, w, addr) })
			t.Run("reserved", func(t *testing.T) { tryReserved(t, w, addr) })
			for _, token := range []string{w.fullKey, w.readerKey} {
				_, secret, _ := keyring.ParseToken(token)
				require.NotContains(t, w.sent.String(), secret, "a secret at the API")
			}
		})
	}
}

// The answers are those of the gateway, whatever proxy gives them.
func tryAnswers(t *testing.T, w *world, addr string, s setup) {
	for _, test := range []struct {
		from, method, token string
		status              int
		body, challenge     string
	}{
		{inside, "GET", w.fullKey, 200, "hello " + w.full.ID, ""},
		{inside, "POST", w.fullKey, 200, "hello " + w.full.ID, ""},
		{inside, "GET", "", 401, `{"error":{"code":"UNAUTHENTICATED","message":"Request has no valid API key"}}`, `Bearer error="invalid_token"`},
		{outside, "GET", "nonsense", 401, `{"error":{"code":"UNAUTHENTICATED","message":"Request has no valid API key"}}`, `Bearer error="invalid_token"`},
		{inside, "POST", w.readerKey, 403, `{"error":{"code":"INSUFFICIENT_SCOPE","message":"API key does not have the scope write that this request needs"}}`, `Bearer error="insufficient_scope", scope="write"`},
		{outside, "GET", w.readerKey, 403, deniedBody, ""},
	} {
		path := fmt.Sprintf("/answers/%s/%s/%d", test.from, test.method, test.status)
		a := exchange(t, addr, test.from, test.method+" "+path+"?secret=1 HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: Bearer "+test.token+"\r\n\r\n")
		require.Equal(t, test.status, a.status, path)
		require.Equal(t, test.body, a.body, path)
		records := w.recordsOf(path)
		require.Len(t, records, 1, path)
		require.Equal(t, netip.MustParseAddr(test.from), records[0].ClientAddr)
		require.Equal(t, test.method, records[0].Method)
		require.Equal(t, []string{records[0].RequestID}, a.header["X-Request-Id"], path)
		status := test.status
		if status == 200 && !s.upstream {
			status = 204 // what the gateway answered
		}
		require.Equal(t, status, records[0].Status)
		require.NotContains(t, a.header, "X-Ipallow-Body")
		require.NotContains(t, a.header, "X-Ipallow-Key-Id")
		if test.status == 200 {
			require.Equal(t, records[0].RequestID, w.at(path)[0].Get("X-Request-Id"))
			continue
		}
		require.Equal(t, "application/json; charset=utf-8", a.header.Get("Content-Type"), path)
		require.Equal(t, []string{"no-store"}, a.header["Cache-Control"], path)
		require.Equal(t, test.challenge, strings.Join(a.header["Www-Authenticate"], "|"), path)
		require.Empty(t, w.at(path))
	}
}

// Bodies pass the question by.
func tryBody(t *testing.T, w *world, addr string) {
	body := strings.Repeat("0123456789", 50_000)
	for _, head := range []string{fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body), fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)} {
		a := exchange(t, addr, inside, "PUT /body HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n"+authorization(w)+head)
		require.Equal(t, 200, a.status)
		require.Equal(t, fmt.Sprint(len(body)), a.header.Get("X-Body-Length"))
	}
}

func authorization(w *world) string { return "Authorization: Bearer " + w.fullKey + "\r\n" }

// Where the gateway does not answer, nothing is served.
func TestNoAnswerNoService(t *testing.T) {
	for _, s := range setups {
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t, s.upstream)
			w.gateway = "127.0.0.1:" + freePort(t)
			addr := s.start(t, w)
			t.Parallel() // HAProxy tries for a while
			a := exchange(t, addr, inside, "GET /down HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n"+authorization(w)+"\r\n")
			require.GreaterOrEqual(t, a.status, 500)
			require.NotContains(t, a.body, "NOT_READY")
			require.Empty(t, w.at("/down"))
		})
	}
}

// A gateway that is not ready is not taken for one that refuses, or fails.
func TestNotReady(t *testing.T) {
	for _, s := range setups {
		t.Run(s.name, func(t *testing.T) {
			w := newWorldWith(t, s.upstream, "", true)
			addr := s.start(t, w)
			a := exchange(t, addr, inside, "GET /early HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n"+authorization(w)+"\r\n")
			require.Equal(t, 503, a.status, a.body)
			require.Contains(t, a.body, `{"error":{"code":"NOT_READY",`)
			require.Equal(t, []string{"1"}, a.header["Retry-After"])
			require.Equal(t, []string{"no-store"}, a.header["Cache-Control"])
			require.Equal(t, "application/json; charset=utf-8", a.header.Get("Content-Type"))
			require.Len(t, a.header["X-Request-Id"], 1)
			require.Empty(t, w.at("/early"))
		})
	}
}

func tryAttempts(t *testing.T, w *world, addr string) {
	reached, stopped := 0, []string(nil)
	for i, a := range attempts {
		path := fmt.Sprint("/attempt/", i)
		words := strings.NewReplacer("FULL", w.fullKey, "READER", w.readerKey, "ID", w.full.ID, "CLAIM", inside, "PROXY", "127.0.0.1", "PATH", path)
		text := a.text(words)
		got := exchange(t, addr, a.from, text)
		what := fmt.Sprintf("%q: %.400q got %d %.300q", a.reason, text, got.status, got.body)

		require.Empty(t, w.at(path+"/smuggled"), what)
		require.Empty(t, w.recordsOf(path+"/smuggled"), what)
		records := w.recordsOf(path)
		for _, r := range records {
			require.Equal(t, netip.MustParseAddr(a.from), r.ClientAddr, what)
			if method, _, _ := strings.Cut(text, " "); r.Method != "(unknown)" {
				require.Equal(t, method, r.Method, what)
			}
		}
		if len(records) == 0 { // the proxy did not take it
			require.Contains(t, []int{400, 404, 405, 411, 421, 422, 426, 501, 505}, got.status, what)
			require.Empty(t, w.at(path), what)
			stopped = append(stopped, a.reason)
			continue
		}
		reached++
		switch want := a.want; {
		case want == served || want == honest && got.status == 200:
			require.Equal(t, 200, got.status, what)
			told(t, w, path, a, what)
			continue
		case want == unauthenticated:
			require.Equal(t, 401, got.status, what)
		case want == scope:
			require.Equal(t, 403, got.status, what)
			require.Contains(t, got.body, "INSUFFICIENT_SCOPE", what)
		case want == address:
			require.Equal(t, 403, got.status, what)
			require.Equal(t, deniedBody, got.body, what)
		default:
			require.GreaterOrEqual(t, got.status, 400, what)
		}
		require.Empty(t, w.at(path), what)
	}
	require.GreaterOrEqual(t, reached, 40, "stopped before the gateway: %q", stopped)
	t.Logf("%d attempts were decided on; stopped before: %q", reached, stopped)
}

// told checks that the API was told the truth, once, and nothing else under a name
// that it could take for it.
func told(t *testing.T, w *world, path string, a attempt, what string) {
	seen := w.at(path)
	require.Len(t, seen, 1, what)
	key := w.full.ID
	if strings.Contains(a.lines, "READER") {
		key = w.reader.ID
	}
	if seen[0].Get("Connection") != "" { // nginx passes Upgrade on without it, which switches nothing
		for _, protocol := range seen[0]["Upgrade"] {
			require.Equal(t, "websocket", protocol, "no tunnel: %s", what)
		}
	}
	for name, want := range map[string]string{
		"x-ipallow-key-id": key, "x-ipallow-client": a.from, "x-forwarded-for": a.from, "x-request-id": w.recordsOf(path)[0].RequestID,
		"x-forwarded-host": "api.example", "x-forwarded-proto": "http", "x-real-ip": a.from, "forwarded": "",
		"x-forwarded-port": "", "x-forwarded-prefix": "",
		"authorization": "", "x-api-key": "", "x-http-method-override": "", "x-method-override": "",
	} {
		var values []string
		for spelling := range seen[0] {
			if claims.Same(spelling, name) {
				values = append(values, seen[0][spelling]...)
			}
		}
		if want == "" {
			require.Empty(t, values, "%s: %s", name, what)
			continue
		}
		require.Equal(t, []string{want}, values, "%s: %s", name, what)
	}
}

// Clients do not reach the question itself, under any spelling that the proxy or
// the gateway could read as it.
func tryReserved(t *testing.T, w *world, addr string) {
	for _, target := range []string{
		"/_ipallow/authz", "/_ipallow/check", "/_ipallow", "/_ipallow/", "/%5fipallow/authz", "/%5Fipallow%2fauthz", "/_ipallow%2fauthz",
		"//_ipallow/authz", "/x/../_ipallow/authz", "/./_ipallow/authz", "/_ipallow/authz?x=1", "/_ipallow/authz/../authz", "http://127.0.0.1/_ipallow/authz",
		"/%5fipallow/check", "/_ipallow//check",
	} {
		for _, from := range []string{inside, outside} {
			forged := "/forged" + gateway.OriginalPath(target)
			got := exchange(t, addr, from, "GET "+target+" HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nX-Forwarded-For: "+inside+
				"\r\nX-Forwarded-Method: GET\r\nX-Original-Method: GET\r\nX-Forwarded-Uri: "+forged+"\r\nX-Original-URI: "+forged+
				"\r\nAuthorization: Bearer "+w.fullKey+"\r\n\r\n")
			switch { // there is nothing there, or it is a path of the API's like any other
			case from == inside && got.status == 200:
				require.Equal(t, "hello "+w.full.ID, got.body, target)
			case from == outside && got.status == 403:
				require.Equal(t, deniedBody, got.body, target)
			default:
				require.Contains(t, []int{400, 404}, got.status, target)
			}
			require.Empty(t, w.recordsOf(forged), target)
			require.Empty(t, got.header["X-Ipallow-Key-Id"], target)
		}
	}
}
