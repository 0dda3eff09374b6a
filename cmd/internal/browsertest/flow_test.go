package browsertest

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

// TestJourney walks through all that the page is for, as each look.
func TestJourney(t *testing.T) {
	chrome := newBrowser(t)
	for _, l := range looks {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			newTab(t, chrome, newStack(t), l).journey()
		})
	}
}

func (b *tab) journey() {
	b.logIn()
	token := b.createKey()
	b.allowFromLog(token)
	b.lockOut()
	b.conflict()
	b.tryAndPaste()
	b.exportCSV()
	b.lookAround()
	b.endKey(token)
}

const submitLogin = "form[action='/login'] button"

func (b *tab) logIn() {
	b.open("/keys")
	require.Equal(b.t, "/login", b.path())
	b.shot("login")
	b.inspect("login")
	b.fill("#token", "adm_wrong_wrong_wrong_wrong")
	require.Equal(b.t, http.StatusUnauthorized, b.press(submitLogin))
	require.Contains(b.t, b.text("[role=alert]"), "not the administrator’s token")
	b.inspect("login refused")
	b.fill("#token", adminToken)
	b.press(submitLogin)
	require.Equal(b.t, "/keys", b.path())
	b.shot("empty")
	b.inspect("no keys")
}

// createKey makes a key with labels; one entry is faulty at first. It returns
// the token that the page shows.
func (b *tab) createKey() string {
	b.press(".empty a.button")
	b.inspect("new key")
	b.fill("#name", "Billing worker")
	b.addRow(1, "127.0.0.1", "This machine")
	b.addRow(2, "203.0.113.5/24", "Head office")
	require.Equal(b.t, http.StatusUnprocessableEntity, b.press("button[value=create]"))
	require.Contains(b.t, b.text("#said-1"), "bits set beyond")
	b.scrollTo("#faults")
	b.shot("create-fault")
	b.inspect("faulty")
	b.press("#said-1 .suggest")
	require.Equal(b.t, "203.0.113.0/24", b.value("#rows li:nth-child(2) [name=entry]"))
	b.press("button[value=create]")
	token := b.value("#token")
	require.Contains(b.t, b.value("#curl"), token)
	require.Equal(b.t, b.look.noScript, evaluate[bool](b, "document.querySelector('[data-copy]').hidden"), "a script is what shows the button")
	b.shot("secret")
	b.inspect("secret")
	b.open(b.path())
	require.Contains(b.t, b.text(".empty"), "shown once", "a second look shows no secret")
	b.inspect("secret gone")
	return token
}

// addRow adds the row n by the button, without a round trip.
func (b *tab) addRow(n int, entry, label string) {
	b.t.Helper()
	if b.look.noScript {
		b.press("[data-add-row]")
	} else {
		b.click("[data-add-row]")
	}
	b.fill(nth(n)+" [name=entry]", entry)
	b.fill(nth(n)+" [name=label]", label)
}

func nth(n int) string { return "#rows li:nth-child(" + string(rune('0'+n)) + ")" }

// allowFromLog calls the gateway, finds a blocked request in the log and
// allows its address.
func (b *tab) allowFromLog(token string) {
	require.Equal(b.t, http.StatusOK, b.call(token, "127.0.0.1", ""))
	require.Equal(b.t, http.StatusForbidden, b.call(token, "127.0.0.2", ""))
	require.Equal(b.t, http.StatusOK, b.call(token, proxyAddr, "203.0.113.44"))
	require.Equal(b.t, http.StatusForbidden, b.call(token, proxyAddr, "198.51.100.7"))

	b.pastWeek()
	b.open("/logs")
	row := b.text("table.log tbody tr:nth-child(1)")
	require.Contains(b.t, row, "Blocked")
	require.Contains(b.t, row, "198.51.100.7")
	require.Contains(b.t, b.text("table.log tbody tr:nth-child(2)"), "Served")
	require.Contains(b.t, b.text("figure.chart"), "Blocked")
	b.shot("logs")
	b.inspect("logs")
	b.press("table.log tbody tr:nth-child(1) .act a")
	require.Equal(b.t, "198.51.100.7", b.value(nth(3)+" [name=entry]"))
	b.inspect("add from the log")
	b.fill(nth(3)+" [name=label]", "Build server")
	b.shot("allowlist")
	b.press("button[value=save]")
	require.Contains(b.t, b.text(".note.good"), "3 entries are in force")
	b.inspect("saved")
	require.Equal(b.t, http.StatusOK, b.call(token, proxyAddr, "198.51.100.7"))
	require.Equal(b.t, http.StatusForbidden, b.call(token, "127.0.0.2", ""))
	b.open("/logs")
	require.Contains(b.t, b.text("table.log tbody tr:nth-child(2)"), "Served")
}

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

// lockOut removes an entry in use: the page names who would be locked out,
// and saves only when that is confirmed.
func (b *tab) lockOut() {
	list := b.listPath()
	b.open(list)
	b.remove(3)
	b.press("button[value=save]")
	asked := b.text(".ask")
	require.Contains(b.t, asked, "lock out an address")
	require.Contains(b.t, asked, "198.51.100.7")
	require.NotContains(b.t, asked, "127.0.0.1")
	require.Len(b.t, b.stored(), 3, "nothing is saved yet")
	b.shot("lockout")
	b.inspect("lock-out")
	b.press(".ask [value='addr:198.51.100.7']")
	require.Equal(b.t, "198.51.100.7", b.value(nth(3)+" [name=entry]"))
	b.remove(3)
	b.press("button[value=save]")
	b.press("button[value=lockout]")
	require.Contains(b.t, b.text(".note.good"), "2 entries are in force")
	require.Equal(b.t, []string{"127.0.0.1/32", "203.0.113.0/24"}, b.stored())

	// Without an entry the key would be open.
	b.remove(2)
	b.remove(1)
	b.press("button[value=save]")
	require.Contains(b.t, b.text(".ask"), "from every address")
	require.Len(b.t, b.stored(), 2, "nothing is saved yet")
	b.shot("unrestrict")
	b.inspect("unrestrict")
	b.press(".save-bar a")
	require.Equal(b.t, "127.0.0.1", b.value(nth(1)+" [name=entry]"))
}

func (b *tab) remove(n int) {
	b.t.Helper()
	if b.look.noScript {
		b.press(nth(n) + " .remove")
		return
	}
	b.click(nth(n) + " .remove")
}

// conflict saves a list that somebody else has changed since it was read.
func (b *tab) conflict() {
	b.open(b.listPath())
	_, err := b.svc.SetAllowlist(b.t.Context(), manage.Actor{Name: "token"}, b.keyID(), manage.ListEdit{ConfirmLockout: true, Entries: []manage.ListEntry{
		{Entry: "127.0.0.1", Label: "This machine"}, {Entry: "203.0.113.0/24", Label: "Head office"}, {Entry: "192.0.2.80", Label: "Monitoring"},
	}})
	require.NoError(b.t, err)
	b.fill(nth(2)+" [name=label]", "Head office, new")
	require.Equal(b.t, http.StatusConflict, b.press("button[value=save]"))
	asked := b.text(".ask")
	require.Contains(b.t, asked, "Somebody else saved this list")
	require.Contains(b.t, asked, "192.0.2.80")
	b.shot("conflict")
	b.inspect("conflict")
	b.press("button[value=merge]")
	b.press("button[value=save]")
	b.press("button[value=lockout]") // still without the build server
	require.Contains(b.t, b.text(".note.good"), "3 entries are in force")
	require.Equal(b.t, "Head office, new", b.value(nth(2)+" [name=label]"))
	require.Equal(b.t, []string{"127.0.0.1/32", "203.0.113.0/24", "192.0.2.80/32"}, b.stored())
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
	b.click("details.fold > summary")
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
		from = append(from, row[len(row)-3])
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
