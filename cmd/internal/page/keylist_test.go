package page

import (
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

func TestKeyList(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	for i := range 120 {
		r.create(fmt.Sprintf("key %03d", i), "203.0.113.7 Office")
	}
	r.create("open one")
	r.create("broad one", "198.51.0.0/16")

	names := func(a answer) (out []string) {
		for _, m := range regexp.MustCompile(`<span class="vh">Mark ([^<]*)</span></label>`).FindAllStringSubmatch(a.body, -1) {
			out = append(out, html.UnescapeString(m[1]))
		}
		return out
	}
	link := func(a answer, rel string) string {
		m := regexp.MustCompile(`href="([^"]*)" rel="` + rel + `"`).FindStringSubmatch(a.body)
		if m == nil {
			return ""
		}
		return html.UnescapeString(m[1])
	}
	first := b.get("/keys?order=name")
	require.Contains(t, first.body, "122 keys")
	require.Empty(t, link(first, "prev"))
	second := b.get(link(first, "next"))
	require.Equal(t, "key 049", names(second)[0])
	third := b.get(link(second, "next"))
	require.Len(t, names(third), 22)
	require.Empty(t, link(third, "next"))
	require.Equal(t, names(second), names(b.get(link(third, "prev"))))
	require.Equal(t, names(first), names(b.get(link(second, "prev"))))

	require.Equal(t, []string{"open one"}, names(b.get("/keys?show=unrestricted")))
	require.Equal(t, []string{"broad one"}, names(b.get("/keys?show=broad")))
	require.Equal(t, []string{"broad one"}, names(b.get("/keys?q=198.51.100.200")))
	require.Contains(t, b.get("/keys?q=office&show=unused").body, "120 keys")
	require.Contains(t, b.get("/keys?q=office&show=broad").body, "No key found")
	require.Equal(t, http.StatusOK, b.get("/keys?show=nonsense&order=nonsense").StatusCode)
}

func TestBulk(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	listed := r.create("listed", "203.0.113.7 Office").Key.ID
	there := r.create("there", "198.51.100.0/24").Key.ID
	open := r.create("open").Key.ID
	twenty := make([]string, 20)
	for i := range twenty {
		twenty[i] = fmt.Sprintf("192.0.2.%d", i)
	}
	full := r.create("full", twenty...).Key.ID
	gone := r.create("gone", "203.0.113.7").Key.ID
	marked := set("key", listed, there, open, full, listed)

	a := b.get("/keys")
	require.Contains(t, b.press(a, "/keys/bulk", "add").body, "Choose keys first")
	require.Equal(t, http.StatusBadRequest, b.press(a, "/keys/bulk", "delete", marked).StatusCode)
	require.Equal(t, http.StatusBadRequest, b.press(a, "/keys/bulk", "add", set("key", "x")).StatusCode)

	a = b.press(a, "/keys/bulk", "add", marked)
	require.Contains(t, a.body, "Add an entry to 4 keys")
	require.Len(t, a.form()["key"], 4, "one is not there twice")
	for entry, says := range map[string]string{"": "Write an address", "198.51.100.7/24": "198.51.100.0/24", "x": "Write"} {
		f := b.press(a, "/keys/bulk", "confirm-add", set("entry", entry), set("label", "Build"))
		require.Equal(t, http.StatusUnprocessableEntity, f.StatusCode, entry)
		if entry != "x" {
			require.Contains(t, f.body, says)
		}
	}
	a = b.press(a, "/keys/bulk", "confirm-add", set("entry", "198.51.100.7"), set("label", "Build"))
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Equal(t, 1, strings.Count(a.body, "added, and in force"))
	require.Contains(t, a.body, "contains the entry already")
	require.Contains(t, a.body, "it has no allowlist")
	require.Contains(t, a.body, "not changed: ")
	require.Equal(t, []string{"203.0.113.7 Office", "198.51.100.7 Build"}, r.list(listed))
	require.Equal(t, []string{"198.51.100.0/24"}, r.list(there))
	require.Empty(t, r.list(open))
	require.Equal(t, ipallow.Unrestricted, r.check(open, "192.0.2.1"))
	require.Len(t, r.list(full), 20)

	a = b.press(b.get("/keys"), "/keys/bulk", "revoke", set("key", listed, gone))
	require.Contains(t, a.body, "Revoke 2 keys")
	require.NoError(t, r.svc.Revoke(t.Context(), manage.Actor{Name: "token"}, gone))
	a = b.press(a, "/keys/bulk", "confirm-revoke")
	require.Equal(t, 1, strings.Count(a.body, ": revoked"))
	require.Contains(t, a.body, "it is revoked")
	k, err := r.svc.Key(t.Context(), listed)
	require.NoError(t, err)
	require.False(t, k.Active())
}
