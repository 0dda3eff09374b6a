package page

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// routes are all addresses of the page, with {id} for a key.
var routes = []struct {
	method, path string
	public       bool
	form         url.Values // of a POST that would do something
}{
	{"GET", "/login", true, nil},
	{"POST", "/login", true, url.Values{"token": {adminToken}}},
	{"POST", "/logout", false, url.Values{}},
	{"GET", "/", false, nil},
	{"GET", "/keys", false, nil},
	{"GET", "/keys/new", false, nil},
	{"POST", "/keys/new", false, url.Values{"action": {"create"}, "name": {"made by another site"}, "scope": {"read"}}},
	{"GET", "/keys/{id}", false, nil},
	{"GET", "/keys/{id}/secret", false, nil},
	{"GET", "/keys/{id}/edit", false, nil},
	{"POST", "/keys/{id}/edit", false, url.Values{"name": {"renamed"}, "scope": {"write"}}},
	{"GET", "/keys/{id}/rotate", false, nil},
	{"POST", "/keys/{id}/rotate", false, url.Values{}},
	{"GET", "/keys/{id}/revoke", false, nil},
	{"POST", "/keys/{id}/revoke", false, url.Values{}},
	{"GET", "/keys/{id}/allowlist", false, nil},
	{"GET", "/keys/{id}/allowlist?add=192.0.2.77", false, nil},
	{"POST", "/keys/{id}/allowlist", false, url.Values{"action": {"unrestrict"}, "tag": {"{tag}"}}},
	{"GET", "/logs", false, nil},
	{"GET", "/logs.csv", false, nil},
	{"GET", "/audit", false, nil},
	{"GET", "/nowhere", false, nil},
}

// state is what the Service holds, to see that nothing changed.
func (r *rig) state() (keys []manage.Key, audit []manage.AuditRecord) {
	r.t.Helper()
	k, err := r.svc.Keys(r.t.Context(), manage.KeyQuery{Revoked: true})
	require.NoError(r.t, err)
	a, err := r.svc.Audit(r.t.Context(), manage.AuditQuery{})
	require.NoError(r.t, err)
	return k.Keys, a.Records
}

func (r *rig) tag(id string) string {
	r.t.Helper()
	l, err := r.svc.Allowlist(r.t.Context(), id)
	require.NoError(r.t, err)
	return l.Tag
}

func (r *rig) request(method, path string, form url.Values, header ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+path, strings.NewReader(form.Encode()))
	require.NoError(r.t, err)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func TestOtherSites(t *testing.T) {
	r := newRig(t)
	id := r.create("Billing", "203.0.113.0/24").Key.ID
	b := r.browser(false).login()
	keys, audit := r.state()
	host := strings.TrimPrefix(r.server.URL, "http://")
	for _, route := range routes {
		if route.method != http.MethodPost {
			continue
		}
		path := strings.ReplaceAll(route.path, "{id}", id)
		form := url.Values{}
		for name, values := range route.form {
			form.Set(name, strings.ReplaceAll(values[0], "{tag}", r.tag(id)))
		}
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Site", "same-site"},
			{"Sec-Fetch-Site", "cross-site", "Origin", r.server.URL},
			{"Origin", "https://evil.example"},
			{"Origin", "null"},
			{"Origin", "http://" + host + ".evil.example"},
			{"Origin", "http://127.0.0.1:1"},
		} {
			a := b.do(r.request(route.method, path, form, header...))
			require.Equal(t, http.StatusForbidden, a.StatusCode, "%s %v", path, header)
			require.Empty(t, a.Cookies())
		}
	}
	k, a := r.state()
	require.Equal(t, keys, k)
	require.Equal(t, audit, a)
	require.Equal(t, http.StatusOK, b.get("/keys").StatusCode, "the session goes on")
}

// TestGetChangesNothing: whatever another site has a browser load, and
// whatever a browser loads ahead, changes nothing.
func TestGetChangesNothing(t *testing.T) {
	r := newRig(t)
	id := r.create("Billing", "203.0.113.0/24").Key.ID
	b := r.browser(false).login()
	keys, audit := r.state()
	for _, route := range routes {
		path := strings.ReplaceAll(route.path, "{id}", id)
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
			a := b.do(r.request(method, path+sep(path)+route.form.Encode(), nil, "Sec-Fetch-Site", "same-origin"))
			require.Less(t, a.StatusCode, 500, "%s %s", method, path)
			if method != http.MethodGet && method != http.MethodHead {
				require.GreaterOrEqual(t, a.StatusCode, 400, "%s %s", method, path)
			}
		}
	}
	k, a := r.state()
	require.Equal(t, keys, k)
	require.Equal(t, audit, a)
	require.Equal(t, http.StatusOK, b.get("/keys").StatusCode, "the session goes on")
}

func sep(path string) string {
	if strings.Contains(path, "?") {
		return "&"
	}
	return "?"
}

func TestEveryRouteNeedsASession(t *testing.T) {
	r := newRig(t)
	id := r.create("Top secret name", "203.0.113.0/24 Top secret label").Key.ID
	keys, audit := r.state()
	for _, cookie := range []string{"", cookieName + "=", cookieName + "=wrong", cookieName + "=" + adminToken, secureCookieName + "=x"} {
		b := r.browser(false)
		for _, route := range routes {
			if route.public {
				continue
			}
			a := b.do(r.request(route.method, strings.ReplaceAll(route.path, "{id}", id), route.form, "Cookie", cookie))
			if route.method == http.MethodGet {
				require.Equal(t, http.StatusSeeOther, a.StatusCode, route.path)
				require.True(t, strings.HasPrefix(a.Header.Get("Location"), "/login"), route.path)
			} else {
				require.Equal(t, http.StatusUnauthorized, a.StatusCode, route.path)
			}
			require.NotContains(t, a.body, "Top secret", route.path)
			require.NotContains(t, a.body, "Log out", route.path)
			require.Empty(t, a.Cookies(), route.path)
		}
		// Tokens belong to the login form and nowhere else.
		a := b.do(r.request("GET", "/keys?token="+adminToken, nil, "Authorization", "Bearer "+adminToken))
		require.Equal(t, http.StatusSeeOther, a.StatusCode)
		a = b.do(r.request("GET", "/login?token="+adminToken, nil))
		require.Empty(t, a.Cookies())
		a = b.do(r.request("POST", "/login?token="+adminToken, url.Values{"token": {"wrong"}}))
		require.Contains(t, []int{http.StatusUnauthorized, http.StatusTooManyRequests}, a.StatusCode)
		require.Empty(t, a.Cookies())
	}
	k, a := r.state()
	require.Equal(t, keys, k)
	require.Equal(t, audit, a)
}

var forbiddenMarkup = regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:|https?://[^"]*"[^>]*>\s*</script`)

func TestHeadersOfEveryAnswer(t *testing.T) {
	r := newRig(t)
	id := r.create("Billing", "203.0.113.0/24").Key.ID
	out, in := r.browser(false), r.browser(false).login()
	check := func(a answer, what string) {
		t.Helper()
		h := a.Header
		require.Equal(t, contentPolicy, h.Get("Content-Security-Policy"), what)
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), what)
		require.Equal(t, "DENY", h.Get("X-Frame-Options"), what)
		require.Equal(t, "no-referrer", h.Get("Referrer-Policy"), what)
		require.Equal(t, "same-origin", h.Get("Cross-Origin-Opener-Policy"), what)
		require.Equal(t, "same-origin", h.Get("Cross-Origin-Resource-Policy"), what)
		require.Empty(t, h.Get("Access-Control-Allow-Origin"), what)
		if strings.HasPrefix(what, "/static/") && a.StatusCode == http.StatusOK {
			require.Contains(t, h.Get("Cache-Control"), "immutable", what)
		} else {
			require.Equal(t, "no-store", h.Get("Cache-Control"), what)
		}
		if strings.HasPrefix(h.Get("Content-Type"), "text/html") && a.StatusCode/100 != 3 && a.body != "" {
			require.Contains(t, a.body, `<html lang="en">`, what)
			require.Empty(t, forbiddenMarkup.FindString(a.body), what)
		}
	}
	for _, route := range routes {
		path := strings.ReplaceAll(route.path, "{id}", id)
		check(out.do(r.request(route.method, path, nil)), path)
		if path != "/logout" {
			check(in.do(r.request(route.method, path, nil)), path)
		}
		check(in.do(r.request(http.MethodHead, path, nil)), path)
		check(in.do(r.request(http.MethodPut, path, nil)), path)
		check(in.do(r.request(route.method, path, nil, "Sec-Fetch-Site", "cross-site")), path)
	}
	for _, path := range r.page.assets.url {
		a := out.get(path)
		require.Equal(t, http.StatusOK, a.StatusCode)
		check(a, path)
	}
	for _, path := range []string{"/static/", "/static/app.css", "/static/../page.go", "/static/%2e%2e/page.go", "/static/templates/login.html", "/favicon.ico", "/keys/../../etc/passwd", "//keys", "/keys/%00"} {
		a := in.get(path)
		require.NotEqual(t, http.StatusOK, a.StatusCode, path)
		check(a, path)
	}
}

func TestForms(t *testing.T) {
	r := newRig(t)
	b := r.browser(false).login()
	id := r.create("Billing", "203.0.113.0/24").Key.ID
	path := keyURL(id, "allowlist")

	t.Run("too large", func(t *testing.T) {
		form := url.Values{"tag": {r.tag(id)}, "action": {"save"}, "paste": {strings.Repeat("x", int(r.page.maxForm()))}}
		a := b.post(path, form)
		require.Equal(t, http.StatusRequestEntityTooLarge, a.StatusCode)
		require.Contains(t, a.body, "too much at once")
		require.Equal(t, http.StatusRequestEntityTooLarge, b.post("/login", url.Values{"token": {strings.Repeat("x", int(3*r.page.maxForm())+16<<10)}}).StatusCode)
	})
	t.Run("too many rows", func(t *testing.T) {
		n := r.page.maxRows() + 1
		form := url.Values{"tag": {r.tag(id)}, "action": {"row"}, "entry": make([]string, n), "label": make([]string, n)}
		require.Equal(t, http.StatusBadRequest, b.post(path, form).StatusCode)
	})
	t.Run("rows of unequal length", func(t *testing.T) {
		require.Equal(t, http.StatusBadRequest, b.post(path, url.Values{"tag": {r.tag(id)}, "action": {"save"}, "entry": {"1.1.1.1", "1.0.0.1"}, "label": {"x"}}).StatusCode)
	})
	t.Run("no tag", func(t *testing.T) {
		require.Equal(t, http.StatusBadRequest, b.post(path, url.Values{"action": {"save"}, "entry": {"1.1.1.1"}, "label": {"x"}}).StatusCode)
	})
	t.Run("an unknown button", func(t *testing.T) {
		for _, action := range []string{"", "delete", "remove", "remove:x", "use:9:1.1.1.1", "use:-1:1.1.1.1", "row:row", "SAVE"} {
			a := b.post(path, url.Values{"tag": {r.tag(id)}, "action": {action}, "entry": {"1.1.1.1"}, "label": {""}})
			require.Less(t, a.StatusCode, 500, action)
		}
	})
	t.Run("another content type", func(t *testing.T) {
		for _, typ := range []string{"", "text/plain", "application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded-not"} {
			req := r.request("POST", path, url.Values{"tag": {r.tag(id)}, "action": {"unrestrict"}})
			req.Header.Set("Content-Type", typ)
			require.Equal(t, http.StatusBadRequest, b.do(req).StatusCode, typ)
		}
	})
	t.Run("in the query", func(t *testing.T) {
		form := url.Values{"tag": {r.tag(id)}, "action": {"unrestrict"}}
		require.Equal(t, http.StatusBadRequest, b.post(path+"?"+form.Encode(), nil).StatusCode)
	})
	require.Equal(t, []string{"203.0.113.0/24"}, r.list(id))
}
