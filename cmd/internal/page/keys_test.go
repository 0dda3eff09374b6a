package page

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

func TestCreateKey(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	require.Contains(t, b.get("/keys").body, "No API keys yet")
	a := b.get("/keys/new")
	require.Equal(t, []string{"read"}, a.form()["scope"])

	// All that is wrong is said at once, and what was typed stays.
	a = b.press(a, "/keys/new", "create", set("name", " "), set("scope"), set("description", "line one\r\nline two"), set("entry", "203.0.113.5/24"), set("label", "Office"))
	require.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
	require.Contains(t, a.body, `id="name-fault"`)
	require.Contains(t, a.body, `id="scopes-fault"`)
	require.Contains(t, a.body, `id="said-0"`)
	require.Contains(t, a.body, "line one\nline two</textarea>")
	keys, _ := r.state()
	require.Empty(t, keys)

	a = b.press(a, "/keys/new", "use:0:203.0.113.0/24", set("name", "Billing"), set("scope", "read", "write"))
	require.Equal(t, "Billing", a.form().Get("name"))
	require.Equal(t, []string{"read", "write"}, a.form()["scope"])
	a = b.press(a, "/keys/new", "addr:127.0.0.1", set("description", "what for"))
	a = b.press(a, "/keys/new", "create", set("label", "Office", ""), set("report_only", "1"), set("description", "what for"))
	require.Equal(t, http.StatusOK, a.StatusCode)
	token := a.form().Get("")
	require.Empty(t, token)
	token = regexp.MustCompile(`ipk_[a-z2-7]{16}_[A-Za-z0-9_-]{43}`).FindString(a.body)
	key := r.ring.Authenticate(token)
	require.NotNil(t, key)
	require.True(t, key.ReportOnly)
	require.Contains(t, a.body, "curl -i -H &#39;Authorization: Bearer "+token+"&#39; http://127.0.0.1:8080/v1/ping")
	require.Equal(t, []string{"203.0.113.0/24 Office", "127.0.0.1"}, r.list(key.ID))
	require.Equal(t, ipallow.Denied, r.check(key.ID, "192.0.2.1"))
	stored, err := r.svc.Key(t.Context(), key.ID)
	require.NoError(t, err)
	require.Equal(t, "what for", stored.Description)

	// It is shown once, here and nowhere else.
	secret := token[len("ipk_"+key.ID+"_"):] // which may have an underscore itself
	for _, path := range []string{keyURL(key.ID, "secret"), "/keys", keyURL(key.ID, "edit"), keyURL(key.ID, "allowlist"), "/audit", "/logs"} {
		require.NotContains(t, b.get(path).body, secret, path)
	}
	require.NotContains(t, r.log.String(), secret)
	require.Contains(t, b.get("/keys").body, "2 entries, report only")
}

// TestSecretWaitsForItsPage: for the session that made it, and not for long.
func TestSecretWaitsForItsPage(t *testing.T) {
	r := newRig(t)
	b, other := r.browser(false).login(), r.browserAt("127.0.0.2", false).login()
	make := func() (path string) {
		t.Helper()
		a := b.post("/keys/new", url.Values{"action": {"create"}, "name": {"x"}, "scope": {"read"}})
		require.Equal(t, http.StatusSeeOther, a.StatusCode)
		return a.Header.Get("Location")
	}
	path := make()
	require.NotContains(t, other.get(path).body, "ipk_", "another session has no part in it")
	head := b.do(r.request(http.MethodHead, path, nil))
	require.Equal(t, http.StatusOK, head.StatusCode)
	require.Contains(t, b.get(path).body, "ipk_")
	require.NotContains(t, b.get(path).body, "ipk_")

	path = make()
	r.clock.add(secretWait)
	require.NotContains(t, b.get(path).body, "ipk_", "too late")

	first := make()
	for range maxSecrets {
		path = make()
	}
	require.NotContains(t, b.get(first).body, "ipk_", "too many wait")
	require.Contains(t, b.get(path).body, "ipk_")
}

func TestEditKey(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	id := r.create("Billing").Key.ID
	path := keyURL(id, "edit")
	a := b.get(path)
	require.Equal(t, "Billing", a.form().Get("name"))
	a = b.press(a, path, "", set("name", ""), set("scope"))
	require.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
	require.Contains(t, a.body, `id="name-fault"`)
	require.Contains(t, a.body, `id="scopes-fault"`)
	a = b.press(b.get(path), path, "", set("name", "Invoices"), set("scope", "write"), set("report_only", "1"), set("description", "d"))
	require.Contains(t, a.body, "“Invoices” is saved")
	key, err := r.svc.Key(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []string{"write"}, key.Scopes.Names())
	require.True(t, key.ReportOnly)
	// A checkbox that is not sent is off.
	b.press(b.get(path), path, "", set("report_only"), func(f url.Values) { delete(f, "report_only") })
	key, err = r.svc.Key(t.Context(), id)
	require.NoError(t, err)
	require.False(t, key.ReportOnly)
}

func TestRotate(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	created := r.create("Billing", "203.0.113.0/24")
	a := b.press(b.get(keyURL(created.Key.ID, "rotate")), keyURL(created.Key.ID, "rotate"), "")
	require.Contains(t, a.body, "The key has a new secret")
	token := regexp.MustCompile(`ipk_[a-z2-7]{16}_[A-Za-z0-9_-]{43}`).FindString(a.body)
	require.NotEqual(t, created.Token, token)
	require.NotNil(t, r.ring.Authenticate(token))
	require.Nil(t, r.ring.Authenticate(created.Token))
	require.Len(t, r.list(created.Key.ID), 1)
}

func TestListOfKeys(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	const n = manage.DefaultLimit*2 + 3
	for i := range n {
		r.clock.add(time.Second)
		r.create(fmt.Sprintf("Key number %03d", i))
	}
	names := regexp.MustCompile(`<bdi>(Key number \d+)</bdi></a>`)
	next := regexp.MustCompile(`href="([^"]*)" rel="next"`)
	visit := func(path string) (all []string) {
		t.Helper()
		for pages := 0; path != ""; pages++ {
			require.Less(t, pages, 10)
			body := b.get(path).body
			for _, m := range names.FindAllStringSubmatch(body, -1) {
				all = append(all, m[1])
			}
			path = ""
			if m := next.FindStringSubmatch(body); m != nil {
				path = strings.ReplaceAll(m[1], "&amp;", "&")
			}
		}
		return all
	}
	all := visit("/keys")
	require.Len(t, all, n)
	for i, name := range all {
		require.Equal(t, fmt.Sprintf("Key number %03d", n-1-i), name, "newest first")
	}
	require.Len(t, visit("/keys?q=NUMBER+00"), 10)
	require.Equal(t, []string{"Key number 042"}, visit("/keys?q=042"))
	require.Contains(t, b.get("/keys?q=no+such").body, "No key found")
	require.Equal(t, http.StatusBadRequest, b.get("/keys?cursor=garbage").StatusCode)
	require.Equal(t, http.StatusOK, b.get("/keys?q="+strings.Repeat("%C3%A4", 2000)).StatusCode)
	require.Equal(t, http.StatusNotFound, b.get("/keys/aaaaaaaaaaaaaaaa/allowlist").StatusCode)
}

func TestLimitsInWords(t *testing.T) {
	require.Equal(t, "Up to 20 entries. IPv4 networks from /9, IPv6 networks from /33. Public addresses only: write the address that requests leave your network from.", limits(ipallow.DefaultPolicy()))
	require.Equal(t, "1,234,567 entries", count(1234567, "entry", "entries"))
	require.Equal(t, "1 entry", count(1, "entry", "entries"))
	now := time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "just now", -time.Hour: "just now", time.Minute: "1 minute ago", 59 * time.Minute: "59 minutes ago", 25 * time.Hour: "1 day ago",
		3 * time.Hour: "3 hours ago", 40 * 24 * time.Hour: "15 Oct 2026",
	} {
		require.Equal(t, want, ago(now, now.Add(-d)), "%v", d)
	}
	require.Equal(t, "never", ago(now, time.Time{}))
}

// A server that must not change keys says why, and what to do.
func TestRefusedChanges(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	id := r.create("a", "203.0.113.0/24").Key.ID
	a := b.get(keyURL(id, "revoke"))
	r.svc.Refuse("Another server has the keys.")
	a = b.press(a, keyURL(id, "revoke"), "")
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Contains(t, a.body, "This server accepts no changes")
	require.Contains(t, a.body, "Nothing was changed. Another server has the keys.")
	k, err := r.svc.Key(t.Context(), id)
	require.NoError(t, err)
	require.True(t, k.Active())
}
