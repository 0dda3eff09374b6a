package index

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// A hasher hashes keys. Its seeds are random and different for each engine, so nobody can choose
// keys that collide; if hashes collide all the same, only time is lost, since keys are compared.
//
// The hash is the XOR of folds, as in wyhash (https://github.com/wangyi-fudan/wyhash): of the
// first 16 bytes of the key, of the last 16, and of the blocks between them. Each block has its own
// seeds, so that the multiplications run in parallel: nothing of Check can begin before the hash.
//
// Where keys differ in one word only, each product has a factor in common, which only the seeds
// know. The hashes of such keys are spread well enough: a shard takes up to a third more memory
// (TestHashOfLikeKeys). hash/maphash is as good, but is not inlined and costs Check 4 ns more for
// a key of 33 bytes (BenchmarkHash).
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

// fold returns the two halves of the 128-bit product of a and b, XORed.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func word(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// bytes returns the hash of key. Check has the same computation for keys of 16 to 48 bytes inlined
// (check_fast.go). The blocks in the middle of longer keys are chained. The length is XORed last:
// XORed with a word before the multiplication, it could be cancelled by a byte of that word.
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
