package audit

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/canon"
)

// The bounds of what a worker remembers.
const (
	maxAddrs      = 1 << 16 // denied addresses
	maxOther      = 1 << 16 // keys without a list
	maxOtherBytes = 8 << 20 // and the bytes of their names
)

// maxScanned is how many entries of a list are looked at one after another for
// the one that a request used. More of them are a table.
const maxScanned = 32

// A list is what all workers share of a key's allowlist.
type list struct {
	key     string
	entries []ipallow.Entry
	order   []int // the entries, longest first: the first that matches is the most specific

	// Of a list of more than maxScanned entries.
	table *ipallow.Allowlist
	index map[netip.Prefix]int
}

func newList(key string, entries []ipallow.Entry) *list {
	l := &list{key: key, entries: entries}
	if len(entries) > maxScanned {
		l.table = ipallow.Compile(entries)
		l.index = make(map[netip.Prefix]int, len(entries))
		for i, e := range entries {
			l.index[e.Prefix] = i // canonical prefixes, each once
		}
		return l
	}
	for i := range entries {
		l.order = append(l.order, i)
	}
	slices.SortFunc(l.order, func(i, j int) int {
		return cmp.Compare(entries[j].Prefix.Bits(), entries[i].Prefix.Bits())
	})
	return l
}

// A usage is what one worker has seen of one key. What belongs together stands
// together: with many keys, a request costs as many cache misses as it touches
// places.
type usage struct {
	key    string
	list   *list    // nil if the key has none
	counts [3]int64 // by verdict
	short  []hit    // in the order of list.order
	long   []int64  // by entry
}

type hit struct {
	prefix netip.Prefix
	n      int64
}

// each calls f with every entry and how many requests used it.
func (u *usage) each(f func(entry int, n int64)) {
	for i, h := range u.short {
		f(u.list.order[i], h.n)
	}
	for i, n := range u.long {
		f(i, n)
	}
}

// used counts the most specific entry that contains addr.
func (u *usage) used(addr netip.Addr) {
	if u.long != nil {
		if e, ok := u.list.table.Lookup(addr); ok {
			u.long[u.list.index[e.Prefix]]++
		}
		return
	}
	for i := range u.short {
		if u.short[i].prefix.Contains(addr) {
			u.short[i].n++
			return
		}
	}
}

type worker struct {
	a          *Auditor
	keys       map[string]*usage
	others     int // keys without a list in keys
	otherBytes int
	noKey      int64 // requests without a key
	other      int64 // requests of keys for which keys has no room

	addrs   map[netip.Addr]int64
	missing int64 // how much addrs may have forgotten of an address
}

func (w *worker) record(key []byte, addr netip.Addr) {
	if len(key) == 0 {
		w.noKey++
		return
	}
	u := w.keys[string(key)]
	if u == nil {
		if u = w.usage(key); u == nil {
			w.other++
			return
		}
	}
	v := w.a.snap.Check(u.key, addr)
	u.counts[v]++
	switch v {
	case ipallow.Allowed:
		u.used(canon.Addr(addr))
	case ipallow.Denied:
		w.denied(canon.Addr(addr))
	}
}

// usage begins that of key, or returns nil if there is no room for one more
// key without a list.
func (w *worker) usage(key []byte) *usage {
	l := w.a.lists[string(key)]
	if l == nil {
		if w.others == maxOther || w.otherBytes+len(key) > maxOtherBytes {
			return nil
		}
		w.others++
		w.otherBytes += len(key)
		u := &usage{key: string(key)}
		w.keys[u.key] = u
		return u
	}
	u := &usage{key: l.key, list: l}
	if l.table != nil {
		u.long = make([]int64, len(l.entries))
	} else {
		u.short = make([]hit, len(l.order))
		for i, at := range l.order {
			u.short[i].prefix = l.entries[at].Prefix
		}
	}
	w.keys[u.key] = u
	return u
}

// denied counts an address. When there are too many, the rarest half is
// forgotten, and missing grows by their highest count: so no count is too high,
// and none is too low by more than missing.
func (w *worker) denied(addr netip.Addr) {
	if n, ok := w.addrs[addr]; ok || len(w.addrs) < maxAddrs {
		w.addrs[addr] = n + 1
		return
	}
	counts := make([]int64, 0, len(w.addrs))
	for _, n := range w.addrs {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	limit := counts[len(counts)/2]
	for a, n := range w.addrs {
		if n <= limit {
			delete(w.addrs, a)
		}
	}
	w.missing += limit
	w.addrs[addr] = 1
}
