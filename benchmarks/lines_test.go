package main

import (
	"fmt"
	"hash/maphash"
	"testing"

	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

// BenchmarkLines is a model of what bounds a Check among many keys: a hash of
// the key, a load from each of so many cache lines that stand side by side
// somewhere in 200 MB, and so many instructions more, which wait for no load. As in a
// benchmark of Check, a key does not wait for the one before it.
func BenchmarkLines(b *testing.B) {
	const size = 200 << 20
	buf := make([]byte, size)
	for i := 0; i < size; i += 512 {
		buf[i] = byte(i >> 9) // so that each page is one of its own
	}
	w := workload.Shape{Keys: queries, Entries: 1, Family: "4", Result: "hit", Queries: queries, Seed: 1}.New()
	seed := maphash.MakeSeed()
	for _, instructions := range []int{0, 60, 120, 180} {
		for lines := 1; lines <= 4; lines++ {
			b.Run(fmt.Sprintf("instructions=%d/lines=%d", instructions, lines), func(b *testing.B) {
				var sum uint64
				touch := touches[lines-1]
				for i := 0; b.Loop(); i++ {
					h := maphash.String(seed, w.Queries[i%queries].Key)
					sum += touch((*[4 * 64]byte)(buf[(h>>32)*(size-512)>>32:]))
					sum += work(instructions, h)
				}
				sink = sum
			})
		}
	}
}

var sink uint64

var touches = [4]func(*[4 * 64]byte) uint64{
	func(p *[4 * 64]byte) uint64 { return uint64(p[0]) },
	func(p *[4 * 64]byte) uint64 { return uint64(p[0]) + uint64(p[64]) },
	func(p *[4 * 64]byte) uint64 { return uint64(p[0]) + uint64(p[64]) + uint64(p[128]) },
	func(p *[4 * 64]byte) uint64 { return uint64(p[0]) + uint64(p[64]) + uint64(p[128]) + uint64(p[192]) },
}

// work is n instructions and some 25, of which few wait for each other.
//
//go:noinline
func work(n int, a uint64) uint64 {
	b, c, d := a+1, a+2, a+5
	for range n / 8 {
		a, b, c, d = a+b, b^c, c+d, d^a
	}
	return a ^ b ^ c ^ d
}
