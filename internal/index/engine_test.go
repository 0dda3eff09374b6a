package index

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/naive"
)

// An engine is an index and its writers, as the package above has them, with no policy.
type engine struct {
	x       atomic.Pointer[Index]
	mu      sync.Mutex
	scratch Scratch
}

func newEngine() *engine {
	e := new(engine)
	e.x.Store(New(true))
	return e
}

// newWithMask makes an engine that keeps only the bits of mask in the hashes of its keys.
func newWithMask(mask uint64) *engine {
	return newWithHasher(func(h *hasher) { h.mask = mask })
}

// newWithHasher makes an engine whose hasher is as change leaves it.
func newWithHasher(change func(*hasher)) *engine {
	e := newEngine()
	x := *e.Snapshot() // empty, so no record has been placed by another hash
	change(&x.hash)
	e.x.Store(&x)
	return e
}

func (e *engine) Snapshot() *Index                          { return e.x.Load() }
func (e *engine) Check(key string, addr netip.Addr) Verdict { return e.Snapshot().Check(key, addr) }
func (e *engine) Delete(key string)                         { _ = e.Set(key, nil) }
func (e *engine) Set(key string, entries []Entry) error {
	return e.Update(func(tx *tx) error { return tx.Set(key, entries) })
}
func (e *engine) CheckBatch(k []string, a []netip.Addr, v []Verdict) {
	for len(k) >= BatchGroup {
		e.Snapshot().Prefetch((*[BatchGroup]string)(k))
		for i := range BatchGroup {
			v[i] = e.Check(k[i], a[i])
		}
		k, a, v = k[BatchGroup:], a[BatchGroup:], v[BatchGroup:]
	}
	for i := range k {
		v[i] = e.Check(k[i], a[i])
	}
}

// A tx is a batch of which Set has an error.
type tx struct{ Batch }

func (t *tx) Set(key string, entries []Entry) error { t.Batch.Set(key, entries); return nil }
func (t *tx) Delete(key string)                     { t.Batch.Set(key, nil) }

func (e *engine) Update(fn func(*tx) error) error {
	t := &tx{e.Snapshot().Batch()}
	if err := fn(t); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	next, err := e.Snapshot().Apply(&t.Batch, &e.scratch)
	if err == nil {
		e.x.Store(next)
	}
	return err
}

func (e *engine) Replace(lists iter.Seq2[string, []Entry]) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.Snapshot().Loader()
	for key, entries := range lists {
		l.Add(key, entries)
	}
	next, err := e.Snapshot().Load(&l)
	if err == nil {
		e.x.Store(next)
	}
	return err
}

// entries returns the list of key.
func (x *Index) entries(key string) (list []Entry, ok bool) {
	l, ok := x.Find(key)
	if ok {
		for e := range l.Entries {
			list = append(list, e)
		}
	}
	return list, ok
}

// lists yields all keys with their lists.
func (x *Index) lists(yield func(string, []Entry) bool) {
	for key := range x.All {
		list, _ := x.entries(key)
		if !yield(key, list) {
			return
		}
	}
}

// isLong reports whether the list of key is a table and not a record.
func (x *Index) isLong(key string) bool {
	sh, rec := x.find(key)
	return rec != nil && sh.item(0, rec).long != nil
}

// tableOf returns the table of a key's long list.
func (x *Index) tableOf(key string) *longList {
	sh, rec := x.find(key)
	return sh.item(0, rec).long.longList
}

// shape returns how many bits the directory has, how many shards there are,
// and how many bytes they hold.
func (x *Index) shape() (bits, shards, bytes int) {
	for sh := range x.directory.all {
		shards++
		bytes += sh.size()
	}
	return int(x.directory.bits), shards, bytes
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// entries reads "prefix" or "prefix label".
func entries(texts ...string) []Entry {
	list := make([]Entry, len(texts))
	for i, t := range texts {
		p, label, _ := strings.Cut(t, " ")
		list[i] = Entry{Prefix: prefix(p), Label: label}
	}
	return list
}

func fromNaive(list []naive.Entry) []Entry {
	out := make([]Entry, len(list))
	for i, e := range list {
		out[i] = Entry(e)
	}
	return out
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
		for i, k := range w.Keys {
			if !yield(k, entriesOf(w.Lists[i])) {
				return
			}
		}
	}
}

// hosts is a list of n addresses, other ones for each seed.
func hosts(n, seed int) []Entry {
	list := make([]Entry, n)
	for i := range list {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 8<<24+uint32(i)*3+uint32(seed)<<20)
		list[i] = Entry{Prefix: netip.PrefixFrom(netip.AddrFrom4(b), 32)}
	}
	return list
}

func heap() int {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
