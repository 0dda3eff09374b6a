package canon_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/ipallow/ipallow/internal/canon"
	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/naive"
	"github.com/stretchr/testify/require"
)

// The model has a canonicaliser of its own, which shares nothing with this one.
func TestAgainstTheModel(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	seen := map[string]int{}
	for range 20_000 {
		a := gen.Addr(r, nil)
		got := canon.Addr(a)
		require.Equal(t, naive.CanonicalAddr(a), got, "%v", a)
		require.Equal(t, got, canon.Addr(got), "a canonical address stays as it is")
		if got != a {
			seen["address"]++
		}
		for _, bits := range []int{r.IntN(33), 96 + r.IntN(33), 64 + r.IntN(65)} {
			p := netip.PrefixFrom(a.WithZone(""), bits)
			want, wantOK := naive.Canonical(p)
			got, ok := canon.Prefix(p)
			require.Equal(t, wantOK, ok, "%v", p)
			if !ok {
				seen["invalid"]++
				continue
			}
			require.Equal(t, want, got, "%v", p)
			require.True(t, got.Contains(canon.Last(got)))
			require.False(t, got.Contains(canon.Last(got).Next()), "the last of %v", got)
			if u, ok := canon.Unmap(p); !ok {
				seen["short mapped"]++
				require.Equal(t, p, u)
			} else {
				require.Equal(t, got, u.Masked())
			}
			if got != p {
				seen["prefix"]++
			}
		}
	}
	for _, kind := range []string{"address", "prefix", "invalid", "short mapped"} {
		require.Greater(t, seen[kind], 50, "too few cases of %s: %v", kind, seen)
	}
	require.Equal(t, netip.Addr{}, canon.Addr(netip.Addr{}))
}

func TestCompare(t *testing.T) {
	t.Parallel()
	p := netip.MustParsePrefix
	inOrder := []netip.Prefix{p("0.0.0.0/0"), p("10.0.0.0/8"), p("10.0.0.0/9"), p("10.128.0.0/9"), p("255.255.255.255/32"), p("::/0"), p("::/1"), p("::1/128"), p("2001:db8::/32")}
	for i, a := range inOrder {
		for j, b := range inOrder {
			require.Equal(t, i < j, canon.Compare(a, b) < 0, "%v and %v", a, b)
			require.Equal(t, i == j, canon.Compare(a, b) == 0, "%v and %v", a, b)
		}
	}
}
