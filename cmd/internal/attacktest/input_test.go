package attacktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBodies: JSON that two readers understand in two ways, or that costs more
// than it is worth, is refused whole and changes nothing.
func TestBodies(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("before")
	before := s.api("GET", "/api/v1/keys/"+k.ID, "").text
	for name, body := range map[string]string{
		"repeated name":       `{"name":"a","name":"b"}`,
		"repeated, escaped":   `{"name":"a","n\u0061me":"b"}`,
		"other case":          `{"Name":"a"}`,
		"null":                `{"name":null}`,
		"two values":          `{"name":"a"}{"name":"b"}`,
		"array":               `[{"name":"a"}]`,
		"comment":             `{"name":"a"/**/}`,
		"trailing comma":      `{"name":"a",}`,
		"BOM":                 "\ufeff" + `{"name":"a"}`,
		"not UTF-8":           "{\"name\":\"a\xff\"}",
		"half a surrogate":    `{"name":"\ud800"}`,
		"deep":                `{"name":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"deep, open":          strings.Repeat(`{"name":`, 20_000),
		"huge number":         `{"name":1e999999999}`,
		"long number":         `{"report_only":` + strings.Repeat("9", 100_000) + `}`,
		"assignment: id":      `{"name":"a","id":"aaaaaaaaaaaaaaaa"}`,
		"assignment: secret":  `{"name":"a","secret":"ipk_` + k.ID + `_` + strings.Repeat("A", 43) + `"}`,
		"assignment: status":  `{"name":"a","status":"active"}`,
		"assignment: revoked": `{"name":"a","revoked_at":"2026-01-01T00:00:00Z"}`,
		"assignment: list":    `{"name":"a","allowlist":[]}`,
		"assignment: proto":   `{"name":"a","__proto__":{"admin":true}}`,
		"NUL":                 `{"name":"a\u0000b"}`,
		"line ends":           `{"name":"a\r\nb"}`,
		"long name":           `{"name":"` + strings.Repeat("a", 101) + `"}`,
		"long description":    `{"description":"` + strings.Repeat("a", 1001) + `"}`,
		"no scopes":           `{"scopes":[]}`,
		"unknown scope":       `{"scopes":["admin"]}`,
		"gzip":                "\x1f\x8b\x08\x00\x00\x00\x00\x00",
	} {
		a := s.api("PATCH", "/api/v1/keys/"+k.ID, body)
		require.Contains(t, []int{400, 422}, a.StatusCode, "%s: %s", name, a.text)
		require.Less(t, len(a.text), 2000, name)
	}
	require.Equal(t, 415, s.api("PATCH", "/api/v1/keys/"+k.ID, `{"name":"a"}`, "Content-Encoding", "gzip").StatusCode)
	require.Equal(t, before, s.api("GET", "/api/v1/keys/"+k.ID, "").text)
	require.Equal(t, 200, s.ping(inside, k.Secret).StatusCode)
}

// TestOversized: everything has a limit, and an answer beyond it.
func TestOversized(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	large := strings.Repeat("a", 200<<10)
	for _, addr := range []string{s.gateway, s.manage} {
		for name, text := range map[string]string{
			"header":      "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + large + "\r\n\r\n",
			"many":        "GET / HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("A: b\r\n", 30_000) + "\r\n",
			"credentials": "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + large + "\r\n\r\n",
			"path":        "GET /" + large + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"query":       "GET /?" + large + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"method":      large + " / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		} {
			for _, a := range raw(t, addr, outside, text) { // a reset may overtake the answer
				require.Contains(t, []int{400, 431}, a.StatusCode, name)
			}
		}
	}
	entry := func(i int) string { return fmt.Sprintf(`{"entry":"127.1.%d.%d"}`, i/256, i%256) }
	var many []string
	for i := range 5000 {
		many = append(many, entry(i))
	}
	list := func(entries ...string) string { return `{"entries":[` + strings.Join(entries, ",") + `]}` }
	path := "/api/v1/keys/" + k.ID + "/allowlist"
	for _, test := range []struct {
		method, path, body string
		status             int
	}{
		{"PUT", path, `{"entries":[],"x":"` + strings.Repeat("a", 300<<10) + `"}`, 413},
		{"PUT", path, list(many...), 422},
		{"PUT", path, list(`{"entry":"` + strings.Repeat("1", 100_000) + `"}`), 422},
		{"PUT", path, list(`{"entry":"` + inside + `","label":"` + strings.Repeat("ä", 101) + `"}`), 422},
		{"PUT", path, list(`{"entry":"0.0.0.0/0"}`), 422},
		{"POST", path + "/check", `{"addresses":["` + strings.Repeat(`127.0.0.1","`, 1001) + `127.0.0.1"]}`, 422},
		{"GET", "/api/v1/keys?search=" + strings.Repeat("a", 5000), "", 400},
		{"GET", "/api/v1/keys?cursor=" + strings.Repeat("A", 4000), "", 400},
		{"GET", "/api/v1/keys?limit=99999999999999999999", "", 400},
		{"GET", "/api/v1/logs?limit=1001", "", 400},
		{"GET", "/api/v1/logs?cursor=" + strings.Repeat("A", 4000), "", 400},
		{"GET", "/api/v1/logs/summary?width=1s&from=1970-01-01&to=2261-01-01", "", 400},
		{"GET", "/api/v1/keys/" + strings.Repeat("a", 10_000), "", 404},
	} {
		a := s.api(test.method, test.path, test.body)
		require.Equal(t, test.status, a.StatusCode, "%s %.60s: %.300s", test.method, test.path, a.text)
	}
	cookie := s.login(home)
	for path, form := range map[string]url.Values{
		"/login":                         {"token": {large}},
		"/keys/" + k.ID + "/edit":        {"name": {large}},
		"/keys/" + k.ID + "/allowlist":   {"action": {"save"}, "entry": {strings.Repeat(large, 40)}},
		"/keys/new":                      {"action": {"create"}, "paste": {strings.Repeat(large, 40)}},
		"/keys/" + k.ID + "/allowlist?x": {"action": {"save"}, "entry": make([]string, 5000), "label": make([]string, 5000)},
	} {
		a := s.form(home, path, form, "Cookie", cookie)
		require.Contains(t, []int{400, 413}, a.StatusCode, path)
	}
	require.Equal(t, 200, s.ping(inside, k.Secret).StatusCode, "the list is as it was")
	// A path of 60 kB is answered, and recorded no longer than a record may be.
	require.Equal(t, 401, s.do(outside, "GET", "http://"+s.gateway+"/"+large[:60_000], "").StatusCode)
	s.stored()
	require.Less(t, len(s.api("GET", "/api/v1/logs?limit=1", "").text), 3000)
}

// TestSplitting: line ends in whatever becomes part of an answer's header begin
// no header of their own.
func TestSplitting(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	cookie := s.login(home)
	const evil = "%0d%0aX-Evil:%20yes%0d%0a%0d%0a<script>"
	for _, path := range []string{"/" + evil, "/login?next=/" + evil, "/keys/" + evil, "/keys/" + k.ID + evil + "/edit", "/keys?cursor=" + evil, "/logs.csv?status=" + evil, "/static/" + evil} {
		for _, c := range []string{cookie, ""} {
			a := s.do(home, "GET", "http://"+s.manage+path, "", "Cookie", c)
			require.Empty(t, a.Header.Get("X-Evil"), path)
			require.NotContains(t, a.text, "<script>", path)
		}
	}
	for _, path := range []string{"/api/v1/keys/" + evil, "/api/v1/keys?search=" + evil} {
		a := s.api("GET", path, "")
		require.Empty(t, a.Header.Get("X-Evil"), path)
		require.NotContains(t, a.text, "<script>", path)
	}
	for _, secret := range []string{k.Secret, ""} {
		a := s.do(inside, "GET", "http://"+s.gateway+"/"+evil, "", "X-API-Key", secret, "X-Request-Id", "forged")
		require.Empty(t, a.Header.Get("X-Evil"))
		require.NotEqual(t, "forged", a.Header.Get("X-Request-Id"))
	}
}

// TestStatements: what is searched and filtered by is never part of a statement.
func TestStatements(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("o'brien")
	require.Equal(t, 200, s.ping(inside, k.Secret).StatusCode)
	s.stored()
	cookie := s.login(home)
	for _, text := range []string{
		`' OR '1'='1`, `'; DROP TABLE keys; --`, `" OR 1=1 --`, `%`, `_`, `\`, `*`, `a' UNION SELECT hash FROM keys --`, "\x00", `') OR 1=1 --`, `1; ATTACH DATABASE '/tmp/x' AS x`,
	} {
		q := url.QueryEscape(text)
		var page struct{ Keys []any }
		a := s.api("GET", "/api/v1/keys?search="+q, "")
		require.Equal(t, 200, a.StatusCode)
		require.NoError(t, json.Unmarshal([]byte(a.text), &page))
		require.Empty(t, page.Keys, "%q", text)
		for _, path := range []string{"logs?key=", "logs?method=", "logs?status=", "logs?verdict=", "logs?from=", "logs?to=", "logs?cursor=", "logs.csv?key=", "logs/summary?key=", "audit?key=", "audit?cursor=", "keys?cursor="} {
			a := s.api("GET", "/api/v1/"+path+q, "")
			if path == "logs?method=" && text == "_" { // which might be a method
				require.JSONEq(t, `{"records":[],"next":""}`, a.text)
				continue
			}
			require.Equal(t, 400, a.StatusCode, "%s%q", path, text)
		}
		for _, path := range []string{"/keys?q=", "/logs?key=", "/logs?method=", "/logs?status=", "/logs?cursor=", "/audit?key=", "/audit?cursor="} {
			require.Less(t, s.page(path+q, cookie).StatusCode, 500, "%s%q", path, text)
		}
		require.NotContains(t, s.page("/keys?q="+q, cookie).text, k.ID, "%q", text)
	}
	require.Contains(t, s.api("GET", "/api/v1/keys?search="+url.QueryEscape("o'b"), "").text, k.ID)
	require.Equal(t, 200, s.ping(inside, k.Secret).StatusCode, "all is there")
}

// TestLostUpdates: of many editors who saw the same list one succeeds.
func TestLostUpdates(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	path := "/api/v1/keys/" + k.ID + "/allowlist"
	tag := s.api("GET", path, "").Header.Get("ETag")
	codes := map[int]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			a := s.api("PUT", path, fmt.Sprintf(`{"entries":[{"entry":"127.3.0.%d"}],"confirm_lockout":true}`, i), "If-Match", tag)
			mu.Lock()
			codes[a.StatusCode]++
			mu.Unlock()
		})
	}
	all.Wait()
	require.Equal(t, map[int]int{http.StatusOK: 1, http.StatusPreconditionFailed: 11}, codes)
}
