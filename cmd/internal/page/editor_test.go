package page

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

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

// seen is a usage log that a test writes.
type seen struct {
	mu    sync.Mutex
	addrs []manage.SeenAddress
	err   error
}

func (s *seen) Seen(context.Context, string, time.Time, int) ([]manage.SeenAddress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]manage.SeenAddress(nil), s.addrs...), s.err
}

func (s *seen) set(err error, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.addrs = err, nil
	for _, a := range addrs {
		s.addrs = append(s.addrs, manage.SeenAddress{Addr: netip.MustParseAddr(a), Last: time.Unix(1_700_000_000, 0), Served: 7})
	}
}

func newSeenRig(t *testing.T) (*rig, *seen) {
	s := &seen{}
	// No loopback entries: the administrator's machine is no client.
	return newRig(t, func(o *Options, m *manage.Options) { m.Seen = s; o.Policy.AllowNonPublic = false }), s
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

func TestLockout(t *testing.T) {
	r, seen := newSeenRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24", "198.51.100.7", "192.0.2.1").Key.ID
	path := keyURL(key, "allowlist")
	seen.set(nil, "203.0.113.5", "198.51.100.7", "2001:db8::1")
	before := r.list(key)

	a := b.get(path)
	require.Contains(t, a.body, "Seen lately")
	require.Equal(t, 2, strings.Count(a.body, "in the list</span>"))

	a = b.press(a, path, "save", rows("203.0.113.0/24"))
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Equal(t, before, r.list(key))
	require.Equal(t, []string{"198.51.100.7", "2001:db8::1"}, a.form()["confirmed"])
	require.Contains(t, a.body, "lock out 2 addresses")
	require.Contains(t, a.body, "7 requests")

	// A confirmation is for the addresses that were named, not for others.
	seen.set(nil, "203.0.113.5", "198.51.100.7", "2001:db8::1", "192.0.2.1")
	a = b.press(a, path, "lockout")
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Equal(t, before, r.list(key))
	require.Equal(t, []string{"198.51.100.7", "2001:db8::1", "192.0.2.1"}, a.form()["confirmed"])
	require.Equal(t, http.StatusConflict, b.press(a, path, "lockout", set("confirmed")).StatusCode)
	require.Equal(t, http.StatusConflict, b.press(a, path, "lockout", set("confirmed", "198.51.100.7", "192.0.2.1")).StatusCode)
	require.Equal(t, http.StatusConflict, b.press(a, path, "save").StatusCode, "saving again is no confirmation")
	require.Equal(t, before, r.list(key))

	// An address can be added instead.
	a = b.press(a, path, "addr:198.51.100.7")
	require.Equal(t, []string{"203.0.113.0/24", "198.51.100.7"}, a.form()["entry"])
	a = b.press(a, path, "save")
	require.Equal(t, []string{"2001:db8::1", "192.0.2.1"}, a.form()["confirmed"])

	a = b.press(a, path, "lockout")
	require.Contains(t, a.body, "Saved: 2 entries")
	require.Equal(t, []string{"203.0.113.0/24", "198.51.100.7"}, r.list(key))
	audit, err := r.svc.Audit(t.Context(), manage.AuditQuery{Limit: 1})
	require.NoError(t, err)
	require.True(t, audit.Records[0].Confirmed)
	require.Equal(t, "page", audit.Records[0].Actor)
	require.Equal(t, netip.MustParseAddr("127.0.0.1"), audit.Records[0].Addr)
}

func TestLockoutOfTheCaller(t *testing.T) {
	r := newRig(t) // its policy makes 127.0.0.1 a client
	b := r.browser(true).login()
	key := r.create("Billing", "127.0.0.1").Key.ID
	path := keyURL(key, "allowlist")
	a := b.press(b.get(path), path, "save", rows("203.0.113.0/24"))
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Contains(t, a.body, "your own address")
	require.Equal(t, []string{"127.0.0.1"}, r.list(key))
	require.Contains(t, a.body, "Add my current address")
	a = b.press(a, path, "addr:127.0.0.1")
	require.NotContains(t, a.body, "Add my current address")
	require.Contains(t, a.body, "is in the list")
	b.press(a, path, "save")
	require.Equal(t, []string{"203.0.113.0/24", "127.0.0.1"}, r.list(key))
}

func TestLockoutUnknown(t *testing.T) {
	r, seen := newSeenRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24").Key.ID
	path := keyURL(key, "allowlist")
	seen.set(errors.New("disk on fire"))
	a := b.get(path)
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Contains(t, a.body, "The usage log cannot be read")
	a = b.press(a, path, "save", rows("198.51.100.1"))
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Contains(t, a.body, "Nobody knows whom this would lock out")
	require.NotContains(t, a.body, "disk on fire")
	require.Equal(t, []string{"203.0.113.0/24"}, r.list(key))
	b.press(a, path, "lockout")
	require.Equal(t, []string{"198.51.100.1"}, r.list(key))
}

func TestUnrestrict(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24").Key.ID
	path := keyURL(key, "allowlist")
	a := b.press(b.get(path), path, "remove:0")
	require.Contains(t, a.body, "served from every address")
	a = b.press(a, path, "save")
	require.Contains(t, a.body, "This removes the restriction")
	require.Equal(t, ipallow.Denied, r.check(key, "192.0.2.1"))
	require.Equal(t, http.StatusOK, b.press(a, path, "save").StatusCode)
	require.Equal(t, ipallow.Denied, r.check(key, "192.0.2.1"), "saving again is no confirmation")
	a = b.press(a, path, "unrestrict")
	require.Contains(t, a.body, "the key has no allowlist now")
	require.Equal(t, ipallow.Unrestricted, r.check(key, "192.0.2.1"))
	// A key that has no list is not asked about.
	require.NotContains(t, b.press(b.get(path), path, "save").body, "This removes the restriction")
	require.Contains(t, b.get("/audit").body, "The last entry was removed")
}

func TestConflict(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "127.0.0.1 mine", "203.0.113.0/24 Office", "192.0.2.9").Key.ID
	path := keyURL(key, "allowlist")
	mine := b.get(path)
	theirs := func(entries ...manage.ListEntry) {
		t.Helper()
		_, err := r.svc.SetAllowlist(t.Context(), manage.Actor{Name: "token", Addr: netip.MustParseAddr("198.51.100.99")}, key, manage.ListEdit{Entries: entries, ConfirmLockout: true})
		require.NoError(t, err)
	}
	theirs(manage.ListEntry{Entry: "127.0.0.1", Label: "mine"}, manage.ListEntry{Entry: "203.0.113.0/24", Label: "Headquarters"}, manage.ListEntry{Entry: "2001:db8::/48"})

	a := b.press(mine, path, "save", set("entry", "127.0.0.1", "203.0.113.0/24", "198.51.100.1"), set("label", "mine", "Office", ""))
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Contains(t, a.body, "Somebody else saved this list")
	require.Contains(t, a.body, "by the API from <code>198.51.100.99</code>")
	require.Regexp(t, `class="removed".*2001:db8::/48`, a.body)
	require.Regexp(t, `class="added".*198.51.100.1`, a.body)
	require.Regexp(t, `class="relabelled".*Headquarters`, a.body)
	require.Regexp(t, `class="kept".*127.0.0.1`, a.body)
	require.Equal(t, []string{"127.0.0.1", "203.0.113.0/24", "198.51.100.1"}, a.form()["entry"], "what was typed stays")
	require.Equal(t, []string{"127.0.0.1 mine", "203.0.113.0/24 Headquarters", "2001:db8::/48"}, r.list(key))

	// What comes meanwhile is a conflict again.
	theirs(manage.ListEntry{Entry: "127.0.0.1"})
	a = b.press(a, path, "save")
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Equal(t, []string{"127.0.0.1"}, r.list(key))

	merged := b.press(a, path, "merge")
	require.Equal(t, []string{"127.0.0.1", "203.0.113.0/24", "198.51.100.1"}, merged.form()["entry"])
	b.press(a, path, "save")
	require.Equal(t, []string{"127.0.0.1 mine", "203.0.113.0/24 Office", "198.51.100.1"}, r.list(key))

	theirs(manage.ListEntry{Entry: "127.0.0.1"}, manage.ListEntry{Entry: "192.0.2.80", Label: "Monitoring"})
	a = b.press(b.press(a, path, "save"), path, "merge")
	require.Equal(t, []string{"127.0.0.1", "203.0.113.0/24", "198.51.100.1", "192.0.2.80"}, a.form()["entry"])
	require.Equal(t, "Monitoring", a.form()["label"][3])
}

// TestConcurrentSaves: of many that save from the same state one wins, and the
// others are told.
func TestConcurrentSaves(t *testing.T) {
	r := newRig(t)
	key := r.create("Billing", "127.0.0.1").Key.ID
	path := keyURL(key, "allowlist")
	b := r.browser(false).login()
	form := b.get(path).form()
	var wg sync.WaitGroup
	codes := make([]int, 8)
	for i := range codes {
		wg.Go(func() {
			f := url.Values{"tag": form["tag"], "action": {"save"}, "entry": {"127.0.0.1", netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String()}, "label": {"", ""}}
			codes[i] = b.post(path, f).StatusCode
		})
	}
	wg.Wait()
	saved, told := 0, 0
	for _, c := range codes {
		switch c {
		case http.StatusSeeOther:
			saved++
		case http.StatusConflict:
			told++
		}
	}
	require.Equal(t, 1, saved, "%v", codes)
	require.Equal(t, len(codes)-1, told, "%v", codes)
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

// meanwhile is a Manager to whom something happens between the questions that
// a save asks and the save itself.
type meanwhile struct {
	manage.Manager
	happens func()
}

func (m meanwhile) Try(ctx context.Context, by manage.Actor, id string, list *[]manage.ListEntry, addrs []netip.Addr) (manage.Trial, error) {
	trial, err := m.Manager.Try(ctx, by, id, list, addrs)
	m.happens()
	return trial, err
}

// TestChangedInTheMiddle: what comes between the last question and the save is
// not overwritten, and not saved over unasked.
func TestChangedInTheMiddle(t *testing.T) {
	r, seen := newSeenRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24").Key.ID
	path := keyURL(key, "allowlist")
	form := b.get(path)
	change := func(happens func()) { r.page.Manager = meanwhile{r.svc, happens} }

	change(func() {
		_, err := r.svc.SetAllowlist(t.Context(), manage.Actor{}, key, manage.ListEdit{Entries: []manage.ListEntry{{Entry: "198.51.100.0/24"}}})
		require.NoError(t, err)
	})
	a := b.press(form, path, "save", rows("192.0.2.1"))
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Contains(t, a.body, "Somebody else saved this list")
	require.Equal(t, []string{"198.51.100.0/24"}, r.list(key))

	change(func() { seen.set(nil, "198.51.100.9") })
	a = b.press(b.get(path), path, "save", rows("192.0.2.1"))
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Equal(t, []string{"198.51.100.9"}, a.form()["confirmed"])
	require.Equal(t, []string{"198.51.100.0/24"}, r.list(key))

	seen.set(nil)
	change(func() { seen.set(errors.New("disk on fire")) })
	a = b.press(b.get(path), path, "save", rows("192.0.2.1"))
	require.Contains(t, a.body, "Nobody knows whom this would lock out")
	require.Equal(t, []string{"198.51.100.0/24"}, r.list(key))

	change(func() { require.NoError(t, r.svc.Revoke(t.Context(), manage.Actor{}, key)) })
	seen.set(nil)
	require.Equal(t, http.StatusConflict, b.press(b.get(path), path, "save", rows("192.0.2.1")).StatusCode)
	require.Equal(t, []string{"198.51.100.0/24"}, r.list(key))
}

// TestConflictComesFirst: nobody is asked about a list that cannot be saved.
func TestConflictComesFirst(t *testing.T) {
	r, seen := newSeenRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24").Key.ID
	path := keyURL(key, "allowlist")
	form := b.get(path)
	_, err := r.svc.SetAllowlist(t.Context(), manage.Actor{}, key, manage.ListEdit{Entries: []manage.ListEntry{{Entry: "198.51.100.0/24"}}})
	require.NoError(t, err)
	seen.set(nil, "198.51.100.9")
	for _, entries := range [][]string{{"192.0.2.1"}, {}, {"not an entry"}} {
		a := b.press(form, path, "save", rows(entries...))
		require.Equal(t, http.StatusConflict, a.StatusCode)
		require.Contains(t, a.body, "Somebody else saved this list")
		require.NotContains(t, a.body, "lock out")
		require.NotContains(t, a.body, "removes the restriction")
	}
}
