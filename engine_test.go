package ipallow

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index"
	"github.com/stretchr/testify/require"
)

// Each row of the table of verdicts.
func TestVerdicts(t *testing.T) {
	e := New(nil)
	office := entries("203.0.113.0/24 office", "2001:db8:1::/48")
	require.NoError(t, e.Set("office", office))
	require.NoError(t, e.Set("office, by a longer key", office)) // see listKeys
	require.NoError(t, e.Set("emptied", entries("203.0.113.0/24")))
	require.NoError(t, e.Set("emptied", nil))
	for _, c := range []struct {
		key    string
		addr   netip.Addr
		want   Verdict
		reason string
	}{
		{"unknown", addr("203.0.113.5"), Unrestricted, "a key that the engine does not know"},
		{"unknown", netip.Addr{}, Unrestricted, "from anywhere, also without an address"},
		{"emptied", addr("8.8.8.8"), Unrestricted, "an empty list"},
		{"", addr("8.8.8.8"), Denied, "the empty key cannot have a list"},
		{strings.Repeat("k", MaxKeyLen+1), addr("8.8.8.8"), Denied, "nor can one that is too long"},
		{"office", addr("203.0.113.0"), Allowed, "the first address"},
		{"office", addr("203.0.113.255"), Allowed, "the last address"},
		{"office", addr("203.0.112.255"), Denied, "one before"},
		{"office", addr("203.0.114.0"), Denied, "one after"},
		{"office", addr("::ffff:203.0.113.5"), Allowed, "IPv4-mapped is matched as IPv4"},
		{"office", addr("::ffff:203.0.114.5"), Denied, "and denied as IPv4"},
		{"office", addr("::ffff:203.0.113.5%eth0"), Allowed, "mapped with a zone"},
		{"office", addr("::203.0.113.5"), Denied, "IPv4-compatible is not IPv4-mapped"},
		{"office", addr("64:ff9b::203.0.113.5"), Denied, "nor is NAT64"},
		{"office", addr("2001:db8:1::9%eth0"), Allowed, "a zone is ignored"},
		{"office", addr("2001:db8:1:ffff:ffff:ffff:ffff:ffff"), Allowed, "the last IPv6 address"},
		{"office", addr("2001:db8:2::"), Denied, "one after"},
		{"office", netip.Addr{}, Denied, "no client address on a restricted key"},
		{"offic", addr("8.8.8.8"), Unrestricted, "the beginning of a key is another key"},
		{"office ", addr("8.8.8.8"), Unrestricted, "keys are compared whole"},
		{"Office", addr("8.8.8.8"), Unrestricted, "and with their case"},
	} {
		require.Equal(t, c.want, e.Check(c.key, c.addr), "%q from %v: %s", c.key, c.addr, c.reason)
		require.Equal(t, c.want, e.Snapshot().Check(c.key, c.addr), "%q from %v: %s", c.key, c.addr, c.reason)
		require.Equal(t, c.want, e.Explain(c.key, c.addr).Verdict, "%q from %v: %s", c.key, c.addr, c.reason)
		if c.key == "office" {
			require.Equal(t, c.want, e.Check("office, by a longer key", c.addr), "%v: %s", c.addr, c.reason)
		}
	}
}

// What the default policy allows is stored beside its key, and needs no table.
func TestDefaultListsAreShort(t *testing.T) {
	require.LessOrEqual(t, DefaultPolicy().MaxEntries, index.MaxShort)
}

// IPv6 networks that hold the mapped range hold no IPv4 address.
func TestMappedRangeInIPv6(t *testing.T) {
	for _, p := range []string{"::/0", "::/64", "::/80", "::fffe:0:0/95"} {
		for _, n := range []int{1, index.MaxShort + 1} {
			list := append(entries(p), fromNaive(gen.Distinct(n-1))...)
			e := New(&Options{Policy: widest()})
			for _, key := range listKeys {
				require.NoError(t, e.Set(key, list))
				require.Equal(t, Denied, e.Check(key, addr("203.0.113.5")), p)
				require.Equal(t, Denied, e.Check(key, addr("::ffff:203.0.113.5")), p)
				require.Equal(t, Allowed, e.Check(key, addr("::fffe:0:1")), p)
			}
		}
	}
}

func TestVerdictType(t *testing.T) {
	var zero Verdict
	require.Equal(t, Denied, zero, "the zero verdict denies")
	for _, c := range []struct {
		v    Verdict
		text string
		ok   bool
	}{{Denied, "denied", false}, {Allowed, "allowed", true}, {Unrestricted, "unrestricted", true}} {
		require.Equal(t, c.ok, c.v.OK(), c.text)
		require.Equal(t, c.text, c.v.String())
		b, err := json.Marshal(c.v)
		require.NoError(t, err)
		require.Equal(t, `"`+c.text+`"`, string(b))
		back := Verdict(9)
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, c.v, back)
	}
	for v := Unrestricted + 1; v != 0; v++ {
		require.False(t, v.OK(), "a value that is none of the three serves nothing")
		require.Equal(t, fmt.Sprintf("Verdict(%d)", uint8(v)), v.String())
		_, err := v.MarshalText()
		require.Error(t, err)
	}
	v := Allowed
	require.ErrorContains(t, v.UnmarshalText([]byte("Allowed\x1b")), `"Allowed\x1b"`, "quoted")
	require.Equal(t, Denied, v, "what cannot be read denies")
}

func TestExplain(t *testing.T) {
	e := New(nil)
	list := entries("203.0.113.0/24 site", "203.0.113.128/25 floor", "203.0.113.200/32", "2001:db8::/48 six", "2001:db8::/64")
	require.NoError(t, e.Set("k", list))
	for _, c := range []struct {
		addr string
		want int // -1: none
		text string
	}{
		{"203.0.113.1", 0, `allowed: 203.0.113.1 matches entry 1, 203.0.113.0/24 ("site")`},
		{"203.0.113.129", 1, `allowed: 203.0.113.129 matches entry 2, 203.0.113.128/25 ("floor")`},
		{"::ffff:203.0.113.200", 2, `allowed: 203.0.113.200 matches entry 3, 203.0.113.200/32`},
		{"2001:db8:0:1::%eth0", 3, `allowed: 2001:db8:0:1:: matches entry 4, 2001:db8::/48 ("six")`},
		{"2001:db8::1", 4, `allowed: 2001:db8::1 matches entry 5, 2001:db8::/64`},
		{"203.0.114.0", -1, `denied: 203.0.114.0 matches none of the 5 entries`},
	} {
		x := e.Explain("k", addr(c.addr))
		require.Equal(t, c.text, x.String())
		require.Equal(t, c.want >= 0, x.Matched)
		require.Equal(t, 5, x.Entries)
		require.True(t, x.Loaded)
		require.Equal(t, e.Snapshot().Revision(), x.Revision)
		if c.want >= 0 {
			require.Equal(t, c.want, x.Index)
			require.Equal(t, list[c.want], x.Entry)
		} else {
			require.Zero(t, x.Index)
			require.Zero(t, x.Entry)
		}
	}
	require.Equal(t, "denied: the request has no client address", e.Explain("k", netip.Addr{}).String())
	require.Equal(t, "unrestricted: the key has no allowlist", e.Explain("other", netip.Addr{}).String())
	require.Equal(t, "denied: the allowlists have not been loaded yet", Explanation{}.String())
	require.Equal(t, Denied, Explanation{}.Verdict)
}

// What was set is what can be read back, canonical, in order, with labels.
func TestReadBack(t *testing.T) {
	e := New(nil)
	given := []Entry{
		{prefix("2001:db8::/48"), "b"}, {prefix("::ffff:203.0.113.0/120"), ""}, {prefix("198.51.100.7/32"), "äß"},
		{prefix("2001:db8::1/128"), ""}, {prefix("203.0.113.0/25"), strings.Repeat("界", 100)},
	}
	want := append([]Entry(nil), given...)
	want[1].Prefix = prefix("203.0.113.0/24")
	require.NoError(t, e.Set("k", given))
	clear(given) // the engine kept nothing of the caller's

	got, ok := e.Snapshot().Entries("k")
	require.True(t, ok)
	require.Equal(t, want, got)
	got[0].Label = "mine" // nor is what it returns its own
	got, _ = e.Snapshot().Entries("k")
	require.Equal(t, want, got)
	for k, l := range e.Snapshot().All() {
		require.Equal(t, "k", k)
		require.Equal(t, want, l)
	}
	_, ok = e.Snapshot().Entries("other")
	require.False(t, ok)
}

// Bad data keeps the list that was there: it never opens a key.
func TestFaultyListKeepsThePrevious(t *testing.T) {
	for _, load := range []func(*Engine, []Entry) error{
		func(e *Engine, l []Entry) error { return e.Set("k", l) },
		func(e *Engine, l []Entry) error {
			return e.Update(func(tx *Tx) error { return tx.Set("k", l) })
		},
		func(e *Engine, l []Entry) error { return e.Replace(lists("k", l, "other", entries("203.0.113.9/32"))) },
	} {
		for _, bad := range [][]Entry{
			{{}}, {{Prefix: prefix("203.0.113.5/24")}}, entries("10.0.0.1/32"), entries("8.0.0.0/8"),
			entries("203.0.113.5/32", "::ffff:203.0.113.5/128"), fromNaive(gen.Distinct(21)),
			{{prefix("203.0.113.5/32"), "\n"}},
		} {
			e := New(nil)
			require.NoError(t, e.Set("k", entries("203.0.113.7/32 previous")))
			before := e.Snapshot()
			err := load(e, bad)
			var v *ValidationError
			require.ErrorAs(t, err, &v, "%v", bad)
			require.Same(t, before, e.Snapshot(), "nothing changed, the revision included")
			require.Equal(t, Denied, e.Check("k", addr("203.0.113.5")))
			require.Equal(t, Allowed, e.Check("k", addr("203.0.113.7")))
		}
	}
}

func TestDelete(t *testing.T) {
	e := New(nil)
	require.NoError(t, e.Set("a", entries("203.0.113.5/32")))
	require.NoError(t, e.Set("b", entries("203.0.113.5/32")))
	e.Delete("a")
	require.Equal(t, Unrestricted, e.Check("a", addr("8.8.8.8")))
	require.Equal(t, Denied, e.Check("b", addr("8.8.8.8")), "deleting one key opens no other")
	require.Equal(t, 1, e.Snapshot().Len())
	rev := e.Snapshot().Revision()
	e.Delete("a")
	e.Delete("")
	e.Delete(strings.Repeat("k", MaxKeyLen+1))
	require.Equal(t, 1, e.Snapshot().Len(), "deleting what is not there does nothing")
	require.Greater(t, e.Snapshot().Revision(), rev, "and is a step")
}

func TestRevisionsIncrease(t *testing.T) {
	e := New(nil)
	require.EqualValues(t, 1, e.Snapshot().Revision(), "an engine begins with 1")
	rev := uint64(1)
	for i, step := range []func() error{
		func() error { return e.Set("a", entries("203.0.113.5/32")) },
		func() error { return e.Set("a", entries("203.0.113.5/32")) }, // the same again
		func() error { e.Delete("a"); return nil },
		func() error { e.Delete("a"); return nil },
		func() error { return e.Update(func(*Tx) error { return nil }) },
		func() error { return e.Replace(lists("a", entries("203.0.113.5/32"))) },
		func() error { return e.Replace(lists()) },
		func() error { return e.ReplaceFunc(func(func(string, []Entry)) error { return nil }) },
	} {
		require.NoError(t, step())
		require.Greater(t, e.Snapshot().Revision(), rev, "step %d", i)
		rev = e.Snapshot().Revision()
		require.Equal(t, rev, e.Explain("a", netip.Addr{}).Revision)
	}
}

func TestDenyUntilLoaded(t *testing.T) {
	e := New(&Options{DenyUntilLoaded: true})
	in, out := addr("203.0.113.5"), addr("203.0.113.6")
	denies := func(why string) {
		t.Helper()
		require.False(t, e.Snapshot().Loaded(), why)
		for _, key := range []string{"k", "unknown", "", strings.Repeat("k", MaxKeyLen+1)} {
			require.Equal(t, Denied, e.Check(key, in), "%s: %.9q", why, key)
			x := e.Explain(key, in)
			require.Equal(t, Denied, x.Verdict, why)
			require.False(t, x.Loaded || x.Matched, why)
			require.Contains(t, x.String(), "not been loaded", why)
		}
	}
	denies("new")
	require.NoError(t, e.Set("k", entries("203.0.113.5/32")))
	denies("after Set")
	require.NoError(t, e.Update(func(tx *Tx) error { return tx.Set("l", entries("203.0.113.5/32")) }))
	denies("after Update")
	e.Delete("l")
	denies("after Delete")
	got, ok := e.Snapshot().Entries("k")
	require.True(t, ok, "what is set meanwhile is stored")
	require.Equal(t, entries("203.0.113.5/32"), got)
	require.Error(t, e.Replace(lists("k", entries("10.0.0.1/32"))))
	denies("after a Replace that failed")
	require.Error(t, e.ReplaceFunc(func(func(string, []Entry)) error { return errors.New("the source broke off") }))
	denies("after a source that failed")
	require.ErrorIs(t, e.Replace(nil), ErrNoLists)
	denies("after no sequence at all")

	before := e.Snapshot()
	require.NoError(t, e.Replace(lists("k", entries("203.0.113.5/32"))))
	require.True(t, e.Snapshot().Loaded())
	require.Equal(t, Allowed, e.Check("k", in))
	require.Equal(t, Denied, e.Check("k", out))
	require.Equal(t, Unrestricted, e.Check("unknown", out))
	require.Equal(t, Denied, before.Check("k", in), "a snapshot from before the load keeps denying")
	require.NoError(t, e.Set("k", nil))
	require.True(t, e.Snapshot().Loaded(), "once loaded, always loaded")

	empty := New(&Options{DenyUntilLoaded: true})
	require.NoError(t, empty.Replace(lists()))
	require.Equal(t, Unrestricted, empty.Check("k", in), "an empty load is a load")
}

// A nil or zero value of each exported type is safe, and does what its
// comment says.
func TestNilAndZero(t *testing.T) {
	in := addr("203.0.113.5")
	var e *Engine
	require.Equal(t, Denied, e.Check("k", in))
	require.Equal(t, Denied, e.Explain("k", in).Verdict)
	require.ErrorIs(t, e.Set("k", nil), ErrNoEngine)
	require.ErrorIs(t, e.Update(func(*Tx) error { return nil }), ErrNoEngine)
	require.ErrorIs(t, e.Replace(lists()), ErrNoEngine)
	require.ErrorIs(t, e.ReplaceFunc(func(func(string, []Entry)) error { return nil }), ErrNoEngine)
	require.NotPanics(t, func() { e.Delete("k") })
	require.Nil(t, e.Snapshot())
	require.Equal(t, Policy{}, e.Policy())

	zero := new(Engine)
	require.Equal(t, Denied, zero.Check("k", in), "the zero Engine denies until it is loaded")
	require.Equal(t, Denied, zero.Explain("k", in).Verdict)
	require.Nil(t, zero.Snapshot())
	require.Equal(t, DefaultPolicy(), zero.Policy())
	zero = new(Engine)
	zero.Delete("k")
	require.NoError(t, zero.Set("k", entries("203.0.113.5/32")))
	require.Error(t, zero.Set("k", entries("10.0.0.1/32")), "the default policy")
	require.Equal(t, Denied, zero.Check("k", in))
	require.NoError(t, zero.Replace(lists("k", entries("203.0.113.5/32"))))
	require.Equal(t, Allowed, zero.Check("k", in))
	require.NoError(t, new(Engine).Replace(lists()))

	for _, s := range []*Snapshot{nil, {}} {
		require.Equal(t, Denied, s.Check("k", in))
		require.Equal(t, Denied, s.Explain("k", in).Verdict)
		require.Zero(t, s.Len())
		require.Zero(t, s.Revision())
		require.False(t, s.Loaded())
		_, ok := s.Entries("k")
		require.False(t, ok)
		for range s.All() {
			t.Fatal("nothing is there")
		}
	}

	for _, l := range []*Allowlist{nil, {}, Compile(nil), Compile([]Entry{{}})} {
		require.False(t, l.Contains(in))
		require.False(t, l.Contains(netip.Addr{}))
		_, ok := l.Lookup(in)
		require.False(t, ok)
		require.Zero(t, l.Len())
	}

	for _, tx := range []*Tx{nil, {}} {
		require.ErrorIs(t, tx.Set("k", nil), ErrTxDone)
		require.NotPanics(t, func() { tx.Delete("k") })
	}
	var v *ValidationError
	require.NotEmpty(t, v.Error())
	require.Empty(t, v.Unwrap())
	require.NotEmpty(t, (&ValidationError{}).Error())
	require.NotEmpty(t, Warning{}.String())
}
