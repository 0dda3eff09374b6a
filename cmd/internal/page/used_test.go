package page

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

func TestUsedAddresses(t *testing.T) {
	r, seen := newSeenRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24").Key.ID
	path := keyURL(key, "allowlist")
	require.Contains(t, b.get(path).body, "This key was not used in the last 7 days")

	// Blocked requests are a use of the key, which nobody may take for none.
	seen.addrs = []manage.SeenAddress{{Addr: netip.MustParseAddr("198.51.100.7"), Blocked: 5}}
	a := b.get(path)
	require.NotContains(t, a.body, "This key was not used")
	require.Contains(t, a.body, "No request with this key was served")
	require.Contains(t, a.body, "Blocked lately")
	require.Contains(t, a.body, "1 address, 5 requests")
	require.NotContains(t, a.body, "Add all")
	require.Contains(t, b.get("/keys").body, "5 blocked requests")

	for i := range 14 {
		seen.addrs = append(seen.addrs, manage.SeenAddress{
			Addr: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i)), Served: int64(20 - i), Last: time.Unix(1_700_000_000, 0),
		})
	}
	seen.addrs = append(seen.addrs,
		manage.SeenAddress{Addr: netip.MustParseAddr("203.0.113.9"), Served: 900}, // in the list
		manage.SeenAddress{Addr: netip.MustParseAddr("10.0.0.1"), Served: 1})      // no entry can be that
	a = b.get(path)
	require.Contains(t, a.body, "16 addresses, 1,090 requests")
	require.Contains(t, a.body, "6 more")
	require.Less(t, strings.Index(a.body, "<code>203.0.113.9</code>"), strings.Index(a.body, "<code>192.0.2.0</code>"), "most requests first")
	require.Contains(t, a.body, "no public address")
	require.NotContains(t, a.body, `value="addr:10.0.0.1"`)

	// All at once, without those that the list contains or the policy refuses.
	at := strings.Index(a.body, `value="addr:192.0.2.0,192.0.2.1,`)
	require.Positive(t, at)
	action, _, _ := strings.Cut(a.body[at+len(`value="`):], `"`)
	a = b.press(a, path, action)
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Len(t, a.form()["entry"], 15)
	require.Equal(t, "192.0.2.13", a.form()["entry"][14])
	a = b.press(a, path, action)
	require.Len(t, a.form()["entry"], 15, "what is there is not added again")
	a = b.press(a, path, "clear")
	require.Empty(t, a.form()["entry"])
}

func TestJoin(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "198.51.100.1 VPN").Key.ID
	path := keyURL(key, "allowlist")
	var lines []string
	for i := range 24 {
		lines = append(lines, fmt.Sprintf("203.0.113.%d Office %d", i, i/16))
	}
	a := b.press(b.get(path), path, "paste", set("paste", strings.Join(lines, "\n")))
	require.Contains(t, a.body, "25/20")
	require.Contains(t, a.body, "and this one has 25")
	require.Contains(t, a.body, "no other address")
	a = b.press(a, path, "join")
	require.Equal(t, []string{"198.51.100.1", "203.0.113.0/28", "203.0.113.16/29"}, a.form()["entry"])
	require.Equal(t, []string{"VPN", "Office 0", "Office 1"}, a.form()["label"])
	a = b.press(a, path, "save")
	require.Contains(t, a.body, "Saved: 3 entries")

	// Others besides, where there is no other way, and nothing where a row is faulty.
	lines = lines[:0]
	for i := range 21 {
		lines = append(lines, fmt.Sprintf("192.0.2.%d", 10*i))
	}
	a = b.press(a, path, "clear")
	a = b.press(a, path, "paste", set("paste", strings.Join(lines, "\n")))
	require.Regexp(t, "all of them, and [0-9]+ other address", a.body)
	require.Len(t, b.press(a, path, "join").form()["entry"], 20)
	require.NotContains(t, b.press(a, path, "paste", set("paste", "10.1")).body, `value="join"`)
}

// Enter in the name of a new key does not make one that everybody may use.
func TestEnterMakesNoKey(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	a := b.press(b.get("/keys/new"), "/keys/new", "enter", set("name", "Billing"))
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Equal(t, "Billing", a.form().Get("name"))
	list, err := r.svc.Keys(t.Context(), manage.KeyQuery{})
	require.NoError(t, err)
	require.Empty(t, list.Keys)
	require.Contains(t, b.press(a, "/keys/new", "create").body, "Billing")
	list, err = r.svc.Keys(t.Context(), manage.KeyQuery{})
	require.NoError(t, err)
	require.Len(t, list.Keys, 1)
}

func TestNoActiveKeys(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	a := b.get("/keys")
	require.Contains(t, a.body, "No API keys yet")
	require.Contains(t, a.body, `role="search"`)
	key := r.create("Billing").Key.ID
	b.press(b.get(keyURL(key, "revoke")), keyURL(key, "revoke"), "")
	a = b.get("/keys")
	require.Contains(t, a.body, "No active API keys")
	require.Contains(t, a.body, `role="search"`)
	require.Contains(t, b.get("/keys?revoked=1").body, "Billing")
}

// A range is offered as all the networks that it stands for.
func TestSplit(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "198.51.100.1").Key.ID
	path := keyURL(key, "allowlist")
	a := b.press(b.get(path), path, "save", set("entry", "198.51.100.1", "203.0.113.1-203.0.113.4"), set("label", "VPN", "Office"))
	require.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
	require.Contains(t, a.body, "Use 3 networks: <code>203.0.113.1</code>, <code>203.0.113.2/31</code>, <code>203.0.113.4</code>")
	a = b.press(a, path, "split:1")
	require.Equal(t, []string{"198.51.100.1", "203.0.113.1", "203.0.113.2/31", "203.0.113.4"}, a.form()["entry"])
	require.Equal(t, []string{"VPN", "Office", "Office", "Office"}, a.form()["label"])
	a = b.press(a, path, "split:0")
	require.Len(t, a.form()["entry"], 4, "a row without a fault stays")
	require.Contains(t, b.press(a, path, "save").body, "Saved: 4 entries")
}
