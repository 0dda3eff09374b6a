package index

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gaissmai/bart"
	"github.com/ipallow/ipallow/internal/gen"
)

// BenchmarkFloor is a hash and two dependent loads from as many bytes as the
// engine holds for the same number of keys.
func BenchmarkFloor(b *testing.B) {
	counts := []int{1e3, 1e5, 1e6}
	if testing.Short() {
		counts = counts[:2]
	}
	for _, keys := range counts {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			w := gen.Shape{Keys: keys, Entries: 5, Family: "4", Result: "mixed", Seed: 1}.New()
			e := newEngine()
			if err := e.Replace(listsOf(w)); err != nil {
				b.Fatal(err)
			}
			size := 0
			for s := range e.Snapshot().directory.all {
				size += len(s.mem)
			}
			buf := make([]uint64, size/8)
			r := rand.New(rand.NewPCG(1, 2))
			for i := range buf {
				buf[i] = r.Uint64()
			}
			seed := maphash.MakeSeed()
			n := uint64(len(buf))
			i, sum := 0, uint64(0)
			for b.Loop() {
				q := &w.Queries[i&(1<<16-1)]
				i++
				h := maphash.String(seed, q.Key)
				x := buf[(h>>32)*n>>32]
				sum += buf[(x^h)&0xffffffff*n>>32]
			}
			floorSink = sum
		})
	}
}

// BenchmarkHash compares the hash with hash/maphash, each as a call.
func BenchmarkHash(b *testing.B) {
	for _, n := range []int{16, 33, 64} {
		key := strings.Repeat("k", n)
		h := newHasher()
		seed := maphash.MakeSeed()
		b.Run(fmt.Sprintf("hash=ipallow/bytes=%d", n), func(b *testing.B) {
			for b.Loop() {
				floorSink += h.string(key)
			}
		})
		b.Run(fmt.Sprintf("hash=maphash/bytes=%d", n), func(b *testing.B) {
			for b.Loop() {
				floorSink += maphash.String(seed, key)
			}
		})
	}
}

// BenchmarkRepresentation compares the record and the table for lists of
// one length; MaxShort is where the table begins to pay, or where the bits of a
// tag end.
func BenchmarkRepresentation(b *testing.B) {
	for _, n := range []int{5, 10, 20, MaxShort} {
		w := gen.Shape{Keys: 1000, Entries: n, Family: "mixed", Result: "mixed", Seed: 2}.New()
		for _, kind := range []string{"record", "lite"} {
			b.Run(fmt.Sprintf("entries=%d/kind=%s", n, kind), func(b *testing.B) {
				records := make([]Table, len(w.Keys))
				tables := make([]bart.Lite, len(w.Keys))
				for i, l := range w.Lists {
					records[i] = Compile(entriesOf(l))
					for _, p := range l {
						tables[i].Insert(p)
					}
				}
				i, hits := 0, 0
				for b.Loop() {
					q := &w.Queries[i&(1<<16-1)]
					k := i % len(w.Keys)
					i++
					if kind == "record" && records[k].Contains(q.Addr) || kind == "lite" && tables[k].Contains(q.Addr) {
						hits++
					}
				}
				floorSink += uint64(hits)
			})
		}
	}
}

var floorSink uint64
