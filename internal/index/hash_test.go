package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Keys that have nearly everything in common have different hashes, which find
// shards, pilots and cells as those of random keys do: all shards have cells,
// and take little more memory. The seeds are fixed: with others, some shard in
// 500,000 has no pilots for such keys.
func TestHashOfLikeKeys(t *testing.T) {
	t.Parallel()
	const n = 10_000
	list := entries("203.0.113.0/24")
	r := rand.New(rand.NewPCG(1, 2))
	size := func(kind string, key func(i int) string) int {
		e := newWithHasher(func(h *hasher) {
			for i := range h.seeds {
				h.seeds[i] = r.Uint64()
			}
		})
		hash := e.Snapshot().hash
		seen := make(map[uint64]bool, n)
		require.NoError(t, e.Replace(func(yield func(string, []Entry) bool) {
			for i := range n {
				seen[hash.string(key(i))] = true
				if !yield(key(i), list) {
					return
				}
			}
		}), kind)
		require.Len(t, seen, n, "%s: hashes", kind)
		CheckInvariants(e.Snapshot())
		for sh := range e.Snapshot().directory.all {
			require.False(t, sh.linear(), "%s: a shard of %d records without cells", kind, sh.n)
		}
		_, _, bytes := e.Snapshot().shape()
		return bytes
	}
	lengths := []int{8, 15, 16, 17, 24, 32, 33, 40, 48, 49, 64, MaxKeyLen}
	if testing.Short() {
		lengths = []int{16, 33} // one of each way to hash a key but the longest
	}
	for _, length := range lengths {
		keys := make([]string, n)
		for i := range keys {
			b := make([]byte, 0, length+8)
			for len(b) < length {
				b = binary.LittleEndian.AppendUint64(b, r.Uint64())
			}
			keys[i] = string(b[:length])
		}
		drawn := size("random", func(i int) string { return keys[i] })
		for _, at := range []int{0, (length - 8) / 2, length - 8} {
			like := func(kind string, number func(i int) string) {
				kind = fmt.Sprintf("%d bytes, %s at %d", length, kind, at)
				bytes := size(kind, func(i int) string {
					return strings.Repeat("k", at) + number(i) + strings.Repeat("k", length-8-at)
				})
				require.Less(t, float64(bytes), 1.5*float64(drawn), "%s: bytes", kind)
			}
			like("decimals", func(i int) string { return fmt.Sprintf("%08d", i) })
			for _, shift := range []int{0, 20, 50} {
				like(fmt.Sprintf("a number times 1<<%d", shift), func(i int) string {
					return string(binary.LittleEndian.AppendUint64(nil, uint64(i)<<shift))
				})
			}
		}
	}
}

// Keys whose blocks are the same in another order have other hashes, and so
// have keys of zeros of every length, and keys of which one byte takes away what
// their lengths have that differs.
func TestHashKnowsPlaces(t *testing.T) {
	t.Parallel()
	h := newHasher()
	a, b, c := strings.Repeat("a", 16), strings.Repeat("b", 16), strings.Repeat("c", 16)
	seen := map[uint64]string{}
	keys := []string{a + b + c, a + c + b, b + a + c, b + c + a, c + a + b, c + b + a, a + a + b, a + b + a, b + a + a, a + b + b, a + a, a + b, b + a, a + a + a, a + a + a + a}
	for _, middle := range []string{a + b + c, a + c + b, b + a + c, b + c + a, c + a + b, c + b + a, a + a + b} {
		keys = append(keys, a+middle+a)
	}
	for at := range 16 { // a byte that changes with the length, and is all that does
		for n := 17; n <= 100; n++ {
			b := []byte(strings.Repeat("m", n))
			b[at] = byte(n) ^ 0x80
			keys = append(keys, string(b))
		}
	}
	for n := range MaxKeyLen {
		keys = append(keys, strings.Repeat("\x00", n+1))
	}
	for _, key := range keys {
		x := h.string(key)
		require.Empty(t, seen[x], "the hash of %q too", key)
		seen[x] = key
	}
}
