package page

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// seen is a usage log that a test writes.
type seen struct {
	mu    sync.Mutex
	addrs []manage.SeenAddress
	err   error
}

func (s *seen) Seen(context.Context, string, time.Time) ([]manage.SeenAddress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]manage.SeenAddress(nil), s.addrs...), s.err
}

func (s *seen) Blocked(_ context.Context, ids []string, _ time.Time) (map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int64{}
	for _, id := range ids {
		for _, a := range s.addrs {
			n[id] += a.Blocked
		}
	}
	return n, s.err
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

func TestLockout(t *testing.T) {
	r, seen := newSeenRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24", "198.51.100.7", "192.0.2.1", "2001:db8::1").Key.ID
	path := keyURL(key, "allowlist")
	seen.set(nil, "203.0.113.5", "198.51.100.7", "2001:db8::1")
	before := r.list(key)

	a := b.get(path)
	require.Contains(t, a.body, "Seen lately")
	require.Equal(t, 3, strings.Count(a.body, "in the list</span>"))
	require.NotContains(t, a.body, "blocked-head")

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
	require.Equal(t, []string{"192.0.2.1", "198.51.100.7", "2001:db8::1"}, a.form()["confirmed"])
	require.Equal(t, http.StatusConflict, b.press(a, path, "lockout", set("confirmed")).StatusCode)
	require.Equal(t, http.StatusConflict, b.press(a, path, "lockout", set("confirmed", "198.51.100.7", "192.0.2.1")).StatusCode)
	require.Equal(t, http.StatusConflict, b.press(a, path, "save").StatusCode, "saving again is no confirmation")
	require.Equal(t, before, r.list(key))

	// An address can be added instead.
	a = b.press(a, path, "addr:198.51.100.7")
	require.Equal(t, []string{"203.0.113.0/24", "198.51.100.7"}, a.form()["entry"])
	a = b.press(a, path, "save")
	require.Equal(t, []string{"192.0.2.1", "2001:db8::1"}, a.form()["confirmed"])

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
	require.Contains(t, a.body, "This might lock somebody out")
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

// TestLockoutByMode ends report-only mode, which can lock out as a list can.
func TestLockoutByMode(t *testing.T) {
	r, seen := newSeenRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "203.0.113.0/24").Key.ID
	path := keyURL(key, "edit")
	reportOnly := func() bool {
		k, err := r.svc.Key(t.Context(), key)
		require.NoError(t, err)
		return k.ReportOnly
	}
	a := b.press(b.get(path), path, "", set("report_only", "on"))
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.True(t, reportOnly())

	seen.set(nil, "203.0.113.5", "198.51.100.7")
	a = b.press(a, path, "", set("report_only"))
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Contains(t, a.body, "lock out an address that is in use")
	require.Contains(t, a.body, "<code>198.51.100.7</code>")
	require.NotContains(t, a.body, "<code>203.0.113.5</code>")
	require.True(t, reportOnly())

	seen.set(errors.New("the disk is gone"))
	a = b.press(a, path, "")
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Contains(t, a.body, "This might lock somebody out")

	a = b.press(a, path, "lockout")
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Contains(t, a.body, "is saved")
	require.False(t, reportOnly())
}
