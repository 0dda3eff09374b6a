package suggest

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJoin(t *testing.T) {
	texts := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	join := func(n int, list ...string) string {
		joined, others, ok := Join(texts(list...), policy(n, 9, 33))
		return fmt.Sprint(joined, others, ok)
	}
	require.Equal(t, "[203.0.113.0/31] 0 true", join(1, "203.0.113.0/32", "203.0.113.1/32"))
	require.Equal(t, "[203.0.113.0/24] 0 true", join(5, "203.0.113.128/25", "203.0.113.0/25", "203.0.113.7/32"))
	require.Equal(t, "[203.0.113.0/30] 2 true", join(1, "203.0.113.0/32", "203.0.113.3/32"))
	require.Equal(t, "[2001:db8::/47] 0 true", join(1, "2001:db8::/48", "2001:db8:1::/48"))
	require.Equal(t, "[] <nil> false", join(1, "203.0.113.0/32", "2001:db8::/48"), "no network contains both families")
	require.Equal(t, "[] <nil> false", join(1, "203.0.113.0/32", "20.0.0.0/32"), "/0 is too broad")
	require.Equal(t, "[] <nil> false", join(3))
}

// TestJoinOptimal compares with every list of a small world.
func TestJoinOptimal(t *testing.T) {
	world := netip.MustParsePrefix("203.0.113.16/28")
	var prefixes []netip.Prefix
	for bits := world.Bits(); bits <= 32; bits++ {
		for a := world.Addr(); world.Contains(a); a = a.Next() {
			if p, _ := a.Prefix(bits); p.Addr() == a {
				prefixes = append(prefixes, p)
			}
		}
	}
	rnd := rand.New(rand.NewPCG(3, 7))
	merged := 0
	for range 300 {
		var networks []netip.Prefix
		var seen []Seen
		for range 1 + rnd.IntN(5) {
			networks = append(networks, prefixes[rnd.IntN(len(prefixes))])
		}
		for a := world.Addr(); world.Contains(a); a = a.Next() {
			for _, p := range networks {
				if p.Contains(a) {
					seen = append(seen, Seen{Addr: a})
					break
				}
			}
		}
		n := 1 + rnd.IntN(3)
		want, _, ok := brute(seen, prefixes, n)
		require.True(t, ok)
		joined, others, ok := Join(networks, policy(n, 9, 33))
		require.True(t, ok)
		require.LessOrEqual(t, len(joined), n)
		require.Equal(t, want.String(), others.String(), "%v in %d", networks, n)
		in := new(big.Int)
		for _, p := range joined {
			in.Add(in, size(p))
		}
		require.Equal(t, int64(len(seen))+others.Int64(), in.Int64())
		for _, s := range seen {
			found := false
			for _, p := range joined {
				found = found || p.Contains(s.Addr)
			}
			require.True(t, found)
		}
		if len(joined) < len(networks) {
			merged++
		}
	}
	require.Greater(t, merged, 50)
}
