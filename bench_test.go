package ipallow

import (
	"fmt"
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

// sizes is the numbers of keys, without the largest if -short is given.
func sizes(all ...int) []int {
	if testing.Short() {
		return all[:len(all)-1]
	}
	return all
}

func shapeName(s gen.Shape) string {
	return fmt.Sprintf("keys=%d/entries=%d/family=%s/result=%s", s.Keys, s.Entries, s.Family, s.Result)
}

// BenchmarkCheck is the cells of docs/performance-tables.md; with -short those that
// are quick to build.
func BenchmarkCheck(b *testing.B) {
	for s := range shapes {
		if testing.Short() && s.Keys > 1e5 {
			continue
		}
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

// BenchmarkCheckBatch is BenchmarkCheck in batches of 64.
func BenchmarkCheckBatch(b *testing.B) {
	for _, keys := range sizes(1e3, 1e5, 1e6) {
		for _, entries := range []int{5, 20} {
			b.Run(fmt.Sprintf("keys=%d/entries=%d", keys, entries), func(b *testing.B) {
				w := workload(gen.Shape{Keys: keys, Entries: entries, Family: "4", Result: "mixed", Seed: 1})
				e := loaded(b, w)
				texts, addrs := make([]string, len(w.Queries)), make([]netip.Addr, len(w.Queries))
				for i, q := range w.Queries {
					texts[i], addrs[i] = q.Key, q.Addr
				}
				var verdicts [64]Verdict
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if i%64 == 0 {
						j := i & (1<<16 - 1)
						e.CheckBatch(texts[j:j+64], addrs[j:j+64], verdicts[:])
					}
					i++
				}
			})
		}
	}
}

// BenchmarkLarge is one key with a list of many entries.
func BenchmarkLarge(b *testing.B) {
	for _, n := range []int{1e3, 1e5} {
		w := workload(gen.Shape{Keys: 1, Entries: n, Family: "mixed", Result: "mixed", Seed: 3})
		b.Run(fmt.Sprintf("prefixes=%d/table=engine", n), func(b *testing.B) {
			e := loaded(b, w)
			i := 0
			for b.Loop() {
				q := &w.Queries[i&(1<<16-1)]
				i++
				e.Check(q.Key, q.Addr)
			}
		})
		var lite bart.Lite
		var fast bart.Fast[struct{}]
		for _, p := range w.Lists[0] {
			lite.Insert(p)
			fast.Insert(p, struct{}{})
		}
		for _, t := range []struct {
			name     string
			contains func(netip.Addr) bool
		}{{"lite", lite.Contains}, {"fast", fast.Contains}} {
			b.Run(fmt.Sprintf("prefixes=%d/table=%s", n, t.name), func(b *testing.B) {
				i := 0
				for b.Loop() {
					t.contains(w.Queries[i&(1<<16-1)].Addr)
					i++
				}
			})
		}
	}
}

// BenchmarkSet changes one key while many are held.
func BenchmarkSet(b *testing.B) {
	for _, keys := range sizes(1e3, 1e5, 1e6) {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			w := workload(gen.Shape{Keys: keys, Entries: 5, Family: "4", Result: "mixed", Seed: 1})
			e := New(&Options{Policy: benchPolicy()})
			if err := e.Replace(listsOf(w)); err != nil {
				b.Fatal(err)
			}
			runtime.GC()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := e.Set(w.Keys[i%keys], entriesOf(w.Lists[(i+1)%keys])); err != nil {
					b.Fatal(err)
				}
				i += 7919
			}
		})
	}
}

// BenchmarkReplace loads everything from parsed entries.
func BenchmarkReplace(b *testing.B) {
	for _, keys := range sizes(1e5, 1e6) {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			w := workload(gen.Shape{Keys: keys, Entries: 5, Family: "4", Result: "mixed", Seed: 1})
			e := New(&Options{Policy: benchPolicy()})
			for b.Loop() {
				if err := e.Replace(listsOf(w)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParallel is Check from all processors; run it with -cpu 1,2.
func BenchmarkParallel(b *testing.B) {
	w := workload(gen.Shape{Keys: 1e5, Entries: 5, Family: "mixed", Result: "mixed", Seed: 1})
	e := loaded(b, w)
	b.RunParallel(func(pb *testing.PB) {
		i := rand.IntN(1 << 16)
		for pb.Next() {
			q := &w.Queries[i&(1<<16-1)]
			i++
			e.Check(q.Key, q.Addr)
		}
	})
}

// BenchmarkExplain is what a log line about a refusal costs.
func BenchmarkExplain(b *testing.B) {
	w := workload(gen.Shape{Keys: 1e5, Entries: 20, Family: "mixed", Result: "miss", Seed: 1})
	e := loaded(b, w)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		q := &w.Queries[i&(1<<16-1)]
		i++
		e.Explain(q.Key, q.Addr)
	}
}
