package browsertest

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
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
	// The build server is refused since they saved, so nobody is locked out now.
	require.Contains(b.t, b.text(".note.good"), "3 entries are in force")
	require.Equal(b.t, "Head office, new", b.value(nth(2)+" [name=label]"))
	require.Equal(b.t, []string{"127.0.0.1/32", "203.0.113.0/24", "192.0.2.80/32"}, b.stored())
}
