package audit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/reqlog"
)

// The report is what a loop over the lines and the entries counts, for lists
// that are scanned and for lists that are tables.
func TestReportVsNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	engine := ipallow.New(&ipallow.Options{Policy: &ipallow.Policy{MaxEntries: 1000, MaxLabel: 10, AllowNonPublic: true}})
	lists := map[string][]ipallow.Entry{}
	for _, n := range []int{1, 5, maxScanned, maxScanned + 1, 300} {
		seen := map[netip.Prefix]bool{}
		var entries []ipallow.Entry
		for len(entries) < n {
			// Nested networks under 198.18.0.0/15 and 2001:db8::/48.
			p := netip.PrefixFrom(addr4(rng), 18+rng.IntN(15)).Masked()
			if rng.IntN(4) == 0 {
				p = netip.PrefixFrom(addr6(rng), 50+rng.IntN(79)).Masked()
			}
			if !seen[p] {
				seen[p] = true
				entries = append(entries, ipallow.Entry{Prefix: p, Label: fmt.Sprint(len(entries))})
			}
		}
		key := fmt.Sprintf("key-%d", n)
		lists[key] = entries
		require.NoError(t, engine.Set(key, entries))
	}

	var log strings.Builder
	log.WriteString("key,address\n")
	keys := []string{"key-1", "key-5", "key-32", "key-33", "key-300", "other-1", "other-2", ""}
	want := map[string]*Key{}
	denied := map[netip.Addr]int64{}
	hits := map[string]int64{}
	without := int64(0)
	for range 20_000 {
		key, addr := keys[rng.IntN(len(keys))], addr4(rng)
		if rng.IntN(4) == 0 {
			addr = addr6(rng)
		}
		text := addr.String()
		if addr.Is4() && rng.IntN(8) == 0 {
			text = "::ffff:" + text
		}
		fmt.Fprintf(&log, "%s,%s\n", key, text)
		if key == "" {
			without++
			continue
		}
		k := want[key]
		if k == nil {
			k = &Key{Key: key, Entries: len(lists[key])}
			want[key] = k
		}
		best := -1
		for i, e := range lists[key] {
			if e.Prefix.Contains(addr) && (best < 0 || e.Prefix.Bits() > lists[key][best].Prefix.Bits()) {
				best = i
			}
		}
		switch {
		case lists[key] == nil:
			k.Unrestricted++
		case best < 0:
			k.Denied++
			denied[addr]++
		default:
			k.Allowed++
			hits[fmt.Sprint(key, " ", best)]++
		}
	}

	a := New(engine.Snapshot())
	stats, err := a.Add(context.Background(), strings.NewReader(log.String()), reqlog.Options{Workers: 3, BlockSize: 1000, MaxLine: 100})
	require.NoError(t, err)
	require.Zero(t, stats.BadLines)
	r := a.Report()
	require.EqualValues(t, 20_000, r.Requests)
	require.Equal(t, without, r.NoKey)
	require.Positive(t, without)
	require.Len(t, r.Keys, len(keys)-1)
	for _, k := range r.Keys {
		require.Equal(t, *want[k.Key], k)
	}
	require.Positive(t, r.Denied)
	require.Positive(t, r.Allowed)
	require.Positive(t, r.Unrestricted)
	require.Len(t, r.DeniedAddrs, len(denied))
	for _, x := range r.DeniedAddrs {
		require.Equal(t, denied[x.Addr], x.Denied, x.Addr)
	}
	unused := 0
	for key, entries := range lists {
		for i := range entries {
			if hits[fmt.Sprint(key, " ", i)] == 0 {
				unused++
			}
		}
	}
	require.Len(t, r.Unused, unused)
	require.Positive(t, unused)
	for _, e := range r.Unused {
		require.Zero(t, hits[fmt.Sprint(e.Key, " ", e.Index)], "%+v", e)
		require.Equal(t, lists[e.Key][e.Index].String(), e.Prefix)
	}
}

func addr4(rng *rand.Rand) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(rng.IntN(8)), byte(rng.Uint32())})
}

func addr6(rng *rand.Rand) netip.Addr {
	a := netip.MustParseAddr("2001:db8::").As16()
	a[6], a[15] = byte(rng.IntN(8)), byte(rng.IntN(8))
	return netip.AddrFrom16(a)
}

// What a log holds does not decide how much memory is used: denied addresses
// and keys without a list are counted one by one only up to a bound, and what
// is missing is said.
func TestBounds(t *testing.T) {
	engine := ipallow.New(nil)
	require.NoError(t, engine.Set("k", []ipallow.Entry{{Prefix: netip.MustParsePrefix("203.0.113.0/24")}}))
	a := New(engine.Snapshot())
	w := a.worker(0)
	b := [4]byte{198, 18}
	often := netip.MustParseAddr("192.0.2.1")
	const n = 3*maxAddrs + 5
	for i := range n {
		b[1], b[2], b[3] = byte(18+i>>16), byte(i>>8), byte(i)
		w.record([]byte("k"), netip.AddrFrom4(b))
		w.record([]byte("k"), often)
		w.record(fmt.Appendf(nil, "other-%d", i), often)
	}
	require.LessOrEqual(t, len(w.addrs), maxAddrs)
	require.Len(t, w.keys, maxOther+1)
	r := a.Report()
	require.EqualValues(t, 3*n, r.Requests)
	require.EqualValues(t, 2*n, r.Denied)
	require.EqualValues(t, n, r.Unrestricted)
	require.EqualValues(t, n-maxOther, r.OtherKeys)
	require.Equal(t, often, r.DeniedAddrs[0].Addr)
	require.LessOrEqual(t, r.DeniedAddrs[0].Denied, int64(n))
	require.GreaterOrEqual(t, r.DeniedAddrs[0].Denied+r.AddrsMissing, int64(n))

	// Names of keys can be long.
	a = New(engine.Snapshot())
	w = a.worker(0)
	long := make([]byte, 1<<18)
	for i := range 100 {
		long[0] = byte(i)
		w.record(long, often)
	}
	require.Len(t, w.keys, maxOtherBytes>>18)
	require.EqualValues(t, 100-maxOtherBytes>>18, a.Report().OtherKeys)
}
