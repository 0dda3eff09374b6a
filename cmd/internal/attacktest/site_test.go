package attacktest

import (
	"encoding/csv"
	"html"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/server"
)

// TestOtherSites: what another site has a browser send changes nothing, with the
// session's cookie too (which SameSite=Strict keeps away in the first place).
func TestOtherSites(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	cookie := s.login(home)
	before := s.api("GET", "/api/v1/audit", "").text
	for path, form := range map[string]url.Values{
		"/login": {"token": {adminToken}}, "/logout": {}, "/keys/new": {"action": {"create"}, "name": {"evil"}, "scope": {"read"}},
		"/keys/" + k.ID + "/revoke": {}, "/keys/" + k.ID + "/rotate": {}, "/keys/" + k.ID + "/edit": {"name": {"evil"}, "scope": {"read"}},
		"/keys/" + k.ID + "/allowlist": {"action": {"unrestrict"}},
	} {
		for _, header := range [][]string{
			{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
			{"Origin", "http://" + s.gateway}, {"Origin", "https://evil.example", "X-HTTP-Method-Override", "GET"},
		} {
			a := s.form(home, path, form, append(header, "Cookie", cookie)...)
			require.Equal(t, 403, a.StatusCode, "%s %q", path, header)
			require.Empty(t, a.Cookies())
		}
	}
	// To scripts of other sites the API gives no leave, and a cookie is no token.
	for _, path := range []string{"/api/v1/keys", "/api/v1/keys/" + k.ID, "/metrics", "/api/openapi.json"} {
		for _, method := range []string{"OPTIONS", "GET", "POST", "DELETE"} {
			a := s.do(home, method, "http://"+s.manage+path, "", "Origin", "https://evil.example", "Cookie", cookie,
				"Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "authorization", "Access-Control-Request-Private-Network", "true")
			require.Equal(t, 401, a.StatusCode, "%s %s", method, path)
			for name := range a.Header {
				require.False(t, strings.HasPrefix(name, "Access-Control-"), name)
			}
		}
	}
	require.Equal(t, before, s.api("GET", "/api/v1/audit", "").text)
	require.Equal(t, 200, s.page("/keys", cookie).StatusCode, "the session goes on")
}

// TestRebinding: a site whose name was turned to this address is of one origin with
// the page for a browser. It gets 421 for whatever it asks, with a token or a session too,
// and no answer tells it what the right name is.
func TestRebinding(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *server.Config) {
		c.TrustedProxies = []string{home}
		c.Hosts = []string{"ipallow.example.com", "*.proxied.example"}
	})
	k := s.key("hidden name")
	cookie := s.login(home)
	before := s.api("GET", "/api/v1/audit", "").text
	foreign := []string{
		"evil.example:8081", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1.nip.io", "x.ipallow.example.com", "proxied.example",
		"a.b.proxied.example", "ipallow.example.com.evil.example", "evil-localhost", "127.1", "2130706433", "0x7f.1", "[::1].evil.example", ".", ":8081", "*",
	}
	paths := []string{
		"/", "/login", "/keys", "/logs", "/logs.csv", "/audit", "/keys/" + k.ID + "/allowlist", "/static/app.css", "/nowhere",
		"/api/v1/keys", "/api/openapi.json", "/metrics", "/healthz", "/readyz",
	}
	for _, host := range foreign {
		as := []string{"Host", host, "Origin", "http://" + host, "Sec-Fetch-Site", "same-origin", "Cookie", cookie, "Authorization", "Bearer " + adminToken, "X-Forwarded-Host", s.manage}
		for _, path := range paths {
			a := s.do(home, "GET", "http://"+s.manage+path, "", as...)
			require.Equal(t, 421, a.StatusCode, "%s of %q", path, host)
			require.Contains(t, a.text, "--host", "it says what to do where the name is one of the server's")
			require.NotContains(t, a.text, "hidden name")
			require.NotContains(t, a.text, s.manage)
			require.Empty(t, a.Header.Get("Location"))
			require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
			if strings.HasPrefix(path, "/api/") {
				require.Contains(t, a.text, `"code":"WRONG_HOST"`)
				require.NotEmpty(t, a.Header.Get("X-Request-Id"))
			}
		}
		for _, path := range []string{"/login", "/keys/new", "/keys/" + k.ID + "/revoke", "/logout"} {
			require.Equal(t, 421, s.form(home, path, url.Values{"token": {adminToken}, "name": {"evil"}}, as...).StatusCode, path)
		}
		require.Equal(t, 421, s.do(home, "DELETE", "http://"+s.manage+"/api/v1/keys/"+k.ID, "", as...).StatusCode)
	}
	// The target in its absolute form counts, whatever Host says (RFC 9112, section 3.2.2).
	a := raw(t, s.manage, home, "GET http://evil.example/keys HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
	require.Len(t, a, 1)
	require.Equal(t, 421, a[0].StatusCode)
	require.Equal(t, before, s.api("GET", "/api/v1/audit", "").text, "nothing was changed")
	require.Equal(t, 200, s.ping(inside, k.Secret).StatusCode)
	require.Contains(t, s.said.String(), "if it is, add --host")

	machine, err := os.Hostname()
	require.NoError(t, err)
	for _, host := range []string{
		s.manage, "127.0.0.1", "127.0.0.1:8081", "localhost:8081", "LOCALHOST", "localhost.", "ipallow.localhost", "[::1]:8081", "[2001:db8::1]", "192.168.1.20:9000",
		"10.1.2.3", machine + ":8081", machine + ".local", "ipallow.example.com", "Ipallow.Example.COM.:443", "eu.proxied.example:8443",
	} {
		a := s.do(home, "GET", "http://"+s.manage+"/keys", "", "Host", host, "Cookie", cookie)
		require.Equal(t, 200, a.StatusCode, "%q", host)
		require.Contains(t, a.text, "hidden name")
	}
	a = raw(t, s.manage, home, "GET /healthz HTTP/1.0\r\nConnection: close\r\n\r\n")
	require.Len(t, a, 1)
	require.Equal(t, 200, a[0].StatusCode, "a health check of a load balancer has no Host")
	// The gateway is asked by whatever name its API has.
	require.Equal(t, 200, s.ping(inside, k.Secret, "Host", "evil.example").StatusCode)
}

// TestSessions: fixation, the cookie's attributes, and that logout ends it.
func TestSessions(t *testing.T) {
	t.Parallel()
	s := start(t)
	const planted = "ipallow_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	a := s.form(home, "/login", url.Values{"token": {adminToken}}, "Cookie", planted)
	require.Equal(t, 303, a.StatusCode)
	c := a.Cookies()[0]
	require.True(t, c.HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, c.SameSite)
	require.Equal(t, "/", c.Path)
	require.Empty(t, c.Domain, "it goes to this host alone")
	require.Positive(t, c.MaxAge)
	require.GreaterOrEqual(t, len(c.Value), 43, "256 bits")
	require.Equal(t, 303, s.page("/keys", planted).StatusCode)
	real := c.Name + "=" + c.Value
	require.Equal(t, 200, s.page("/keys", real).StatusCode)
	require.Equal(t, 303, s.page("/keys", planted+"; "+real).StatusCode, "one of the two was planted")
	require.Equal(t, 303, s.page("/keys", real+"x").StatusCode)
	require.NotEqual(t, c.Value, s.form(home, "/login", url.Values{"token": {adminToken}}).Cookies()[0].Value)

	require.Equal(t, 303, s.form(home, "/logout", nil, "Cookie", real).StatusCode)
	require.Equal(t, 303, s.page("/keys", real).StatusCode, "a copy is worth nothing")
	require.Equal(t, 401, s.form(home, "/keys/new", url.Values{"name": {"a"}}, "Cookie", real).StatusCode)
}

// TestRedirects: the login leads to pages of its own.
func TestRedirects(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i, next := range []string{
		"https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "///evil.example", "/%09/evil.example", "/\t/evil.example", "javascript:alert(1)",
		"/.//evil.example", "http:evil.example", "/\x00/evil.example", "//@evil.example", "/logout", "/keys/..//evil.example",
	} {
		from := "127.0.1." + string(rune('1'+i%9)) // attempts are limited by address
		a := s.form(from, "/login", url.Values{"token": {adminToken}, "next": {next}})
		require.Equal(t, 303, a.StatusCode, "%q", next)
		to, err := url.Parse(a.Header.Get("Location"))
		require.NoError(t, err)
		require.Empty(t, to.Host, "%q", next)
		require.Empty(t, to.Scheme, "%q", next)
		require.Regexp(t, `^/[a-z%]`, a.Header.Get("Location"), "%q", next)
	}
}

// TestFrames: every page forbids being framed, and everything that is not its own.
func TestFrames(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	cookie := s.login(home)
	for _, c := range []string{cookie, ""} {
		for _, path := range []string{"/login", "/", "/keys", "/keys/new", "/keys/" + k.ID + "/allowlist", "/keys/" + k.ID + "/secret", "/logs", "/logs.csv", "/audit", "/nowhere"} {
			h := s.page(path, c).Header
			require.Equal(t, "DENY", h.Get("X-Frame-Options"), path)
			require.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'", path)
			require.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'none'", path)
			require.NotContains(t, h.Get("Content-Security-Policy"), "unsafe", path)
			require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), path)
			require.Equal(t, "no-referrer", h.Get("Referrer-Policy"), path)
			require.Equal(t, "no-store", h.Get("Cache-Control"), path)
		}
	}
}

var formula = regexp.MustCompile("^[\\s\"\u200b\ufeff]*[=+\\-@＝＋－＠−]")

// TestStoredTexts: texts of the administrator, and those that a stranger puts into
// the usage log, are texts wherever they are shown.
func TestStoredTexts(t *testing.T) {
	t.Parallel()
	s := start(t)
	cookie := s.login(home)
	for _, text := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</textarea></title><svg onload=alert(1)>`, `' onfocus=alert(1) autofocus='`, `<!--<script>`,
		`=cmd|'/c calc'!A0`, `+1+1`, `-1`, `@SUM(A1)`, `＝1+1`, "admin\u202egpj.exe", `;=1;`,
	} {
		k := s.key(text)
		target := (&url.URL{Scheme: "http", Host: s.gateway, Path: "/" + text}).String()
		require.Equal(t, 401, s.do(outside, "GET", target, "").StatusCode)
		require.Equal(t, 403, s.do(outside, "GET", target, "", "X-API-Key", k.Secret).StatusCode)
		for _, method := range []string{"+GET", "-1"} { // a method is a token, which may begin so
			require.Equal(t, 403, s.do(outside, method, "http://"+s.gateway+"/", "", "X-API-Key", k.Secret).StatusCode)
		}
		// A target that is no path is recorded as it came.
		raw(t, s.gateway, outside, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		s.stored()
		for _, path := range []string{"/keys", "/logs", "/audit", "/keys/" + k.ID + "/allowlist", "/keys/" + k.ID + "/edit"} {
			a := s.page(path, cookie)
			require.Equal(t, 200, a.StatusCode, path)
			if strings.ContainsAny(text, "<>") {
				require.NotContains(t, a.text, text, path)
				require.NotRegexp(t, `(?i)<img src=x|<svg onload|<!--<script`, a.text, path)
			}
			require.NotRegexp(t, `<[^>"']*\s(onfocus|onerror|onload)=`, a.text, path)
			require.Equal(t, 1, strings.Count(a.text, "<script"), path)
			require.NotContains(t, html.UnescapeString(a.text), "\u202e", path)
		}
		for _, a := range []answer{s.api("GET", "/api/v1/logs.csv", ""), s.page("/logs.csv", cookie)} {
			rows, err := csv.NewReader(strings.NewReader(a.text)).ReadAll()
			require.NoError(t, err)
			require.Greater(t, len(rows), 4)
			for _, row := range rows {
				require.Len(t, row, len(rows[0]))
				for _, cell := range row {
					require.NotRegexp(t, formula, cell)
				}
			}
			require.Contains(t, a.text, "'+GET")
			require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
			require.Contains(t, a.Header.Get("Content-Disposition"), "attachment")
		}
		a := s.api("GET", "/api/v1/logs", "")
		require.Equal(t, "application/json; charset=utf-8", a.Header.Get("Content-Type"))
		require.NotContains(t, a.text, "<")
	}
}

var quoted = regexp.MustCompile(`"(\\.|[^"\\])*"`)

// TestLogLines: line ends and terminal sequences of a stranger begin no line in
// the server's log, and no record in the usage log.
func TestLogLines(t *testing.T) {
	t.Parallel()
	s := start(t)
	const forged = "\r\ntime=2026-01-01T00:00:00Z level=ERROR msg=forged\n\x1b[2J\x1b]0;forged\x07\u2028\u0085"
	target := (&url.URL{Scheme: "http", Host: s.gateway, Path: "/a" + forged}).String()
	require.Equal(t, 401, s.do(outside, "GET", target, "", "User-Agent", "a\tb").StatusCode)
	path := (&url.URL{Scheme: "http", Host: s.manage, Path: "/a" + forged}).String()
	require.Equal(t, 403, s.do(outside, "POST", path, "", "Origin", "https://evil.example\tforged").StatusCode)
	require.Equal(t, 401, s.do(outside, "GET", "http://"+s.manage+"/api/"+url.PathEscape(forged), "", "Authorization", "Bearer guess").StatusCode)
	s.stored()
	lines := strings.Split(strings.TrimSpace(s.said.String()), "\n")
	found := 0
	for _, line := range lines {
		require.True(t, strings.HasPrefix(line, "time="), "%q", line)
		require.NotContains(t, line, "\x1b")
		if strings.Contains(line, "forged") {
			require.NotContains(t, quoted.ReplaceAllString(line, ""), "forged")
			found++
		}
	}
	require.GreaterOrEqual(t, found, 2, "it was logged")
	text := s.api("GET", "/api/v1/logs.csv", "").text
	require.Equal(t, strings.Count(text, "\r\n"), strings.Count(text, "\n"))
	require.Equal(t, 2, strings.Count(text, "\n"), "a header and one record")
	require.NotContains(t, text, "\x1b")
}
