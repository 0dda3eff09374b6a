package page

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

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
	require.Contains(t, a.body, "This might lock somebody out")
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
