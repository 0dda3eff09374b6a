package ipallow

import (
	"fmt"
	"hash/maphash"
	"iter"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"github.com/gaissmai/bart"
	"github.com/ipallow/ipallow/internal/gen"
)

// Workloads and engines are kept between the runs of one benchmark: making
// a million keys takes longer than measuring them.
var (
	benchMu        sync.Mutex
	benchShape     gen.Shape
	benchWorkload  *gen.Workload
	benchEngineFor *gen.Workload
	benchEngine    *Engine
)

func workload(s gen.Shape) *gen.Workload {
	benchMu.Lock()
	defer benchMu.Unlock()
	if benchWorkload == nil || benchShape != s {
		benchShape, benchWorkload = s, s.New()
	}
	return benchWorkload
}

func entriesOf(l []netip.Prefix) []Entry {
	entries := make([]Entry, len(l))
	for i, p := range l {
		entries[i].Prefix = p
	}
	return entries
}

func listsOf(w *gen.Workload) iter.Seq2[string, []Entry] {
	return func(yield func(string, []Entry) bool) {
		var entries []Entry
		for i, k := range w.Keys {
			entries = entries[:0]
			for _, p := range w.Lists[i] {
				entries = append(entries, Entry{Prefix: p})
			}
			if !yield(k, entries) {
				return
			}
		}
	}
}

// benchPolicy takes any number of entries.
func benchPolicy() *Policy {
	p := DefaultPolicy()
	p.MaxEntries = 1 << 30
	p.AllowNonPublic = true
	p.MinBits4, p.MinBits6 = 0, 0
	return &p
}

func loaded(tb testing.TB, w *gen.Workload) *Engine {
	benchMu.Lock()
	defer benchMu.Unlock()
	if benchEngineFor != w {
		benchEngineFor, benchEngine = w, New(&Options{Policy: benchPolicy()})
		if err := benchEngine.Replace(listsOf(w)); err != nil {
			tb.Fatal(err)
		}
		runtime.GC()
	}
	return benchEngine
}

// shapes are the cells of BenchmarkCheck.
func shapes(yield func(gen.Shape) bool) {
	for _, keys := range []int{1e3, 1e5, 1e6} {
		for _, entries := range []int{5, 20} {
			for _, family := range []string{"4", "6", "mixed"} {
				for _, result := range []string{"hit", "miss", "mixed"} {
					if !yield(gen.Shape{Keys: keys, Entries: entries, Family: family, Result: result, Seed: 1}) {
						return
					}
				}
			}
		}
	}
}

func shapeName(s gen.Shape) string {
	return fmt.Sprintf("keys=%d/entries=%d/family=%s/result=%s", s.Keys, s.Entries, s.Family, s.Result)
}

func BenchmarkCheck(b *testing.B) {
	for s := range shapes {
		b.Run(shapeName(s), func(b *testing.B) {
			w := workload(s)
			e := loaded(b, w)
			for _, q := range w.Queries {
				if e.Check(q.Key, q.Addr).OK() != q.Hit {
					b.Fatalf("Check(%q, %v) is wrong", q.Key, q.Addr)
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				q := &w.Queries[i&(1<<16-1)]
				i++
				e.Check(q.Key, q.Addr)
			}
		})
	}
}

// BenchmarkMapLite is the peer that PERFORMANCE asks to beat; the others are
// in internal/compare.
func BenchmarkMapLite(b *testing.B) {
	for s := range shapes {
		b.Run(shapeName(s), func(b *testing.B) {
			w := workload(s)
			m := make(map[string]*bart.Lite, len(w.Keys))
			for i, k := range w.Keys {
				t := new(bart.Lite)
				for _, p := range w.Lists[i] {
					t.Insert(p)
				}
				m[k] = t
			}
			i := 0
			for b.Loop() {
				q := &w.Queries[i&(1<<16-1)]
				i++
				if t := m[q.Key]; t != nil {
					t.Contains(q.Addr)
				}
			}
		})
	}
}

// BenchmarkFloor is a hash and two dependent loads from as many bytes as the
// engine holds for the same number of keys.
func BenchmarkFloor(b *testing.B) {
	for _, keys := range []int{1e3, 1e5, 1e6} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			w := workload(gen.Shape{Keys: keys, Entries: 5, Family: "4", Result: "mixed", Seed: 1})
			e := loaded(b, w)
			size := 0
			for s := range e.Snapshot().index.all {
				size += len(s.blob) + len(s.table)
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

var floorSink uint64
