package page

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/guesses"
)

// sessionCookie returns the cookie that an answer sets.
func (a answer) sessionCookie(t *testing.T) *http.Cookie {
	t.Helper()
	cookies := a.Cookies()
	require.Len(t, cookies, 1)
	return cookies[0]
}

// withCookie asks for the list of keys with exactly these cookies.
func (r *rig) withCookie(header string) answer {
	b := r.browser(false)
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.server.URL+"/keys", nil)
	require.NoError(r.t, err)
	req.Header.Set("Cookie", header)
	return b.do(req)
}

func TestCookie(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", overTLS), func(t *testing.T) {
			r := startRig(t, overTLS)
			a := r.browser(false).post("/login", url.Values{"token": {"\n " + adminToken + " \n"}})
			require.Equal(t, http.StatusSeeOther, a.StatusCode)
			require.Equal(t, "/keys", a.Header.Get("Location"))
			c := a.sessionCookie(t)
			require.True(t, c.HttpOnly)
			require.Equal(t, http.SameSiteStrictMode, c.SameSite)
			require.Equal(t, "/", c.Path)
			require.Empty(t, c.Domain)
			require.Len(t, c.Value, 43, "256 bits in base64url")
			require.Equal(t, overTLS, c.Secure)
			require.Equal(t, overTLS, strings.HasPrefix(c.Name, "__Host-"))
			require.Equal(t, http.StatusOK, r.withCookie(c.Name+"="+c.Value).StatusCode)
			if overTLS {
				require.Equal(t, http.StatusSeeOther, r.withCookie(cookieName+"="+c.Value).StatusCode, "a plain cookie is not believed over TLS")
			}
		})
	}
}

// TestSecureCookies: a proxy in front has TLS, the page has none.
func TestSecureCookies(t *testing.T) {
	r := newRig(t, func(o *Options, _ *managerOptions) { o.SecureCookies = true })
	c := r.browser(false).post("/login", url.Values{"token": {adminToken}}).sessionCookie(t)
	require.True(t, c.Secure)
	require.Equal(t, secureCookieName, c.Name)
}

func TestSessionFixation(t *testing.T) {
	r := newRig(t)
	const planted = "ipallow_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	login := func(cookie string) *http.Cookie {
		t.Helper()
		b := r.browser(false)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL+"/login", strings.NewReader(url.Values{"token": {adminToken}}.Encode()))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Cookie", cookie)
		return b.do(req).sessionCookie(t)
	}
	first := login(planted)
	require.NotContains(t, planted, first.Value)
	require.Equal(t, http.StatusSeeOther, r.withCookie(planted).StatusCode, "the planted identifier opens nothing")
	require.Equal(t, http.StatusOK, r.withCookie(first.Name+"="+first.Value).StatusCode)

	// Another login makes another session and ends the one before.
	second := login(first.Name + "=" + first.Value)
	require.NotEqual(t, first.Value, second.Value)
	require.Equal(t, http.StatusSeeOther, r.withCookie(first.Name+"="+first.Value).StatusCode)
	require.Equal(t, http.StatusOK, r.withCookie(second.Name+"="+second.Value).StatusCode)

	// Of two cookies with the name, one was planted.
	require.Equal(t, http.StatusSeeOther, r.withCookie(planted+"; "+second.Name+"="+second.Value).StatusCode)
	require.Equal(t, http.StatusSeeOther, r.withCookie(second.Name+"="+second.Value+"; "+planted).StatusCode)
}

func TestSessionEnds(t *testing.T) {
	t.Run("unused", func(t *testing.T) {
		r := newRig(t)
		b := r.browser(false).login()
		r.clock.add(sessionIdle - time.Second)
		require.Equal(t, http.StatusOK, b.get("/keys").StatusCode)
		r.clock.add(sessionIdle - time.Second)
		require.Equal(t, http.StatusOK, b.get("/keys").StatusCode, "use keeps it open")
		r.clock.add(sessionIdle)
		require.Equal(t, http.StatusSeeOther, b.get("/keys").StatusCode)
	})
	t.Run("used all the time", func(t *testing.T) {
		r := newRig(t)
		b := r.browser(false).login()
		for range 11 {
			r.clock.add(time.Hour)
			require.Equal(t, http.StatusOK, b.get("/keys").StatusCode)
		}
		r.clock.add(time.Hour - time.Second)
		require.Equal(t, http.StatusOK, b.get("/keys").StatusCode)
		r.clock.add(time.Second)
		require.Equal(t, http.StatusSeeOther, b.get("/keys").StatusCode, "12 hours after the login")
	})
	t.Run("logout", func(t *testing.T) {
		r := newRig(t)
		b := r.browser(false)
		c := b.post("/login", url.Values{"token": {adminToken}}).sessionCookie(t)
		a := b.post("/logout", nil)
		require.Equal(t, "/login?out", a.Header.Get("Location"))
		require.Negative(t, a.sessionCookie(t).MaxAge)
		require.Equal(t, http.StatusSeeOther, r.withCookie(c.Name+"="+c.Value).StatusCode, "a copy of the cookie is worth nothing")
		require.Contains(t, b.get("/login?out").body, "You are logged out")
	})
	t.Run("the oldest of too many", func(t *testing.T) {
		c := &clock{t: time.Unix(1, 0)}
		ss := newSessions(c.now)
		first := ss.open()
		c.add(time.Second)
		second := ss.open()
		for range maxSessions {
			c.add(time.Second)
			require.NotNil(t, ss.find(second), "it is in use")
			ss.open()
		}
		require.Nil(t, ss.find(first))
		require.Len(t, ss.m, maxSessions)
	})
}

// TestFormAfterTheSession: what was sent without a session changes nothing and
// is answered in words.
func TestFormAfterTheSession(t *testing.T) {
	r := newRig(t)
	b := r.browser(false).login()
	id := r.create("Billing", "203.0.113.0/24").Key.ID
	a := b.get(keyURL(id, "allowlist"))
	r.clock.add(sessionAbsolute)
	a = b.press(a, keyURL(id, "allowlist"), "save", set("entry", "198.51.100.1"), set("label", ""))
	require.Equal(t, http.StatusUnauthorized, a.StatusCode)
	require.Contains(t, a.body, "Your session has ended, so nothing was changed")
	require.Equal(t, []string{"203.0.113.0/24"}, r.list(id))
}

func TestWrongTokensAreLimited(t *testing.T) {
	r := newRig(t)
	b := r.browserAt("127.0.0.1", false)
	wrong, right := url.Values{"token": {"adm_wrong"}}, url.Values{"token": {adminToken}}
	for range guesses.Burst {
		require.Equal(t, http.StatusUnauthorized, b.post("/login", wrong).StatusCode)
	}
	for range 20 {
		a := b.post("/login", wrong)
		require.Equal(t, http.StatusTooManyRequests, a.StatusCode)
		require.Empty(t, a.Cookies())
		require.Equal(t, "6", a.Header.Get("Retry-After"))
		require.Equal(t, http.StatusSeeOther, b.post("/login", right).StatusCode, "the right one gets in")
	}
	require.Equal(t, http.StatusUnauthorized, r.browserAt("127.0.0.2", false).post("/login", wrong).StatusCode, "others are not concerned")
	r.clock.add(guesses.Every)
	require.Equal(t, http.StatusUnauthorized, b.post("/login", wrong).StatusCode)

	require.Equal(t, guesses.Burst+2, strings.Count(r.log.String(), "wrong token"), "the log has those within the bounds")
	require.NotContains(t, r.log.String(), "adm_", "no token, right or wrong, is logged")
}

func TestLocalPath(t *testing.T) {
	for _, next := range []string{"/keys", "/logs?key=abc&status=4xx", "/keys/aaaaaaaaaaaaaaaa/allowlist?add=192.0.2.1"} {
		require.Equal(t, next, localPath(next))
	}
	for _, next := range []string{
		"", "/", "keys", "//evil.example", "///evil.example", "/\\evil.example", "/%5Cevil.example/..//x\\", "https://evil.example/", "javascript:alert(1)",
		"/\t/evil.example", "/ /evil.example", "\\\\evil.example", "/login", "/login?next=/keys", "/logout", "http:/keys", "/keys/aaaaaaaaaaaaaaaa/secret",
		"/" + strings.Repeat("x", 5000), "/%zz", "/\x00", "//@evil.example/", "/.//evil.example\n",
	} {
		require.Equal(t, "/keys", localPath(next), "%q", next)
	}
}

func TestLoginLeadsBack(t *testing.T) {
	r := newRig(t)
	b := r.browser(false)
	a := b.get("/logs?status=4xx")
	require.Equal(t, "/login?next=%2Flogs%3Fstatus%3D4xx", a.Header.Get("Location"))
	a = b.get(a.Header.Get("Location"))
	require.Equal(t, "/logs?status=4xx", a.form().Get("next"))
	a = b.post("/login", url.Values{"token": {adminToken}, "next": {a.form().Get("next")}})
	require.Equal(t, "/logs?status=4xx", a.Header.Get("Location"))
	require.Equal(t, "/keys", b.get("/login?next=//evil.example").Header.Get("Location"), "who is logged in goes on")
	require.Equal(t, http.StatusSeeOther, b.get("/").StatusCode)
}
