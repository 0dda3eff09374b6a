package gen

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/naive"
	"github.com/stretchr/testify/require"
)

func source() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// The generators are worth something only if they make what they are for.
func TestListsHoldEveryKindOfPair(t *testing.T) {
	r, seen := source(), map[string]int{}
	for range 2000 {
		list := RawList(r, 1+r.IntN(8))
		for i, e := range list {
			p, ok := naive.Canonical(e.Prefix)
			if !ok {
				seen["not valid"]++
				continue
			}
			if p.Addr().Is4() != e.Prefix.Addr().Is4() {
				seen["mapped"]++
			}
			if e.Prefix.Masked() != e.Prefix {
				seen["host bits"]++
			}
			for _, f := range list[:i] {
				q, ok := naive.Canonical(f.Prefix)
				switch {
				case !ok:
				case p == q:
					seen["equal"]++
				case p.Overlaps(q):
					seen["nested"]++
				case p.Bits() == q.Bits() && (Edges(p)[3] == q.Addr() || Edges(q)[3] == p.Addr()):
					seen["adjacent"]++
				case p.Addr().Is4() != q.Addr().Is4():
					seen["mixed"]++
				}
			}
		}
	}
	for _, kind := range []string{"not valid", "mapped", "host bits", "equal", "nested", "adjacent", "mixed"} {
		require.Greater(t, seen[kind], 50, kind)
	}
}

func TestValidAndFaultyLists(t *testing.T) {
	r := source()
	wide := naive.Policy{MaxEntries: 1e6, MaxLabel: 100, AllowNonPublic: true}
	for range 1000 {
		_, faults := naive.Default.Validate(ValidList(r, 20))
		require.Empty(t, faults)
		_, faults = wide.Validate(FaultyList(r))
		require.Len(t, faults, 1)
	}
	narrow := naive.Default
	narrow.MaxEntries = 1e6
	_, faults := narrow.Validate(Distinct(2000))
	require.Empty(t, faults)
}

func TestAddrsFallInsideAndOutside(t *testing.T) {
	r, seen := source(), map[string]int{}
	for range 5000 {
		list := ValidList(r, 5)
		a := Addr(r, list)
		switch {
		case !a.IsValid():
			seen["zero"]++
		case naive.Contains(list, a):
			seen["in"]++
		default:
			seen["out"]++
		}
		if a.Is4In6() {
			seen["mapped"]++
		}
		if a.Zone() != "" {
			seen["zone"]++
		}
	}
	for _, kind := range []string{"zero", "in", "out", "mapped", "zone"} {
		require.Greater(t, seen[kind], 50, kind)
	}
}

func TestTextsHaveEveryCode(t *testing.T) {
	r, seen := source(), map[string]int{}
	for range 5000 {
		_, code := naive.Parse(Text(r))
		seen[code]++
	}
	for _, code := range []string{naive.OK, naive.InvalidSyntax, naive.Zone, naive.HostBits} {
		require.Greater(t, seen[code], 20, "%q", code)
	}
}

func TestOpsHaveEveryKind(t *testing.T) {
	o, kinds, keys := &Ops{Source: source(), Bulk: 1000, Large: 41}, map[OpKind]int{}, map[int]int{}
	for range 1000 {
		op := o.Next()
		kinds[op.Kind]++
		for _, c := range op.Changes {
			keys[len(c.Key)]++
		}
	}
	for _, k := range []OpKind{Set, Delete, Update, Replace, Look} {
		require.Greater(t, kinds[k], 20, "%d", k)
	}
	for _, n := range []int{0, 2, 33, 300, naive.MaxKeyLen, naive.MaxKeyLen + 1} {
		require.Greater(t, keys[n], 0, "keys of %d bytes", n)
	}
}

func TestUnderAndLists(t *testing.T) {
	p := netip.MustParsePrefix("203.0.113.240/28")
	require.Len(t, slices.Collect(Under(p, 28, 32)), 31)
	require.Len(t, slices.Collect(Under(netip.MustParsePrefix("255.255.255.254/31"), 31, 32)), 3, "the end of the family")
	n := 0
	seen := map[string]bool{}
	for l := range Lists([]string{"a", "b", "c"}, 3) {
		n++
		seen[strings.Join(l, "")] = true
	}
	require.Equal(t, 1+3+9+27, n)
	require.Len(t, seen, n)
	for range Lists([]int{1, 2}, 2) {
		break // must not panic
	}
}

func TestEdges(t *testing.T) {
	e := Edges(netip.MustParsePrefix("203.0.113.0/24"))
	require.Equal(t, "[203.0.113.0 203.0.113.255 203.0.112.255 203.0.114.0]", strings.ReplaceAll(
		strings.Join([]string{"[" + e[0].String(), e[1].String(), e[2].String(), e[3].String() + "]"}, " "), ",", ""))
	e = Edges(netip.MustParsePrefix("0.0.0.0/0"))
	require.False(t, e[2].IsValid() || e[3].IsValid(), "nothing stands before or after everything")
}

func TestBytes(t *testing.T) {
	b := FromBytes([]byte{7, 1, 0, 2})
	require.Equal(t, 7, b.IntN(256))
	require.Equal(t, 0x10002, b.IntN(1<<20))
	require.Zero(t, b.Left())
	require.Zero(t, b.IntN(10), "used up")
}

// What long lists are asked in another way must be the same workload.
func TestLongListsAnswerAsShortOnes(t *testing.T) {
	w := Shape{Keys: 1, Entries: 2000, Family: "mixed", Result: "mixed", Queries: 2000, Seed: 3}.New()
	ask, hits := longContains(w.Lists[0]), 0
	for _, q := range w.Queries {
		if q.Hit {
			hits++
		}
		if want := contains(w.Lists[0], q.Addr); want != q.Hit || ask(q.Addr) != want {
			t.Fatalf("%v: hit %v, long %v, want %v", q.Addr, q.Hit, ask(q.Addr), want)
		}
	}
	if hits == 0 || hits == len(w.Queries) {
		t.Fatalf("%d of %d hit", hits, len(w.Queries))
	}
}
