package index

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index/indextest"
	"github.com/stretchr/testify/require"
)

// Keys come by thousands and go again: shards split, empty and join, and at
// the end everything is as it was.
func TestShardsSplitAndEmpty(t *testing.T) {
	t.Parallel()
	for _, d := range indextest.Masks {
		t.Run(d.Name, func(t *testing.T) {
			n := 20 * splitKeys
			if d.Slow {
				n = splitKeys + splitKeys/4 // a walk over all of them for each step
			}
			e := newWithMask(d.Mask)
			_, _, bytes := e.Snapshot().shape()
			list := entries("203.0.113.0/24 label", "2001:db8::/48")
			set := func(from, to int) {
				require.NoError(t, e.Update(func(tx *tx) error {
					for i := from; i < to; i++ {
						if err := tx.Set(gen.BulkKey(i), list); err != nil {
							return err
						}
					}
					return nil
				}))
				CheckInvariants(e.Snapshot())
			}
			for i := 0; i < n; i += 100 {
				set(i, min(i+100, n))
			}
			full := e.Snapshot()
			_, shards, _ := full.shape()
			if d.Mask>>56 == 0xff {
				require.Greater(t, shards, n/splitKeys, "thousands of keys need more shards than one")
			}
			for sh := range full.directory.all {
				require.True(t, d.Slow || !sh.linear(), "a shard of %d records has no pilots", sh.n)
			}
			order := rand.New(rand.NewPCG(1, 1)).Perm(n)
			for i, k := range order {
				if i%3 == 0 { // most in steps of a few, some alone
					e.Delete(gen.BulkKey(k))
				} else {
					require.NoError(t, e.Update(func(tx *tx) error { tx.Delete(gen.BulkKey(k)); return nil }))
				}
				if i%97 == 0 {
					CheckInvariants(e.Snapshot())
					require.Equal(t, n-i-1, e.Snapshot().Len())
					for j := range 50 {
						want := Unrestricted
						if m := (i + 1 + j*7); m < n {
							want = Denied
							require.Equal(t, want, e.Check(gen.BulkKey(order[m]), addr("8.8.8.8")))
						}
						if m := i - j*7; m >= 0 {
							require.Equal(t, Unrestricted, e.Check(gen.BulkKey(order[m]), addr("8.8.8.8")))
						}
					}
				}
			}
			require.Zero(t, e.Snapshot().Len())
			bits, shards, left := e.Snapshot().shape()
			require.Equal(t, int(nodeBits), bits, "the directory is as small as at the start")
			require.Equal(t, 1, shards, "and all shards have joined")
			require.Equal(t, bytes, left, "into one that holds no byte more than an empty one")
			require.Equal(t, n, full.Len(), "the snapshot from before still has them all")
			require.Equal(t, Allowed, full.Check(gen.BulkKey(n/2), addr("203.0.113.9")))
		})
	}
}

// The directory doubles for more shards than it has places for, and halves
// when they are gone.
func TestDirectoryGrowsAndShrinks(t *testing.T) {
	const keys = 200 * splitKeys
	e := newEngine()
	list := entries("203.0.113.0/24")
	change := func(from, to int, set bool) {
		require.NoError(t, e.Update(func(tx *tx) error {
			for i := from; i < to; i++ {
				if !set {
					tx.Delete(gen.BulkKey(i))
				} else if err := tx.Set(gen.BulkKey(i), list); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	grown := 0
	for i := 0; i < keys; i += keys / 10 {
		change(i, i+keys/10, true)
		CheckInvariants(e.Snapshot())
		bits, _, _ := e.Snapshot().shape()
		grown = max(grown, bits)
	}
	require.Greater(t, grown, nodeBits)
	full := e.Snapshot()
	for i := 0; i < keys; i += keys / 10 {
		change(i, i+keys/10, false)
		CheckInvariants(e.Snapshot())
		require.Equal(t, keys-i-keys/10, e.Snapshot().Len())
	}
	bits, shards, _ := e.Snapshot().shape()
	require.Equal(t, [2]int{nodeBits, 1}, [2]int{bits, shards})
	CheckInvariants(full)
	for i := range keys {
		if full.Check(gen.BulkKey(i), addr("203.0.113.1")) != Allowed || e.Check(gen.BulkKey(i), addr("203.0.113.1")) != Unrestricted {
			t.Fatal(gen.BulkKey(i))
		}
	}
}

// Keys that differ in one byte, at every place of a long one, are different
// keys, whatever their hashes.
func TestKeysThatDifferInOneByte(t *testing.T) {
	t.Parallel()
	masks := indextest.Masks
	if testing.Short() {
		masks = masks[1:2] // all hashes equal: the lookup is a walk
	}
	for _, d := range masks {
		e := newWithMask(d.Mask)
		key := func(i int) string {
			b := []byte(strings.Repeat("x", 300))
			b[i] ^= 1
			return string(b)
		}
		require.NoError(t, e.Update(func(tx *tx) error {
			for i := range 300 {
				if err := tx.Set(key(i), entries(fmt.Sprintf("203.0.%d.%d/32", i/256, i%256))); err != nil {
					return err
				}
			}
			return nil
		}))
		CheckInvariants(e.Snapshot())
		for i := range 300 {
			a := addr(fmt.Sprintf("203.0.%d.%d", i/256, i%256))
			require.Equal(t, Allowed, e.Check(key(i), a), "%s, %d", d.Name, i)
			require.Equal(t, Denied, e.Check(key(i), a.Next()), "%s, %d", d.Name, i)
		}
		for _, other := range []string{strings.Repeat("x", 300), strings.Repeat("x", 299), strings.Repeat("x", 301), key(0)[:299], key(0) + "x"} {
			require.Equal(t, Unrestricted, e.Check(other, addr("8.8.8.8")), d.Name)
		}
		for i := 0; i < 300; i += 2 {
			e.Delete(key(i))
		}
		CheckInvariants(e.Snapshot())
		for i := range 300 {
			want := Denied
			if i%2 == 0 {
				want = Unrestricted
			}
			require.Equal(t, want, e.Check(key(i), addr("8.8.8.8")), "%s, %d", d.Name, i)
		}
	}
}

// A key whose cell and tag are those of another, which happens once in some
// hundred times, is not that other key if a single byte differs, in any place.
// With all hashes equal, and one key only, each key has that cell and tag.
func TestSameTagAndCell(t *testing.T) {
	t.Parallel()
	list := entries("203.0.113.0/24", "2001:db8::/48")
	inside := addr("203.0.113.5")
	for n := 1; n <= 130; n++ {
		key := strings.Repeat("k", n)
		e := newWithMask(0)
		require.NoError(t, e.Set(key, list))
		s := e.Snapshot().directory.shard(0)
		require.False(t, s.linear())
		require.NotZero(t, s.tags[s.cellOf(0)])
		keys := make([]string, n, n+2*BatchGroup)
		for i := range n {
			b := []byte(key)
			b[i]++
			keys[i] = string(b)
		}
		keys = append(keys, key+"k", key[1:]+"l")
		if n > 1 {
			keys = append(keys, key[1:])
		}
		for len(keys)%BatchGroup != 0 {
			keys = append(keys, "l"+key[1:])
		}
		verdicts := make([]Verdict, len(keys))
		e.CheckBatch(keys, slices.Repeat([]netip.Addr{inside}, len(keys)), verdicts)
		for i, other := range keys {
			require.Equal(t, Unrestricted, e.Check(other, inside), "%q of %d bytes, byte %d", other, n, i)
			require.Equal(t, Unrestricted, verdicts[i], "%q of %d bytes, byte %d, in a batch", other, n, i)
		}
		require.Equal(t, Allowed, e.Check(key, inside))
		require.Equal(t, Denied, e.Check(key, inside.Prev().Prev().Prev().Prev().Prev().Prev()))
	}
}

// TestLinearShard has more bytes of equal hashes in one shard than a shard is
// split at, and fewer again; and with hashes that differ, a shard of as many.
func TestLinearShard(t *testing.T) {
	t.Parallel()
	for mask, linear := range map[uint64]bool{0: true, 1<<40 - 1: false} {
		e := newWithMask(mask)
		key := func(i int) string { return gen.BulkKey(i) + strings.Repeat("k", MaxKeyLen-len(gen.BulkKey(i))) }
		list := entries("203.0.113.0/24", "2001:db8::/48")
		const n = splitKeys + splitKeys/6 // a kilobyte each
		check := func(from, to int) {
			CheckInvariants(e.Snapshot())
			for i := range n {
				in, out := Unrestricted, Unrestricted
				if from <= i && i < to {
					in, out = Allowed, Denied
				}
				require.Equal(t, in, e.Check(key(i), addr("203.0.113.9")), i)
				require.Equal(t, in, e.Check(key(i), addr("2001:db8::9")), i)
				require.Equal(t, out, e.Check(key(i), addr("198.51.100.1")), i)
			}
			var verdict [1]Verdict
			e.CheckBatch([]string{key(from)}, []netip.Addr{addr("198.51.100.1")}, verdict[:])
			require.Equal(t, Denied, verdict[0])
		}
		require.NoError(t, e.Update(func(tx *tx) error {
			for i := range n {
				if err := tx.Set(key(i), list); err != nil {
					return err
				}
			}
			return nil
		}))
		for s := range e.Snapshot().directory.all {
			if s.n > 1 {
				require.Equal(t, linear, s.linear())
				require.Greater(t, len(s.mem), splitBytes)
			}
		}
		check(0, n)
		for i := range n / 2 {
			e.Delete(key(i))
		}
		check(n/2, n)
		for i := n / 2; i < n-1; i++ {
			e.Delete(key(i))
		}
		check(n-1, n)
		for s := range e.Snapshot().directory.all {
			require.False(t, s.linear(), "one key has a cell of its own")
		}
	}
}

// Records of whatever lengths get cells of their own: a shard is linear only
// where hashes are equal.
func TestCellsForAllLengths(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	for name, length := range map[string]func() int{
		"short":                  func() int { return 20 },
		"long":                   func() int { return MaxKeyLen },
		"one in ten is long":     func() int { return 20 + r.IntN(10)/9*1000 },
		"one in hundred is long": func() int { return 20 + r.IntN(100)/99*1000 },
		"half are long":          func() int { return 20 + r.IntN(2)*1000 },
		"all lengths":            func() int { return 20 + r.IntN(1000) },
		"mostly short":           func() int { return 20 + r.IntN(10)*r.IntN(10)*r.IntN(10) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine()
			keys := make([]string, 2000)
			for i := range keys {
				keys[i] = gen.BulkKey(i)
				keys[i] += strings.Repeat("k", max(length()-len(keys[i]), 0))
			}
			check := func() {
				CheckInvariants(e.Snapshot())
				for s := range e.Snapshot().directory.all {
					require.False(t, s.linear())
				}
			}
			require.NoError(t, e.Update(func(tx *tx) error {
				for i, key := range keys {
					if err := tx.Set(key, fromNaive(gen.Distinct(1+i%20))); err != nil {
						return err
					}
				}
				return nil
			}))
			check()
			for i := range 100 {
				require.NoError(t, e.Set(keys[r.IntN(len(keys))], fromNaive(gen.Distinct(1+i%20))))
				if i%20 == 0 {
					check()
				}
			}
			all := e.Snapshot().lists
			require.NoError(t, e.Replace(all))
			check()
		})
	}
}

// Random hashes have pilots, every time: a pair of keys that has none makes
// lookups of all keys of its shard a walk.
func TestPilotsForAllPairs(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	rec := appendRecord(nil, strings.Repeat("k", 33), []Entry{{Prefix: prefix("10.0.0.0/24")}, {Prefix: prefix("10.0.1.0/24")}, {Prefix: prefix("10.0.2.0/24")}})
	var b shardBuilder
	for i := range 5000 {
		items := make([]item, splitKeys-i%100)
		for i := range items {
			items[i] = item{hash: r.Uint64(), rec: rec}
		}
		require.True(t, b.perfect(&shard{header: new(header)}, items))
	}
}
