package ipallow

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index"
	"github.com/stretchr/testify/require"
)

// readers runs fn in n goroutines until stop is called, which waits for them
// and returns how often fn ran.
func readers(n int, fn func()) (stop func() int64) {
	var done atomic.Bool
	var count atomic.Int64
	var wg, begun sync.WaitGroup
	for range n {
		begun.Add(1)
		wg.Go(func() {
			fn()
			begun.Done()
			for !done.Load() {
				fn()
				count.Add(1)
			}
		})
	}
	begun.Wait()
	return func() int64 {
		done.Store(true)
		wg.Wait()
		return count.Load()
	}
}

// Each step gives all keys the same generation: an address that only the
// lists of that generation contain. A reader that sees two generations in
// one snapshot, or a later key at an earlier generation in two, has seen half
// of a step.
func TestStepsAreAtomic(t *testing.T) {
	const keys = 64 // spread over many places of the directory
	list := func(g int) []Entry { return entries(fmt.Sprintf("203.0.%d.%d/32 generation %d", g/256, g%256, g)) }
	key := func(i int) string { return gen.BulkKey(i * 100) }
	all := func(g int) func(func(string, []Entry) bool) {
		return func(yield func(string, []Entry) bool) {
			for i := range keys {
				if !yield(key(i), list(g)) {
					return
				}
			}
		}
	}
	update := func(e *Engine, g int) error {
		return e.Update(func(tx *Tx) error {
			for k, l := range all(g) {
				if err := tx.Set(k, l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for name, step := range map[string]func(*Engine, int) error{
		"Update":  update,
		"Replace": func(e *Engine, g int) error { return e.Replace(all(g)) },
		"ReplaceFunc": func(e *Engine, g int) error {
			return e.ReplaceFunc(func(add func(string, []Entry)) error {
				for k, l := range all(g) {
					add(k, l)
				}
				return nil
			})
		},
		"failing steps between": func(e *Engine, g int) error {
			_ = e.Update(func(tx *Tx) error {
				for i := range keys / 2 {
					tx.Delete(key(i))
				}
				return tx.Set(key(keys-1), entries("10.0.0.1/32"))
			})
			_ = e.Replace(func(yield func(string, []Entry) bool) {
				yield(key(0), list(g))
				yield(key(1), entries("10.0.0.1/32"))
			})
			return update(e, g)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := New(nil)
			require.NoError(t, step(e, 0))
			var torn atomic.Pointer[string]
			fail := func(format string, args ...any) {
				s := fmt.Sprintf(format, args...)
				torn.CompareAndSwap(nil, &s)
			}
			stop := readers(4, func() {
				// Through one snapshot: one generation.
				s := e.Snapshot()
				first := ""
				for i := range keys {
					l, ok := s.Entries(key(i))
					if !ok || len(l) != 1 {
						fail("revision %d: key %d has no list", s.Revision(), i)
						return
					}
					if first == "" {
						first = l[0].Label
					}
					if l[0].Label != first {
						fail("revision %d: key 0 is at %s and key %d at %s", s.Revision(), first, i, l[0].Label)
					}
					if s.Check(key(i), l[0].Prefix.Addr()) != Allowed {
						fail("revision %d: Check and Entries of key %d differ", s.Revision(), i)
					}
				}
				// Through the engine, which may step in between: never back.
				var rev uint64
				gen := -1
				for i := range keys {
					x := e.Explain(key(i), addr("203.0.255.255"))
					l, ok := e.Snapshot().Entries(key(i))
					if !ok {
						fail("key %d has no list for a moment", i)
						return
					}
					g := 0
					if _, err := fmt.Sscanf(l[0].Label, "generation %d", &g); err != nil {
						fail("%q", l[0].Label)
					}
					if x.Revision < rev || g < gen {
						fail("revision %d after %d, generation %d after %d", x.Revision, rev, g, gen)
					}
					rev, gen = x.Revision, g
					if e.Check(key(i), addr("8.8.8.8")) != Denied {
						fail("key %d is open for a moment", i)
					}
				}
			})
			// A Replace starts goroutines, which queue behind the readers: the
			// clock bounds the steps of a slow machine.
			for g, start := 1, time.Now(); g <= 20 || g <= 400 && time.Since(start) < time.Second; g++ {
				require.NoError(t, step(e, g))
			}
			require.Positive(t, stop(), "nobody read")
			if s := torn.Load(); s != nil {
				t.Fatal(*s)
			}
		})
	}
}

// Everything at once, for the race detector and for the count at the end.
func TestConcurrentUse(t *testing.T) {
	e := New(&Options{Policy: widest()})
	small, large := entries("203.0.113.5/32 l"), fromNaive(gen.Distinct(index.MaxShort+5))
	in := addr("203.0.113.5")
	require.NoError(t, e.Set("fixed", small))
	var wrong atomic.Int64
	stop := readers(4, func() {
		if e.Check("fixed", in) != Allowed || e.Check("fixed", addr("8.8.8.8")) != Denied {
			wrong.Add(1)
		}
		if x := e.Explain("fixed", in); !x.Matched || x.Entry != small[0] {
			wrong.Add(1)
		}
		s := e.Snapshot()
		n := 0
		for key, list := range s.All() {
			n++
			if len(list) == 0 || s.Check(key, list[0].Prefix.Addr()) != Allowed {
				wrong.Add(1)
			}
		}
		if n != s.Len() {
			wrong.Add(1)
		}
	})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 150 {
				key := fmt.Sprintf("w%d-%d", w, i)
				list := small
				if i%10 == 0 {
					list = large
				}
				if e.Set(key, list) != nil || e.Check(key, addr("1.1.1.1")) != Denied {
					wrong.Add(1)
				}
				switch i % 3 {
				case 0:
					e.Delete(key)
				case 1:
					if e.Update(func(tx *Tx) error { tx.Delete(key); return tx.Set(key+"'", small) }) != nil {
						wrong.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	require.Positive(t, stop())
	require.Zero(t, wrong.Load())
	checkInvariants(e.Snapshot())
	require.Equal(t, 1+4*100, e.Snapshot().Len(), "no step of one writer undid that of another")
	require.EqualValues(t, 1+1+4*(150+100), e.Snapshot().Revision(), "and each is one revision")
}

// A Set that comes during a Replace is made after it.
func TestSetDuringReplace(t *testing.T) {
	e := New(nil)
	set := make(chan error)
	require.NoError(t, e.ReplaceFunc(func(add func(string, []Entry)) error {
		go func() { set <- e.Set("late", entries("203.0.113.5/32")) }()
		add("k", entries("203.0.113.5/32"))
		require.Equal(t, Unrestricted, e.Check("k", addr("8.8.8.8")), "readers do not wait")
		if e.mu.TryLock() { // whether Set came so far by now is a matter of luck
			e.mu.Unlock()
			t.Error("another writer does not wait for the end of a Replace")
		}
		return nil
	}))
	require.NoError(t, <-set)
	require.Equal(t, 2, e.Snapshot().Len())
	require.Equal(t, Denied, e.Check("late", addr("8.8.8.8")))
}

// Nothing that only reads waits for a writer: not inside a function that a writer calls, and not
// beside one while other writers queue.
func TestReadersNeverWait(t *testing.T) {
	list := entries("203.0.113.0/24")
	a := addr("203.0.113.5")
	readers := map[string]func(*Engine){
		"Policy":            func(e *Engine) { e.Policy() },
		"Snapshot":          func(e *Engine) { e.Snapshot() },
		"Check":             func(e *Engine) { e.Check("k", a) },
		"CheckBatch":        func(e *Engine) { e.CheckBatch([]string{"k"}, []netip.Addr{a}, make([]Verdict, 1)) },
		"Explain":           func(e *Engine) { e.Explain("k", a) },
		"Snapshot.Check":    func(e *Engine) { e.Snapshot().Check("k", a) },
		"Snapshot.Entries":  func(e *Engine) { e.Snapshot().Entries("k") },
		"Snapshot.Len":      func(e *Engine) { e.Snapshot().Len() },
		"Snapshot.Revision": func(e *Engine) { e.Snapshot().Revision() },
		"Snapshot.Loaded":   func(e *Engine) { e.Snapshot().Loaded() },
		"Snapshot.All":      func(e *Engine) { e.Snapshot().All()(func(string, []Entry) bool { return true }) },
	}
	writers := map[string]func(e *Engine, inside func()) error{
		"Update": func(e *Engine, inside func()) error {
			return e.Update(func(tx *Tx) error {
				inside()
				return tx.Set("k", list)
			})
		},
		"Update in an Update": func(e *Engine, inside func()) error {
			return e.Update(func(tx *Tx) error {
				return e.Update(func(tx *Tx) error { inside(); return nil })
			})
		},
		"ReplaceFunc": func(e *Engine, inside func()) error {
			return e.ReplaceFunc(func(add func(string, []Entry)) error {
				add("k", list)
				inside()
				return nil
			})
		},
		"Replace": func(e *Engine, inside func()) error {
			return e.Replace(func(yield func(string, []Entry) bool) { inside(); yield("k", list) })
		},
		"Replace by its own lists": func(e *Engine, inside func()) error {
			return e.Replace(func(yield func(string, []Entry) bool) {
				e.Snapshot().All()(func(key string, l []Entry) bool { inside(); return yield(key, l) })
				inside()
			})
		},
	}
	engines := map[string]func() *Engine{
		"an engine": func() *Engine {
			e := New(&Options{Policy: widest()})
			require.NoError(t, e.Set("k", list))
			return e
		},
		"the zero Engine": func() *Engine { return new(Engine) },
	}
	const bound = 30 * time.Second
	for engine, newEngine := range engines {
		for writer, write := range writers {
			for reader, read := range readers {
				name := fmt.Sprintf("%s in %s of %s", reader, writer, engine)
				e := newEngine()
				called := 0
				done := make(chan error, 2)
				go func() {
					queued := false
					done <- write(e, func() {
						called++
						read(e)
						if !queued { // and with a writer that waits for this one
							queued = true
							begun := make(chan struct{})
							go func() { close(begun); done <- e.Set("queued", list) }()
							<-begun
						}
						other := make(chan struct{})
						go func() { read(e); close(other) }()
						<-other
					})
				}()
				for range 2 {
					select {
					case err := <-done:
						require.NoError(t, err, name)
					case <-time.After(bound):
						t.Fatalf("%s: it waits, and has for %v", name, bound)
					}
				}
				require.Positive(t, called, name)
			}
		}
	}
}

// The zero Engine may be used by many from the start.
func TestZeroEngineConcurrently(t *testing.T) {
	e := new(Engine)
	stop := readers(4, func() {
		if e.Check("k", addr("203.0.113.5")) == Unrestricted {
			panic("the zero Engine opened a key")
		}
		e.Snapshot().Len()
		e.Policy()
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if err := e.Set("k", entries("203.0.113.5/32")); err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, e.Replace(lists("k", entries("203.0.113.5/32"))))
	stop()
	require.Equal(t, Allowed, e.Check("k", addr("203.0.113.5")))
}
