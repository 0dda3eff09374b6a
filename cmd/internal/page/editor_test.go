package page

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

func set(name string, values ...string) func(url.Values) {
	return func(f url.Values) { f[name] = values }
}

func TestEditAllowlist(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24 Office", "127.0.0.1 here").Key.ID
	path := keyURL(key, "allowlist")

	a := b.get(path)
	require.Equal(t, []string{"203.0.113.0/24", "127.0.0.1"}, a.form()["entry"])
	require.Equal(t, []string{"Office", "here"}, a.form()["label"])

	a = b.press(a, path, "row")
	require.Len(t, a.form()["entry"], 3)
	a = b.press(a, path, "save", set("entry", "203.0.113.0/24", "127.0.0.1", "198.51.100.7"), set("label", "Office", "here", "Build server"))
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Contains(t, a.body, "Saved: 3 entries are in force")
	require.Equal(t, []string{"203.0.113.0/24 Office", "127.0.0.1 here", "198.51.100.7 Build server"}, r.list(key))
	require.Equal(t, ipallow.Allowed, r.check(key, "198.51.100.7"))

	a = b.press(a, path, "remove:0")
	require.Equal(t, []string{"127.0.0.1", "198.51.100.7"}, a.form()["entry"])
	require.Len(t, r.list(key), 3, "nothing is saved yet")
	b.press(a, path, "save")
	require.Equal(t, ipallow.Denied, r.check(key, "203.0.113.9"))
}
