package entrytext_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/canon"
	"github.com/ipallow/ipallow/internal/entrytext"
	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/naive"
	"github.com/stretchr/testify/require"
)

// Parse accepts what the model accepts and returns the same prefix. What is suggested for other
// texts can be taken as it stands: it is canonical, and its text is an entry.
func TestParse(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 1))
	seen := map[string]int{}
	texts := append([]string{"", strings.Repeat("1", 5000), "\xff", "fe80::1%eth0/64"}, gen.Traps...)
	for range 20_000 {
		texts = append(texts, gen.Text(r))
	}
	for _, text := range texts {
		want, code := naive.Parse(text)
		got, refusal := entrytext.Parse(text)
		require.Equal(t, code == "", refusal == nil, "%q: %+v, want %s", text, refusal, code)
		if refusal == nil {
			seen["entry"]++
			require.Equal(t, want, got, "%q", text)
			again, r := entrytext.Check(got)
			require.Nil(t, r)
			require.Equal(t, got, again)
			continue
		}
		require.NotEmpty(t, refusal.Reason, "%q", text)
		for _, n := range refusal.Networks {
			seen["suggestion"]++
			canonical, ok := canon.Prefix(n)
			require.True(t, ok && canonical == n, "%q: the suggestion %v is not canonical", text, n)
			back, r := entrytext.Parse(entrytext.Text(n))
			require.Nil(t, r, "%q: the suggestion %v", text, n)
			require.Equal(t, n, back)
		}
	}
	require.Greater(t, seen["entry"], 1000)
	require.Greater(t, seen["suggestion"], 1000)
}

func TestCheckOfPrefixes(t *testing.T) {
	t.Parallel()
	_, r := entrytext.Check(netip.Prefix{})
	require.Equal(t, entrytext.Syntax, r.Kind)
	_, r = entrytext.Check(netip.MustParsePrefix("203.0.113.5/24"))
	require.Equal(t, entrytext.HostBits, r.Kind)
	require.True(t, r.Either)
	_, r = entrytext.Check(netip.MustParsePrefix("::ffff:0.0.0.0/95"))
	require.Equal(t, entrytext.Syntax, r.Kind)
	p, r := entrytext.Check(netip.MustParsePrefix("::ffff:203.0.113.0/120"))
	require.Nil(t, r)
	require.Equal(t, netip.MustParsePrefix("203.0.113.0/24"), p)
	_, r = entrytext.Parse("2001:db8::1%eth0")
	require.Equal(t, entrytext.Zone, r.Kind)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("2001:db8::1/128")}, r.Networks)
}
