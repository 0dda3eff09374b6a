package browsertest

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

// pastWeek adds requests of the last days to the log, from an address that is
// in the list and one that is not.
func (b *tab) pastWeek() {
	now := time.Now()
	var records []usagelog.Record
	for i := range 28 {
		for j := range 12 + (i*i*7+i*5)%40 {
			rec := usagelog.Record{
				ID:   usagelog.RecordID{0: 1, 14: byte(i), 15: byte(j)},
				Time: now.Add(-time.Duration(i)*6*time.Hour - time.Duration(j+1)*time.Minute), RequestID: "past", KeyID: b.keyID(),
				Method: http.MethodGet, Path: "/v1/invoices", Status: http.StatusOK, Verdict: ipallow.Allowed,
				ClientAddr: netip.MustParseAddr("203.0.113.44"), Duration: 3 * time.Millisecond,
				Entry: netip.MustParsePrefix("203.0.113.0/24"), Label: "Office",
			}
			if i%9 == 4 && j < 3 {
				rec.Status, rec.Verdict, rec.ClientAddr = http.StatusForbidden, ipallow.Denied, netip.MustParseAddr("192.0.2.99")
			}
			records = append(records, rec)
		}
	}
	// One that needs room.
	long := &records[1]
	long.Method, long.Path = http.MethodOptions, "/v1/customers/7c9e6679-7425-40de-944b-e07fc1f90ae7/invoices/2026/11/lines.json"
	long.Status, long.Verdict, long.ClientAddr = http.StatusForbidden, ipallow.Denied, netip.MustParseAddr("2001:db8:1234:5678:9abc:def0:1234:5678")
	require.NoError(b.t, b.store.Append(b.t.Context(), records))
}

// tryAndPaste tests addresses against a list that is not saved, and pastes
// lines.
func (b *tab) tryAndPaste() {
	b.open(b.listPath())
	b.fill("#test", "203.0.113.9")
	b.press("button[value=test]")
	require.Contains(b.t, b.text("#test-result"), "served by row 2")
	b.fill("#test", "198.51.100.200")
	b.leads("enter", chromedp.KeyEvent("\r"))
	require.Contains(b.t, b.text("#test-result"), "refused")
	b.inspect("tested")
	b.click("details:has(#paste) > summary")
	b.fill("#paste", "198.51.100.0/24, Warehouse\n203.0.113.128/25\tPart of the office\n2001:db8:7::/48  Partner")
	b.press("button[value=paste]")
	require.Contains(b.t, b.text("#said-4"), "covers it already")
	require.Equal(b.t, "Partner", b.value(nth(6)+" [name=label]"))
	b.fill("#test", "198.51.100.200")
	b.press("button[value=test]")
	require.Contains(b.t, b.text("#test-result"), "served by row 4")
	require.Len(b.t, b.stored(), 3, "nothing is saved yet")
	b.shot("pasted")
	b.inspect("pasted")
	b.press("button[value=save]")
	require.Len(b.t, b.stored(), 6)
	b.inspect("warned")
}

// exportCSV exports the log and reads the file back.
func (b *tab) exportCSV() {
	b.open("/logs?status=blocked&period=1h")
	require.NotContains(b.t, b.text("table.log tbody"), "Served")
	dir := b.t.TempDir()
	_, err := chromedp.Call(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir,
		BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
	})
	require.NoError(b.t, err)
	b.click(".page-head a.second")
	// The browser reserves the name with an empty file, and moves the whole one
	// there.
	var file []byte
	require.Eventually(b.t, func() bool {
		found, err := filepath.Glob(filepath.Join(dir, "api-usage-*.csv"))
		if err != nil || len(found) != 1 {
			return false
		}
		file, err = os.ReadFile(found[0])
		return err == nil && len(file) > 0
	}, stepTime, 10*time.Millisecond)
	rows, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	require.NoError(b.t, err)
	require.Equal(b.t, "time", rows[0][0])
	var from []string
	for _, row := range rows[1:] {
		from = append(from, row[slices.Index(rows[0], "client_addr")])
		require.Contains(b.t, row, "403")
		require.Contains(b.t, row, b.keyID())
	}
	require.Equal(b.t, []string{"127.0.0.2", "198.51.100.7", "127.0.0.2", "2001:db8:1234:5678:9abc:def0:1234:5678"}, from, "%v", rows)
}

// lookAround opens what has not been seen yet.
func (b *tab) lookAround() {
	lab := []manage.ListEntry{{Entry: "198.51.100.0/24", Label: "Test lab"}}
	for _, k := range []manage.NewKey{
		{Name: "Mobile app (staging)", ReportOnly: true, Allowlist: lab},
		{Name: "מפתח ישן"},
		{Name: strings.Repeat("warehouse-export-eu-west-1_", 4)[:93], Allowlist: lab},
		{Name: "Nightly export to the data warehouse, both regions, until the old contract ends", Allowlist: lab},
	} {
		k.Scopes = []string{"read", "write"}
		_, err := b.svc.Create(b.t.Context(), manage.Actor{Name: "token"}, k)
		require.NoError(b.t, err)
	}
	b.open("/keys")
	b.inspect("keys")
	b.click("tbody tr:last-child details.menu summary")
	require.Contains(b.t, b.text("tbody tr:last-child details.menu ul"), "Rotate secret")
	b.shot("keys")
	b.examine("menu")
	b.open("/keys?order=name")
	b.click("tbody tr:nth-child(1) .pick input")
	b.press("button[value=add]")
	b.inspect("add to several keys")
	b.fill("#entry", "198.51.100.7/24")
	b.press("button[value=confirm-add]")
	require.Contains(b.t, b.text("form.editor"), "198.51.100.0/24")
	b.inspect("faulty entry for several keys")
	b.open("/keys")
	b.fill("#q", "staging")
	b.leads("search", chromedp.KeyEvent("\r"))
	require.NotContains(b.t, b.text("tbody"), "Billing")
	b.open("/keys?q=nothing+has+this+name")
	b.inspect("no key found")
	b.open("/audit")
	require.Contains(b.t, b.text(".trail"), "confirmed")
	b.shot("audit")
	b.inspect("audit")
	b.open("/logs?key=nobody&from=2026-01-01T00:00&to=2025-01-01T00:00")
	b.inspect("faulty filter")
	b.open("/logs?method=DELETE")
	b.inspect("no request")
	b.open("/nowhere")
	b.inspect("no page")
}

// endKey edits, rotates and revokes the key, and logs out.
func (b *tab) endKey(token string) {
	key := "/keys/" + b.keyID()
	b.open(key + "/edit")
	b.inspect("edit")
	b.fill("#name", "")
	if !b.look.noScript { // which the browser itself would not send
		b.do("allow an empty name", chromedp.Func(noValidate))
		require.Equal(b.t, http.StatusUnprocessableEntity, b.press(".save-bar button"))
		b.inspect("faulty edit")
	}
	b.fill("#name", "Billing workers")
	b.press(".save-bar button")
	require.Contains(b.t, b.text("h1"), "Billing workers")
	b.open(key + "/rotate")
	b.inspect("rotate")
	b.press("main form button")
	fresh := b.value("#token")
	require.NotEqual(b.t, token, fresh)
	require.Equal(b.t, http.StatusUnauthorized, b.call(token, "127.0.0.1", ""))
	require.Equal(b.t, http.StatusOK, b.call(fresh, "127.0.0.1", ""))
	b.open(key + "/revoke")
	b.inspect("revoke")
	b.press("main form button")
	require.Equal(b.t, http.StatusUnauthorized, b.call(fresh, "127.0.0.1", ""))
	b.open(key + "/allowlist")
	b.inspect("revoked")
	b.press(".logout button")
	require.Equal(b.t, "/login", b.path())
	b.inspect("logged out")
	b.open("/keys")
	require.Equal(b.t, "/login", b.path())
}

// keyID returns the identifier of the oldest key.
func (b *tab) keyID() string {
	b.t.Helper()
	keys, err := b.svc.Keys(b.t.Context(), manage.KeyQuery{Revoked: true})
	require.NoError(b.t, err)
	return keys.Keys[len(keys.Keys)-1].ID
}

func (b *tab) listPath() string { return "/keys/" + b.keyID() + "/allowlist" }

// stored returns the entries that are saved.
func (b *tab) stored() []string {
	b.t.Helper()
	list, err := b.svc.Allowlist(b.t.Context(), b.keyID())
	require.NoError(b.t, err)
	var out []string
	for _, e := range list.Entries {
		out = append(out, e.String())
	}
	return out
}
