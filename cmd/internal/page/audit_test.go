package page

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAudit(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	require.Contains(t, b.get("/audit").body, "Nothing has been changed yet")
	created := r.create("Billing", "127.0.0.1 here", "203.0.113.0/24 Office")
	id := created.Key.ID
	r.create("Another")
	b.press(b.get(keyURL(id, "edit")), keyURL(id, "edit"), "", set("name", "Invoices"), set("scope", "read", "write"), set("report_only", "1"))
	path := keyURL(id, "allowlist")
	b.press(b.get(path), path, "save", set("entry", "127.0.0.1", "203.0.113.0/24", "2001:db8::/48"), set("label", "", "Head office", ""))
	b.post(keyURL(id, "rotate"), nil)
	b.post(keyURL(id, "revoke"), nil)

	a := b.get("/audit?key=" + id)
	records := strings.Split(a.body, `<li class="card">`)[1:]
	require.Len(t, records, 5)
	for i, want := range [][]string{
		{"Key revoked", "the settings page", "127.0.0.1"},
		{"Secret rotated"},
		{"Allowlist changed", `<li class="added">`, "2001:db8::/48", `<li class="relabelled">`, "“<bdi>Office</bdi>”", "“<bdi>Head office</bdi>”", "no label"},
		{"Key edited", "<bdi>Billing</bdi></del>", "<bdi>Invoices</bdi></ins>", "<bdi>read</bdi></del>", "<bdi>read, write</bdi></ins>", "<bdi>report only</bdi></ins>"},
		{"Key created", `<li class="added">`, "203.0.113.0/24"},
	} {
		for _, text := range want {
			require.Contains(t, records[i], text)
		}
	}
	require.NotContains(t, a.body, "Another")
	require.Contains(t, b.get("/audit").body, "Another")
	require.NotContains(t, b.get("/audit").body, created.Token[len(created.Token)-43:])
	require.Equal(t, http.StatusNotFound, b.get("/audit?key=aaaaaaaaaaaaaaaa").StatusCode)

	for i := range auditPerPage {
		r.create(fmt.Sprintf("Key %d", i))
	}
	a = b.get("/audit")
	m := nextLink.FindStringSubmatch(a.body)
	require.NotNil(t, m)
	require.Contains(t, b.get(strings.ReplaceAll(m[1], "&amp;", "&")).body, "Another")
}
