package ipallow

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index"
	"github.com/ipallow/ipallow/internal/naive"
	"github.com/stretchr/testify/require"
)

// A small world is tried whole: every list of up to three prefixes out of a
// few, in every order and with repetitions, and every address in and around.
func TestSmallWorlds(t *testing.T) {
	t.Parallel()
	for _, w := range []struct {
		name       string
		top        string
		from, to   int
		pick       func(netip.Prefix) bool // nil: all prefixes
		mapped     bool                    // every second prefix is given in its mapped form
		everywhere []string                // addresses besides those of top's edges
	}{
		{"4", "203.0.113.240/28", 28, 32, nil, false, []string{"0.0.0.0", "::", "::cb00:71f0", "::ffff:203.0.113.241", "2001:db8::1"}},
		{"mapped", "203.0.113.240/28", 28, 31, nil, true, []string{"::ffff:203.0.113.240", "::fffe:203.0.113.240"}},
		{"first of IPv4", "0.0.0.0/29", 29, 32, nil, false, []string{"::", "::1", "255.255.255.255"}},
		{"last of IPv4", "255.255.255.248/29", 29, 32, nil, false, []string{"0.0.0.0", "::ffff:255.255.255.255"}},
		{"6", "2001:db8::30/124", 124, 128, nil, false, []string{"203.0.113.1", "::30", "2001:db8::30%eth0"}},
		{"last of IPv6", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff8/125", 125, 128, nil, false, []string{"255.255.255.255", "::"}},
		{"around the 64th bit", "2001:db8:0:4::/62", 62, 66, nil, false, []string{"203.0.113.1"}},
		{"beside the mapped range", "::fffe:0:0/94", 94, 98, func(p netip.Prefix) bool { return !p.Addr().Is4In6() }, false, []string{"0.0.0.0", "::ffff:0:0", "::ffff:ffff:ffff"}},
	} {
		t.Run(w.name, func(t *testing.T) {
			top := prefix(w.top)
			var prefixes []netip.Prefix
			addrs := []netip.Addr{{}}
			for _, s := range w.everywhere {
				addrs = append(addrs, addr(s))
			}
			unit := top.Addr().BitLen() // the edges of all prefixes are the edges of those of length to
			if w.to < unit {
				unit = w.to
			}
			for p := range gen.Under(top, unit, unit) {
				e := gen.Edges(p)
				addrs = append(addrs, e[0])
				if e[0] != e[1] {
					addrs = append(addrs, e[1])
				}
			}
			around := gen.Edges(top)
			for _, a := range around[2:] {
				if a.IsValid() {
					addrs = append(addrs, a)
				}
			}
			for p := range gen.Under(top, w.from, w.to) {
				if w.pick == nil || w.pick(p) {
					if w.mapped && len(prefixes)%2 == 1 {
						p = gen.Mapped(p)
					}
					prefixes = append(prefixes, p)
				}
			}
			size := 3
			if testing.Short() {
				size = 2
			}
			hits, misses := 0, 0
			for choice := range gen.Lists(prefixes, size) {
				list := make([]naive.Entry, len(choice))
				for i, p := range choice {
					list[i].Prefix = p
				}
				// The engine stores a list as Compile does; the two are
				// compared on every list of up to two.
				l := listUnderTest{list: list, table: Compile(fromNaive(list))}
				if len(list) < 3 {
					l, _ = newListUnderTest(t, list)
				}
				l.count(t, addrs, &hits, &misses)
			}
			require.Greater(t, hits, 100)
			require.Greater(t, misses, 100)
		})
	}
}

// The first and last address of every length of both families, the one
// before and the one after, as a record and as a table, alone and behind
// others.
func TestEdgesOfEveryLength(t *testing.T) {
	t.Parallel()
	bases := []netip.Addr{
		addr("0.0.0.0"), addr("255.255.255.255"), addr("203.0.113.165"), addr("128.0.0.0"),
		addr("::"), addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), addr("2001:db8:1234:5678:9abc:def0:1234:5678"),
		addr("2001:db8:0:1::"), addr("2001:db8:0:1:8000::"), addr("::ffff:ffff:ffff:ffff"), addr("1::"),
	}
	hits, misses := 0, 0
	for _, a := range bases {
		for bits := range a.BitLen() + 1 {
			p, err := a.Prefix(bits)
			require.NoError(t, err)
			alone := []naive.Entry{{Prefix: p}}
			far := naive.Entry{Prefix: prefix("100.100.100.100/32")}
			far6 := naive.Entry{Prefix: prefix("4000::1/128")}
			for _, list := range [][]naive.Entry{
				alone, {{Prefix: gen.Mapped(p)}}, {far, far6, alone[0]}, {alone[0], far6, far},
				append(gen.Distinct(index.MaxShort), alone...),
			} {
				l, _ := newListUnderTest(t, list)
				for _, edge := range gen.Edges(p) {
					l.count(t, []netip.Addr{edge, gen.MappedAddr(edge), edge.WithZone("0")}, &hits, &misses)
				}
			}
		}
	}
	require.Greater(t, hits, 10_000)
	require.Greater(t, misses, 10_000)
}

// Every number of entries that a search can have, with each entry met at its
// edges. Entries have different lengths, and stand beside each other or apart,
// but none covers another: lists in which one does are not searched.
func TestSearchOfEveryLength(t *testing.T) {
	t.Parallel()
	net4 := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(9 * i), byte(i % 2 << 7), 0}), 17+i%7)
	}
	net6 := func(i int) netip.Prefix {
		bits := 49 + i%16
		if i%5 == 4 {
			bits = 128
		}
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, byte(9 * i), byte(i % 2 << 7)}), bits)
	}
	hits, misses := 0, 0
	for n4 := range index.MaxShort + 1 {
		for n6 := range index.MaxShort + 1 - n4 {
			if n4 > 0 && n6 > 0 && n4%6 != 1 && n6%6 != 1 {
				continue // each number with some of the other family
			}
			var list []naive.Entry
			for i := range n4 {
				list = append(list, naive.Entry{Prefix: net4(i).Masked()})
			}
			for i := range n6 {
				list = append(list, naive.Entry{Prefix: net6(i).Masked()})
			}
			l, stored := newListUnderTest(t, list)
			require.Equal(t, len(list) > 0, stored)
			if !stored {
				continue
			}
			require.Empty(t, Warnings(fromNaive(list)), "%d and %d entries, of which none covers another", n4, n6)
			for _, e := range list {
				edges := gen.Edges(e.Prefix)
				l.count(t, edges[:], &hits, &misses)
			}
		}
	}
	require.Greater(t, hits, 5_000)
	require.Greater(t, misses, 5_000)
}

// Random lists of every length around the one where a record becomes a
// table, and addresses at their edges.
func TestCheckVsNaive(t *testing.T) {
	t.Parallel()
	r, seen := rand.New(rand.NewPCG(7, 8)), tally{}
	for i := range 1000 {
		n := r.IntN(25)
		switch i % 10 {
		case 0:
			n = index.MaxShort - 2 + r.IntN(5)
		case 1:
			n = r.IntN(4 * index.MaxShort)
		}
		list := gen.RawList(r, n)
		if i%2 == 0 {
			list = gen.ValidList(r, n)
		}
		l, stored := newListUnderTest(t, list)
		if stored {
			seen["stored"]++
		}
		for range 60 {
			if l.check(t, gen.Addr(r, list)) {
				seen["allowed"]++
			} else {
				seen["denied"]++
			}
		}
		if n == 0 {
			require.Equal(t, Unrestricted, New(nil).Check("k", gen.Addr(r, nil)))
			seen["unrestricted"]++
		}
	}
	seen.require(t, 20, "stored", "allowed", "denied", "unrestricted")
}

// Every order of a list gives the same verdicts, and the same most specific
// match.
func TestOrderDoesNotMatter(t *testing.T) {
	list := []naive.Entry{
		{Prefix: prefix("203.0.113.0/24")}, {Prefix: prefix("203.0.113.64/26")}, {Prefix: prefix("2001:db8::/48")},
		{Prefix: prefix("2001:db8::/96")}, {Prefix: prefix("203.0.113.65/32")},
	}
	var orders func([]naive.Entry, int)
	n := 0
	orders = func(l []naive.Entry, k int) {
		if k == len(l) {
			n++
			u, _ := newListUnderTest(t, l)
			for _, e := range list {
				for _, a := range gen.Edges(e.Prefix) {
					u.check(t, a)
				}
			}
			return
		}
		for i := k; i < len(l); i++ {
			l[k], l[i] = l[i], l[k]
			orders(l, k+1)
			l[k], l[i] = l[i], l[k]
		}
	}
	orders(append([]naive.Entry(nil), list...), 0)
	require.Equal(t, 120, n)
}

func TestWarningsVsNaive(t *testing.T) {
	r, seen := rand.New(rand.NewPCG(9, 10)), tally{}
	for range 3000 {
		list := gen.RawList(r, r.IntN(10))
		by := naive.Redundant(list)
		got := Warnings(fromNaive(list))
		for i, j := range by {
			if j < 0 {
				seen["not redundant"]++
				continue
			}
			seen["redundant"]++
			require.NotEmpty(t, got, literal(list))
			w := got[0]
			got = got[1:]
			require.Equal(t, [2]int{i, j}, [2]int{w.Index, w.By}, "%v\n%s", w, literal(list))
			require.Equal(t, CodeRedundant, w.Code)
			p, _ := naive.Canonical(list[i].Prefix)
			require.Equal(t, p.String(), w.Input)
		}
		require.Empty(t, got, literal(list))
	}
	seen.require(t, 100, "redundant", "not redundant")
}

// A redundant entry is legal: it is a warning and no error.
func TestRedundantIsLegal(t *testing.T) {
	list := entries("203.0.113.0/24", "203.0.113.5/32", "203.0.113.0/25")
	require.NoError(t, DefaultPolicy().Validate(list))
	got := Warnings(list)
	require.Len(t, got, 2)
	require.Equal(t, `entry 2 "203.0.113.5/32": redundant: entry 1, 203.0.113.0/24, already covers it; it can be removed`, got[0].String())
	require.Nil(t, Warnings(list[:1]))
	require.Nil(t, Warnings(nil))
}
