package page

import (
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFormThroughLogin saves a list after the session has ended.
func TestFormThroughLogin(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24").Key.ID
	path := keyURL(key, "allowlist")
	a := b.get(path)
	r.clock.add(sessionIdle)

	a = b.press(a, path, "save", set("entry", "203.0.113.0/24", "198.51.100.7"), set("label", `Büro & "Lab"`, "<b>"))
	require.Equal(t, http.StatusUnauthorized, a.StatusCode)
	require.Contains(t, a.body, "Log in to continue with what you typed")
	require.Equal(t, []string{"203.0.113.0/24"}, r.list(key))

	// A wrong token first: the form stays.
	a = b.press(a, "/login", "", set("token", strings.Repeat("x", 30)))
	require.Equal(t, http.StatusUnauthorized, a.StatusCode)
	a = b.press(a, "/login", "", set("token", adminToken))
	require.Contains(t, a.body, "You are logged in again")
	require.Equal(t, []string{"203.0.113.0/24"}, r.list(key), "not without the user")
	form := a.form()
	require.Equal(t, "save", form.Get("action"))
	require.NotContains(t, form, "token")
	a = b.post(path, form)
	require.Contains(t, a.body, "Saved: 2 entries")
	require.Equal(t, []string{`203.0.113.0/24 Büro & "Lab"`, "198.51.100.7 <b>"}, r.list(key))

	// What leads elsewhere, or is no form, is not sent again.
	for _, f := range []url.Values{
		{"resume_path": {"//evil.example/x"}, "resume": {"a=b"}}, {"resume_path": {"https://evil.example/"}, "resume": {"a=b"}},
		{"resume_path": {"/logout"}, "resume": {"a=b"}}, {"resume_path": {"/keys/new"}, "resume": {"a=%zz"}}, {"resume": {"a=b"}},
	} {
		f.Set("token", adminToken)
		require.NotContains(t, b.post("/login", f).body, "You are logged in again", "%v", f)
	}
}

func TestSessionsThroughRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sessions.json")
	c := &clock{t: time.Unix(1_700_000_000, 0)}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	start := func(token string) *sessions {
		ss := newSessions(c.now)
		ss.file = &sessionFile{path: file, token: token, logger: quiet}
		ss.m = ss.file.load(c.now())
		return ss
	}
	ss := start("one")
	id, ended := ss.open(), ss.open()
	ss.end(ss.find(ended))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(data), id, "who reads the file cannot use a session")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	ss = start("one")
	require.NotNil(t, ss.find(id))
	require.Nil(t, ss.find(ended))
	require.Empty(t, start("another").m, "another token ends all sessions")

	// Use is remembered to a minute, and the limits hold through restarts.
	c.add(sessionIdle - time.Minute)
	require.NotNil(t, ss.find(id))
	ss = start("one")
	c.add(sessionIdle - 2*time.Minute)
	require.NotNil(t, ss.find(id))
	c.add(sessionIdle)
	require.Empty(t, start("one").m)

	for _, damaged := range []string{"", "{", `{"token":"one","sessions":[{"hash":"xyz"}]}`, `{"token":"one","sessions":[{"hash":"` +
		strings.Repeat("ab", sha256.Size) + `","created":"2999-01-01T00:00:00Z","used":"2999-01-01T00:00:00Z"}]}`} {
		require.NoError(t, os.WriteFile(file, []byte(damaged), 0o600))
		require.Empty(t, start("one").m, damaged)
	}
}
