package manage_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
)

// A guardRig is a key with a usage log that the test writes.
type guardRig struct {
	*manage.Service
	t   *testing.T
	log *seenLog
	id  string
}

func newGuardRig(t *testing.T, entries ...manage.ListEntry) *guardRig {
	log := &seenLog{seen: make(map[string][]manage.SeenAddress)}
	clock := &clock{start}
	s, _, _ := managetest.Open(t, func(o *manage.Options) { o.Seen, o.Now = log, clock.Now })
	return &guardRig{s, t, log, create(t, s, "a", entries...).Key.ID}
}

func (r *guardRig) see(list ...manage.SeenAddress) { r.log.seen[r.id] = list }

// set saves a list and returns what it would lock out, which a trial says too.
func (r *guardRig) set(caller string, confirm bool, entries ...string) *manage.LockoutError {
	r.t.Helper()
	actor := by
	if caller != "" {
		actor.Addr = netip.MustParseAddr(caller)
	}
	l := list(entries...)
	trial, err := r.Try(r.t.Context(), actor, r.id, &l, nil)
	require.NoError(r.t, err)
	_, err = r.SetAllowlist(r.t.Context(), actor, r.id, manage.ListEdit{Entries: l, ConfirmLockout: confirm})
	if confirm {
		require.NoError(r.t, err)
		return trial.Lockout
	}
	var lockout *manage.LockoutError
	if errors.As(err, &lockout) {
		require.Equal(r.t, lockout, trial.Lockout, "a trial sees what a save sees")
		return lockout
	}
	require.NoError(r.t, err)
	require.Nil(r.t, trial.Lockout)
	return nil
}

func (r *guardRig) edit(caller string, e manage.KeyEdit) error {
	actor := by
	actor.Addr = netip.MustParseAddr(caller)
	_, err := r.Edit(r.t.Context(), actor, r.id, e)
	return err
}

// confirmed reports whether the newest audit record says that a lock-out was
// confirmed.
func (r *guardRig) confirmed() bool {
	trail, err := r.Audit(r.t.Context(), manage.AuditQuery{KeyID: r.id})
	require.NoError(r.t, err)
	return trail.Records[0].Confirmed
}

// who returns the addresses that are named, the caller's marked.
func who(t *testing.T, l *manage.LockoutError) (out []string) {
	t.Helper()
	require.NotNil(t, l)
	require.GreaterOrEqual(t, l.Total, len(l.Addresses))
	for _, a := range l.Addresses {
		s := a.Addr.String()
		if a.Caller {
			s += " caller"
		}
		out = append(out, s)
	}
	return out
}

// served is an address from which n requests were served.
func served(addr string, n int64) manage.SeenAddress {
	return manage.SeenAddress{Addr: netip.MustParseAddr(addr), Last: start.Add(-time.Hour), Served: n}
}

func TestSeen(t *testing.T) {
	r := newGuardRig(t)
	r.see(
		served("203.0.113.7", 5), served("::ffff:198.51.100.7", 1), served("2001:db8::1", 9),
		manage.SeenAddress{Addr: netip.MustParseAddr("198.51.100.7"), Last: start, Served: 2, Blocked: 3},
		manage.SeenAddress{Addr: netip.MustParseAddr("192.0.2.1"), Blocked: 4}, manage.SeenAddress{Served: 1},
	)
	seen, err := r.Seen(t.Context(), r.id)
	require.NoError(t, err)
	require.Equal(t, start.Add(-manage.SeenWithin), seen.Since)
	require.Equal(t, seen.Since, r.log.since)
	both := manage.SeenAddress{Addr: netip.MustParseAddr("198.51.100.7"), Last: start, Served: 3, Blocked: 3}
	require.Equal(t, []manage.SeenAddress{served("2001:db8::1", 9), served("203.0.113.7", 5), both}, seen.Served)
	require.Equal(t, []manage.SeenAddress{{Addr: netip.MustParseAddr("192.0.2.1"), Blocked: 4}, both}, seen.Blocked)
	require.Equal(t, 3, seen.ServedTotal)
	require.Equal(t, 2, seen.BlockedTotal)
	require.EqualValues(t, 17, seen.ServedRequests)
	require.EqualValues(t, 7, seen.BlockedRequests)

	blocked, err := r.Blocked(t.Context(), []string{r.id, "none"})
	require.NoError(t, err)
	require.EqualValues(t, 7, blocked[r.id])
}

func TestLockout(t *testing.T) {
	r := newGuardRig(t)
	r.see(served("203.0.113.7", 5), served("::ffff:198.51.100.7", 1), served("2001:db8::1", 2))

	l := r.set("", false, "203.0.113.0/24")
	require.Equal(t, []string{"2001:db8::1", "198.51.100.7"}, who(t, l), "the most used first")
	require.Equal(t, 2, l.Total)
	require.False(t, l.Caller)
	require.EqualValues(t, 2, l.Addresses[0].Served)

	// The caller's own address, as one that was seen, and as one that was not.
	l = r.set("198.51.100.7", false, "203.0.113.0/24")
	require.Equal(t, []string{"198.51.100.7 caller", "2001:db8::1"}, who(t, l))
	require.True(t, l.Caller)
	everybody := []string{"203.0.113.0/24", "198.51.100.7", "2001:db8::1"}
	l = r.set("::ffff:192.0.2.1", false, everybody...)
	require.Equal(t, []string{"192.0.2.1 caller"}, who(t, l))
	require.True(t, l.Addresses[0].Last.IsZero())
	require.Zero(t, l.Addresses[0].Served)

	// No client has a loopback or private address, unless it was seen.
	for _, caller := range []string{"127.0.0.1", "::1", "10.1.2.3"} {
		require.Nil(t, r.set(caller, false, everybody...))
		require.Nil(t, r.set(caller, false), "to the open key again")
	}
	r.see(append(r.log.seen[r.id], served("10.1.2.3", 1))...)
	require.Equal(t, []string{"10.1.2.3 caller"}, who(t, r.set("10.1.2.3", false, everybody...)))

	// A confirmation saves it, and the trail says so.
	require.Len(t, who(t, r.set("192.0.2.1", true, "192.0.2.0/24")), 4)
	require.True(t, r.confirmed())

	// Who is refused already cannot be locked out: an address that was taken out
	// on purpose is not named again, nor is a caller outside the list.
	for _, caller := range []string{"192.0.2.1", "198.51.100.7"} {
		require.Nil(t, r.set(caller, false, "192.0.2.0/24"), "the unchanged list")
		require.Nil(t, r.set(caller, false, "192.0.2.0/24", "203.0.114.1"))
		require.Nil(t, r.set(caller, false, "192.0.2.0/24"))
	}
	require.Nil(t, r.set("198.51.100.7", true, "192.0.2.0/25", "192.0.2.128/25"))
	require.False(t, r.confirmed(), "there was nothing to confirm")

	// Blocked requests are no use of the key.
	r.see(manage.SeenAddress{Addr: netip.MustParseAddr("192.0.2.77"), Blocked: 9})
	require.Nil(t, r.set("198.51.100.7", false, "192.0.2.128/25"))
}

// TestLockoutByMode ends report-only mode, under which everybody is served.
func TestLockoutByMode(t *testing.T) {
	r := newGuardRig(t, list("192.0.2.0/24")...)
	require.NoError(t, r.edit("192.0.2.1", manage.KeyEdit{ReportOnly: ptr(true)}))
	r.see(served(inside.String(), 3))
	require.Nil(t, r.set("198.51.100.7", false, "192.0.2.1"), "what is only watched locks nobody out")

	// What else is edited is not asked about.
	const caller = "198.51.100.7"
	require.NoError(t, r.edit(caller, manage.KeyEdit{Name: ptr("watched")}))
	var stopped *manage.LockoutError
	require.ErrorAs(t, r.edit(caller, manage.KeyEdit{ReportOnly: ptr(false)}), &stopped)
	require.Equal(t, []string{"198.51.100.7 caller", inside.String()}, who(t, stopped))
	require.ErrorAs(t, r.edit(caller, manage.KeyEdit{ReportOnly: ptr(false), Name: ptr("")}),
		new(*manage.FieldError), "faults come first")
	k, err := r.Key(t.Context(), r.id)
	require.NoError(t, err)
	require.True(t, k.ReportOnly)
	r.log.err = errors.New("the disk is gone")
	require.ErrorIs(t, r.edit(caller, manage.KeyEdit{ReportOnly: ptr(false)}), manage.ErrLockoutUnknown)
	r.log.err = nil
	require.NoError(t, r.edit(caller, manage.KeyEdit{ReportOnly: ptr(false), ConfirmLockout: true}))
	require.True(t, r.confirmed())
	require.NoError(t, r.edit(caller, manage.KeyEdit{ReportOnly: ptr(false)}), "it is enforced already")

	// A list that suits all who use it needs no confirmation.
	require.NoError(t, r.edit(caller, manage.KeyEdit{ReportOnly: ptr(true)}))
	r.see(served("192.0.2.1", 1))
	require.NoError(t, r.edit("192.0.2.1", manage.KeyEdit{ReportOnly: ptr(false)}))
}

// TestLockoutCountsAll has more addresses than are named.
func TestLockoutCountsAll(t *testing.T) {
	r := newGuardRig(t)
	var seen []manage.SeenAddress
	for i := range 3 * manage.MaxSeen {
		addr := netip.AddrFrom4([4]byte{20, 0, byte(i >> 8), byte(i)})
		seen = append(seen, served(addr.String(), int64(1+i%250)))
	}
	r.see(seen...)
	l := r.set(outside.String(), false, "192.0.2.1")
	require.NotNil(t, l)
	require.Equal(t, 3*manage.MaxSeen+1, l.Total)
	require.Len(t, l.Addresses, manage.MaxSeen)
	require.Equal(t, outside, l.Addresses[0].Addr, "the caller is always named")
	require.EqualValues(t, 250, l.Addresses[1].Served)
	require.Contains(t, l.Error(), "301 addresses")
}

// TestLockoutModel saves random lists over random traffic: exactly the
// addresses that a loop over the definition names are named.
func TestLockoutModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	addr := func() string { return fmt.Sprintf("203.0.113.%d", rnd.IntN(32)) }
	randomList := func() (texts []string) {
		for range rnd.IntN(4) {
			p := netip.MustParsePrefix(fmt.Sprintf("%s/%d", addr(), 27+rnd.IntN(6))).Masked().String()
			if !slices.Contains(texts, p) {
				texts = append(texts, p)
			}
		}
		return texts
	}
	// The definition, with none of the engine's parts.
	serves := func(texts []string, reportOnly bool, a netip.Addr) bool {
		return reportOnly || len(texts) == 0 || slices.ContainsFunc(texts, func(p string) bool {
			return netip.MustParsePrefix(p).Contains(a)
		})
	}
	asked, quiet := 0, 0
	r := newGuardRig(t)
	var inForce []string
	reportOnly := false
	for step := range 400 {
		var seen []manage.SeenAddress
		var used []netip.Addr
		for range rnd.IntN(12) {
			a := served(addr(), int64(rnd.IntN(3)))
			a.Blocked = int64(rnd.IntN(2))
			if slices.ContainsFunc(seen, func(s manage.SeenAddress) bool { return s.Addr == a.Addr }) {
				continue
			}
			if seen = append(seen, a); a.Served > 0 {
				used = append(used, a.Addr)
			}
		}
		r.see(seen...)
		caller := netip.MustParseAddr(addr())
		next, nextMode := randomList(), reportOnly
		if rnd.IntN(4) == 0 {
			next, nextMode = inForce, !reportOnly
		}
		var want []netip.Addr
		for _, a := range append(slices.Clone(used), caller) {
			if serves(inForce, reportOnly, a) && !serves(next, nextMode, a) && !slices.Contains(want, a) {
				want = append(want, a)
			}
		}
		says := fmt.Sprintf("seed %d, step %d: %q (report only %v) to %q (%v), used %v, caller %v",
			seed, step, inForce, reportOnly, next, nextMode, used, caller)
		change := func(confirm bool) (err error) {
			if nextMode != reportOnly {
				return r.edit(caller.String(), manage.KeyEdit{ReportOnly: &nextMode, ConfirmLockout: confirm})
			}
			actor := by
			actor.Addr = caller
			_, err = r.SetAllowlist(t.Context(), actor, r.id, manage.ListEdit{Entries: list(next...), ConfirmLockout: confirm})
			return err
		}
		err := change(false)
		if len(want) == 0 {
			require.NoError(t, err, says)
			quiet++
		} else {
			var l *manage.LockoutError
			require.ErrorAs(t, err, &l, says)
			var got []netip.Addr
			for _, a := range l.Addresses {
				got = append(got, a.Addr)
				require.Equal(t, a.Addr == caller, a.Caller, says)
			}
			require.ElementsMatch(t, want, got, says)
			require.Equal(t, len(want), l.Total, says)
			require.True(t, slices.IsSortedFunc(l.Addresses, func(a, b manage.SeenAddress) int {
				if a.Caller != b.Caller {
					return map[bool]int{true: -1, false: 1}[a.Caller]
				}
				return cmp.Compare(b.Served, a.Served)
			}), says)
			asked++
			if rnd.IntN(2) == 0 {
				continue
			}
			require.NoError(t, change(true), says)
		}
		inForce, reportOnly = next, nextMode
	}
	require.Greater(t, asked, 50)
	require.Greater(t, quiet, 50)
}

// TestLockoutUnknown has a usage log that cannot be read.
func TestLockoutUnknown(t *testing.T) {
	broken := errors.New("disk gone")
	log := &seenLog{err: broken}
	s, _, _ := managetest.Open(t, func(o *manage.Options) { o.Seen = log })
	id := create(t, s, "a").Key.ID
	_, err := save(s, id, office...)
	require.ErrorIs(t, err, manage.ErrLockoutUnknown)
	require.ErrorIs(t, err, broken)
	_, err = s.Try(t.Context(), by, id, &office, nil)
	require.ErrorIs(t, err, manage.ErrLockoutUnknown)
	_, err = s.Seen(t.Context(), id)
	require.ErrorIs(t, err, broken)
	_, err = save(s, id)
	require.NoError(t, err, "an empty list refuses nobody")
	_, err = s.SetAllowlist(t.Context(), by, id, manage.ListEdit{Entries: office, ConfirmLockout: true})
	require.NoError(t, err)

	// What takes nothing from anybody asks nothing, also of a broken log.
	more := append(list("192.0.2.1"), office...)
	_, err = save(s, id, more...)
	require.NoError(t, err)
	_, err = save(s, id, more...)
	require.NoError(t, err)
	_, err = save(s, id, office...)
	require.ErrorIs(t, err, manage.ErrLockoutUnknown)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.SetAllowlist(ctx, by, id, manage.ListEdit{Entries: list("192.0.2.1"), ConfirmLockout: true})
	require.ErrorIs(t, err, context.Canceled)
}
