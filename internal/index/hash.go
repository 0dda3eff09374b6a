package index

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// A hasher gives keys their hashes. The seeds are random and different for
// each engine, so nobody can choose keys that collide; and if hashes do
// collide, only time is lost, because keys are compared in full.
//
// The hash is the sum, without carries, of folds: of the first 16 bytes of the key, of
// the last 16 and of those between. A fold is two seeded words multiplied, and the halves of their 128-bit product
// xored, as wyhash and its descendants do. Each block has seeds of its own, so
// the folds need not wait for one another: Check has the hash after one multiplication,
// and nothing else of it can begin before. Where keys differ in one word only, each
// product has one and the same factor, which only the seeds know: the hashes are then spread as
// evenly as random ones or more, and in rare cases less, so that shards take up to a third
// more memory (TestHashOfLikeKeys). One more multiplication takes that away, and all that this hash
// gains.
// hash/maphash is as good a hash, but a call that the compiler cannot inline: it costs
// Check 4 ns more for a key of 33 bytes, most of it for saving the arguments
// around the call (BenchmarkHash).
type hasher struct {
	seeds [6]uint64

	mask uint64 // all ones but in tests, which make hashes collide
}

func newHasher() hasher {
	h := hasher{mask: ^uint64(0)}
	var b [8 * len(h.seeds)]byte
	rand.Read(b[:]) // never fails
	for i := range h.seeds {
		h.seeds[i] = word(b[8*i:])
	}
	return h
}

// fold is the 128-bit product of a and b, its halves xored.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func word(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// bytes returns the hash of key. Index.Check has the same computation for
// keys of 16 to 48 bytes in check_fast.go: the first, the last and, if there are more
// than two, the second block. The blocks between of longer keys are a chain. The
// length comes last: where it met a word before that was multiplied, another byte
// in the word could take it away again, whatever the seeds.
func (h *hasher) bytes(key []byte) uint64 {
	n, s := uint64(len(key)), &h.seeds
	if n >= 16 {
		x := fold(word(key)^s[0], word(key[8:])^s[1]) ^ fold(word(key[n-16:])^s[2], word(key[n-8:])^s[3])
		if n > 32 {
			y := fold(word(key[16:])^s[4], word(key[24:])^s[5])
			for i := uint64(32); i < n-16; i += 16 {
				y = fold(word(key[i:])^s[4], word(key[i+8:])^s[5]^y)
			}
			x ^= y
		}
		return (x ^ n) & h.mask
	}
	var a, b uint64
	switch {
	case n >= 8:
		a, b = word(key), word(key[n-8:])
	case n >= 4:
		a = uint64(binary.LittleEndian.Uint32(key))
		b = uint64(binary.LittleEndian.Uint32(key[n-4:]))
	case n > 0:
		a = uint64(key[0])<<16 | uint64(key[n/2])<<8 | uint64(key[n-1])
	}
	return fold(fold(a^s[0], b^s[1])^n, s[2]) & h.mask
}

func (h *hasher) string(key string) uint64 { return h.bytes([]byte(key)) }
