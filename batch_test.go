package ipallow

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index"
	"github.com/ipallow/ipallow/internal/index/indextest"
	"github.com/stretchr/testify/require"
)

// CheckBatch and Check answer what a loop over the list answers: for keys of
// every kind of length, with and without lists, short, long and overlapping
// ones, in batches that are and are not whole groups, under hashes that
// collide too.
func TestCheckBatch(t *testing.T) {
	for _, d := range indextest.Masks {
		e := newWithMask(&Options{Policy: benchPolicy()}, d.Mask)
		r := rand.New(rand.NewPCG(7, 7))
		var keys []string
		require.NoError(t, e.Update(func(tx *Tx) error {
			for i := range 600 {
				key := gen.BulkKey(i)
				if i%7 == 0 {
					key = key[:1+i%5] + key
				}
				keys = append(keys, key, key+"?")
				list := entriesOf(gen.Shape{Keys: 1, Entries: 1 + i%(index.MaxShort+2), Family: "mixed", Queries: 1, Seed: uint64(i)}.New().Lists[0])
				if i%11 == 0 {
					list = append(list, Entry{Prefix: netip.MustParsePrefix("::/0")})
				}
				if err := tx.Set(key, list); err != nil {
					return err
				}
			}
			return nil
		}))
		keys = append(keys, "", "k", "seventeen bytes..", string(make([]byte, MaxKeyLen)), string(make([]byte, MaxKeyLen+1)))
		seen := map[Verdict]int{}
		for n := range 40 {
			batch, addrs, verdicts := make([]string, n), make([]netip.Addr, n), make([]Verdict, n)
			want := make([]Verdict, n)
			for i := range n {
				batch[i] = keys[r.IntN(len(keys))]
				list, held := e.Snapshot().Entries(batch[i])
				switch {
				case i%9 == 0: // the zero address
				case len(list) > 0 && i%2 == 0:
					addrs[i] = list[r.IntN(len(list))].Prefix.Addr()
				default:
					addrs[i] = netip.AddrFrom4([4]byte{byte(r.IntN(256)), 1, 2, 3})
				}
				want[i] = Denied
				if !held {
					want[i] = Unrestricted
				}
				for _, entry := range list {
					if entry.Prefix.Contains(addrs[i]) {
						want[i] = Allowed
					}
				}
				require.Equal(t, want[i], e.Check(batch[i], addrs[i]), "%s: %q %v", d.Name, batch[i], addrs[i])
			}
			e.CheckBatch(batch, addrs, verdicts)
			for i := range n {
				require.Equal(t, want[i], verdicts[i], "%s: %q %v, in a batch", d.Name, batch[i], addrs[i])
				seen[verdicts[i]]++
			}
		}
		require.Len(t, seen, 3, "verdicts seen")
	}
	require.Panics(t, func() { New(nil).CheckBatch(make([]string, 2), make([]netip.Addr, 1), make([]Verdict, 2)) })

	// What is not loaded, or nothing at all, denies.
	keys, addrs := make([]string, 9), make([]netip.Addr, 9)
	for _, e := range []*Engine{nil, new(Engine), New(&Options{DenyUntilLoaded: true})} {
		verdicts := []Verdict{1, 1, 1, 1, 1, 1, 1, 1, 1}
		e.CheckBatch(keys, addrs, verdicts)
		require.Equal(t, make([]Verdict, 9), verdicts)
	}

	e := New(nil)
	verdicts := make([]Verdict, 9)
	require.Zero(t, testing.AllocsPerRun(100, func() { e.CheckBatch(keys, addrs, verdicts) }))
}
