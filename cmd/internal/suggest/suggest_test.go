package suggest

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/ipallow/ipallow"
	"github.com/stretchr/testify/require"
)

func policy(entries, bits4, bits6 int) ipallow.Policy {
	return ipallow.Policy{MaxEntries: entries, MinBits4: bits4, MinBits6: bits6, MaxLabel: 100}
}

// brute tries every list of at most n networks in the small world of the
// prefixes, and returns the fewest unseen addresses and with how many
// networks; false if no list covers all.
func brute(seen []Seen, prefixes []netip.Prefix, n int) (best *big.Int, length int, ok bool) {
	var try func(from int, chosen []netip.Prefix)
	try = func(from int, chosen []netip.Prefix) {
		all, cost := true, new(big.Int)
		for _, s := range seen {
			in := false
			for _, p := range chosen {
				in = in || p.Contains(s.Addr)
			}
			all = all && in
		}
		if all {
			for _, p := range chosen {
				size := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
				for _, s := range seen {
					if p.Contains(s.Addr) {
						size.Sub(size, big.NewInt(1))
					}
				}
				cost.Add(cost, size)
			}
			if !ok || cost.Cmp(best) < 0 || cost.Cmp(best) == 0 && len(chosen) < length {
				best, length, ok = cost, len(chosen), true
			}
			return
		}
		if len(chosen) == n {
			return
		}
		for i := from; i < len(prefixes); i++ {
			try(i+1, append(chosen[:len(chosen):len(chosen)], prefixes[i]))
		}
	}
	try(0, nil)
	return best, length, ok
}

func TestOptimal(t *testing.T) {
	worlds := [][]netip.Prefix{{netip.MustParsePrefix("203.0.113.16/28")},
		{netip.MustParsePrefix("2001:db8::10/125"), netip.MustParsePrefix("203.0.113.8/30")}}
	r := rand.New(rand.NewPCG(3, 5))
	merged, single, refused := 0, 0, 0
	for round := range 300 {
		var prefixes []netip.Prefix
		var addrs []netip.Addr
		for _, world := range worlds[round%2] {
			for bits := world.Bits(); bits <= world.Addr().BitLen(); bits++ {
				for a := world.Addr(); world.Contains(a); a = a.Next() {
					if p, _ := a.Prefix(bits); p.Addr() == a {
						prefixes = append(prefixes, p)
					}
					if bits == world.Addr().BitLen() {
						addrs = append(addrs, a)
					}
				}
			}
		}
		var seen []Seen
		for range 1 + r.IntN(6) {
			seen = append(seen, Seen{addrs[r.IntN(len(addrs))], 1})
		}
		n := 1 + r.IntN(3)
		// Nothing broader than the world, which is all that brute tries.
		got := List(seen, policy(n, worlds[round%2][len(worlds[round%2])-1].Bits(), worlds[round%2][0].Bits()))
		want, length, ok := brute(canonical(seen), prefixes, n)
		if !ok {
			refused++
			require.NotEmpty(t, got.LeftOut)
			continue
		}
		cost := new(big.Int)
		for _, e := range got.Entries {
			cost.Add(cost, e.Unseen)
			if e.Prefix.IsSingleIP() {
				single++
			} else {
				merged++
			}
		}
		require.Empty(t, got.LeftOut)
		require.True(t, got.Exact)
		require.Equal(t, want.String(), cost.String(), "%v in %d: %v", seen, n, got.Entries)
		require.Len(t, got.Entries, length, "%v in %d: %v", seen, n, got.Entries)
	}
	require.Positive(t, merged)
	require.Positive(t, single)
	require.Positive(t, refused)
}

func TestLimits(t *testing.T) {
	at := func(s string) Seen { return Seen{netip.MustParseAddr(s), 2} }
	p := policy(2, 24, 64)

	r := List(nil, p)
	require.Empty(t, r.Entries)

	r = List([]Seen{at("203.0.113.5"), at("::ffff:203.0.113.5")}, p)
	require.Len(t, r.Entries, 1)
	require.Equal(t, "203.0.113.5/32", r.Entries[0].Prefix.String())
	require.EqualValues(t, 4, r.Entries[0].Requests)
	require.Equal(t, 1, r.Entries[0].Addresses)
	require.Zero(t, r.Entries[0].Unseen.Sign())

	// 10.0.0.1 is not public; three /24s do not fit, and the one with the
	// fewest requests is left out.
	r = List([]Seen{at("10.0.0.1"), at("203.0.113.5"), at("203.0.113.9"), at("198.51.100.1"), {netip.MustParseAddr("192.0.2.1"), 1}}, p)
	require.Len(t, r.Entries, 2)
	require.Len(t, r.LeftOut, 2)
	for _, e := range r.Entries {
		require.GreaterOrEqual(t, e.Prefix.Bits(), 24)
	}

	require.Empty(t, List([]Seen{at("203.0.113.5")}, policy(0, 9, 33)).Entries)
}

// Many addresses are joined to as many as the exact search takes, and the
// list still covers them all.
func TestMany(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var seen []Seen
	for i := range 20_000 {
		b := [4]byte{198, byte(51 + i%5), byte(r.IntN(256)), byte(r.IntN(256))}
		seen = append(seen, Seen{netip.AddrFrom4(b), 1})
	}
	got := List(seen, ipallow.DefaultPolicy())
	require.False(t, got.Exact)
	require.Empty(t, got.LeftOut)
	require.LessOrEqual(t, len(got.Entries), 20)
	var requests int64
	for _, e := range got.Entries {
		requests += e.Requests
	}
	require.EqualValues(t, 20_000, requests)
	for _, s := range seen {
		in := 0
		for _, e := range got.Entries {
			if e.Prefix.Contains(s.Addr) {
				in++
			}
		}
		require.Equal(t, 1, in, fmt.Sprint(s.Addr))
	}
}
