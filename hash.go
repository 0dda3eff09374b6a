package ipallow

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// A hasher gives keys their hashes. The seeds are random and different for
// each engine, so nobody can choose keys that collide; and if hashes do
// collide, only time is lost, because keys are compared in full.
//
// The hash folds the 128-bit product of two seeded words into 64 bits, 16
// bytes of the key at a time, as wyhash and its descendants do. hash/maphash
// is as good a hash, but a call that the compiler cannot inline: it costs
// Check 4 ns more for a key of 33 bytes, most of it for saving the arguments
// around the call (BenchmarkHash).
type hasher struct {
	seed0, seed1, seed2 uint64

	mask uint64 // all ones but in tests, which make hashes collide
}

func newHasher() hasher {
	var b [24]byte
	rand.Read(b[:]) // never fails
	return hasher{
		seed0: binary.LittleEndian.Uint64(b[:8]),
		seed1: binary.LittleEndian.Uint64(b[8:]),
		seed2: binary.LittleEndian.Uint64(b[16:]),
		mask:  ^uint64(0),
	}
}

// fold is the 128-bit product of a and b, its halves xored.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func word(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// bytes returns the hash of key. Snapshot.Check has the same computation in
// fast.go. The first two blocks of 16 bytes do not wait for each other.
func (h *hasher) bytes(key []byte) uint64 {
	n := uint64(len(key))
	if n >= 16 {
		x := fold(word(key)^h.seed1, word(key[8:])^h.seed0^n)
		if n > 32 {
			x ^= fold(word(key[16:])^h.seed2, word(key[24:])^h.seed0)
			for i := uint64(32); i < n-16; i += 16 {
				x = fold(word(key[i:])^h.seed1, word(key[i+8:])^x)
			}
		}
		return fold(word(key[n-16:])^h.seed1, word(key[n-8:])^x) & h.mask
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
	return fold(fold(a^h.seed1, b^h.seed0)^n, h.seed2) & h.mask
}

func (h *hasher) string(key string) uint64 { return h.bytes([]byte(key)) }
