package page

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

func set(name string, values ...string) func(url.Values) {
	return func(f url.Values) { f[name] = values }
}

func rows(entries ...string) func(url.Values) {
	return func(f url.Values) { f["entry"], f["label"] = entries, make([]string, len(entries)) }
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
	a = b.press(a, path, "save", set("entry", "203.0.113.0/24", "127.0.0.1", " 198.51.100.7 "), set("label", "Office", "here", "Build server"))
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Contains(t, a.body, "Saved: 3 entries are in force")
	require.Equal(t, []string{"203.0.113.0/24 Office", "127.0.0.1 here", "198.51.100.7 Build server"}, r.list(key))
	require.Equal(t, ipallow.Allowed, r.check(key, "198.51.100.7"))
	require.NotContains(t, b.get(path).body, "Saved:", "it is said once")

	a = b.press(a, path, "remove:0")
	require.Equal(t, []string{"127.0.0.1", "198.51.100.7"}, a.form()["entry"])
	require.Len(t, r.list(key), 3, "nothing is saved yet")
	b.press(a, path, "save")
	require.Equal(t, ipallow.Denied, r.check(key, "203.0.113.9"))

	// Empty rows are no entries.
	a = b.press(b.get(path), path, "save", rows("", "127.0.0.1", "", "198.51.100.7", ""))
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Equal(t, []string{"127.0.0.1", "198.51.100.7"}, r.list(key))
}

func TestFaultsBesideTheirRows(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "127.0.0.1").Key.ID
	path := keyURL(key, "allowlist")
	a := b.press(b.get(path), path, "save",
		set("entry", "127.0.0.1", "203.0.113.5/24", "", "fe80::1%eth0", "127.0.0.1/32", "", "192.0.2.1"),
		set("label", "", "", "", "", "", "label alone", strings.Repeat("x", 101)))
	require.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
	require.Equal(t, []string{"127.0.0.1"}, r.list(key))
	require.Contains(t, a.body, "5 rows need a correction")
	said := func(n string) string {
		t.Helper()
		_, rest, ok := strings.Cut(a.body, `id="said-`+n+`"`)
		require.True(t, ok, "row %s says nothing", n)
		text, _, _ := strings.Cut(rest, "</li>")
		return text
	}
	require.Contains(t, said("1"), `value="use:1:203.0.113.0/24"`)
	require.Contains(t, said("1"), `value="use:1:203.0.113.5"`)
	require.Contains(t, said("3"), `value="use:3:fe80::1"`)
	require.Contains(t, said("4"), "in row 1", "rows are counted as they are shown, empty ones too")
	require.Contains(t, said("5"), "empty")
	require.Contains(t, said("6"), "101 characters")
	require.NotContains(t, a.body, `id="said-0"`)
	require.NotContains(t, a.body, `id="said-2"`)
	require.Equal(t, 5, strings.Count(a.body, `aria-invalid="true"`))

	a = b.press(a, path, "use:1:203.0.113.0/24")
	require.Equal(t, "203.0.113.0/24", a.form()["entry"][1])
	require.Contains(t, a.body, "4 rows need a correction")

	// Warnings stop nothing.
	a = b.press(b.get(path), path, "save", rows("127.0.0.1", "", "203.0.113.0/24", "203.0.113.7"))
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Contains(t, a.body, "Row 2, 203.0.113.0/24, covers it already")

	// More entries than the policy allows.
	var many []string
	for i := range 21 {
		many = append(many, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String())
	}
	a = b.press(b.get(path), path, "save", rows(many...))
	require.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
	require.Contains(t, a.body, "21 entries")
	require.Len(t, a.form()["entry"], 21)
	require.Len(t, r.list(key), 3)
}

func TestAddFromTheLog(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24", "2001:db8:1::/48").Key.ID
	for add, want := range map[string]string{
		"198.51.100.7":          "198.51.100.7",
		"::ffff:198.51.100.7":   "198.51.100.7",
		"2001:db8:2::1":         "2001:db8:2::1",
		"fe80::1%25eth0":        "fe80::1",
		"203.0.113.9":           "", // is in the list
		"::ffff:203.0.113.9":    "",
		"2001:db8:1:0:0:0:0:9":  "",
		"":                      "",
		"198.51.100.0/24":       "",
		"example.org":           "",
		"198.51.100.7%0d%0aX:y": "",
	} {
		a := b.get(keyURL(key, "allowlist?add="+add))
		require.Equal(t, http.StatusOK, a.StatusCode)
		entries := a.form()["entry"]
		if want == "" {
			require.Len(t, entries, 2, add)
		} else {
			require.Equal(t, want, entries[2], add)
			require.Contains(t, a.body, "not saved yet")
		}
	}
	require.Len(t, r.list(key), 2)
}

func TestRevokedKey(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24 Office").Key.ID
	tag := r.tag(key)
	a := b.press(b.get(keyURL(key, "revoke")), keyURL(key, "revoke"), "")
	require.Contains(t, a.body, "is revoked")
	a = b.get(keyURL(key, "allowlist?add=192.0.2.1"))
	require.Contains(t, a.body, "can no longer be changed")
	require.Contains(t, a.body, "203.0.113.0/24")
	require.NotContains(t, a.body, "<input")
	for _, path := range []string{"edit", "rotate", "revoke"} {
		require.Equal(t, http.StatusConflict, b.get(keyURL(key, path)).StatusCode, path)
		require.Equal(t, http.StatusConflict, b.post(keyURL(key, path), url.Values{"name": {"x"}, "scope": {"read"}}).StatusCode, path)
	}
	require.Equal(t, http.StatusConflict, b.post(keyURL(key, "allowlist"), url.Values{"tag": {tag}, "action": {"unrestrict"}}).StatusCode)
	require.Len(t, r.list(key), 1)
	require.NotContains(t, b.get("/keys").body, "Billing")
	require.Contains(t, b.get("/keys?revoked=1").body, "Billing")
}

// TestLongList: a policy may allow more entries than a form has room for.
func TestLongList(t *testing.T) {
	r := newRig(t, func(o *Options, _ *manage.Options) { o.Policy.MaxEntries = 5000 })
	b := r.browser(true).login()
	var entries []string
	for i := range maxEdited + 1 {
		entries = append(entries, netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}).String())
	}
	key := r.create("Long", entries[:maxEdited]...).Key.ID
	require.Len(t, b.get(keyURL(key, "allowlist")).form()["entry"], maxEdited)
	key = r.create("Longer", entries...).Key.ID
	a := b.get(keyURL(key, "allowlist"))
	require.Contains(t, a.body, "1,001 entries, which is more than this page edits")
	require.NotContains(t, a.body, "<input")
}
