// Package audit replays request logs against allowlists: what would be served
// and denied, and which entries are never used.
package audit

import (
	"cmp"
	"context"
	"io"
	"net/netip"
	"slices"
	"sync"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/reqlog"
)

// A Report is the outcome of an audit. Its JSON form is that of --json.
type Report struct {
	Requests     int64 `json:"requests"`
	Allowed      int64 `json:"allowed"`
	Denied       int64 `json:"denied"`
	Unrestricted int64 `json:"unrestricted"`

	Keys []Key `json:"keys"` // with requests or a list; most denied first
	// OtherKeys is the requests of keys without a list that are not in Keys,
	// because there are too many different ones.
	OtherKeys int64 `json:"other_keys_requests,omitempty"`

	DeniedAddrs []Addr `json:"denied_addresses"` // most requests first
	// AddrsMissing is how many requests an address may have more than is
	// said, or one that is not listed: 0 if the counts are exact.
	AddrsMissing int64 `json:"denied_addresses_error"`

	Entries int     `json:"entries"`
	Unused  []Entry `json:"unused_entries"`
}

// A Key is the requests made with one key.
type Key struct {
	Key          string `json:"key"`
	Allowed      int64  `json:"allowed"`
	Denied       int64  `json:"denied"`
	Unrestricted int64  `json:"unrestricted"`
	Entries      int    `json:"entries"`
}

// An Addr is the denied requests of one address.
type Addr struct {
	Addr   netip.Addr `json:"address"`
	Denied int64      `json:"denied"`
}

// An Entry is one that no request matched as its most specific entry.
type Entry struct {
	Key    string `json:"key"`
	Index  int    `json:"index"`
	Prefix string `json:"entry"`
	Label  string `json:"label,omitempty"`
}

// The bounds of what a worker remembers.
const (
	maxAddrs = 1 << 16 // denied addresses
	maxOther = 1 << 16 // keys without a list
)

// An Auditor collects over any number of logs.
type Auditor struct {
	snap  *ipallow.Snapshot
	lists map[string][]ipallow.Entry

	mu      sync.Mutex
	workers []*worker
}

// New makes an auditor of the lists in snap.
func New(snap *ipallow.Snapshot) *Auditor {
	a := &Auditor{snap: snap, lists: make(map[string][]ipallow.Entry, snap.Len())}
	for key, entries := range snap.All() {
		a.lists[key] = entries
	}
	return a
}

// Add reads one log.
func (a *Auditor) Add(ctx context.Context, r io.Reader, opts reqlog.Options) (reqlog.Stats, error) {
	var mu sync.Mutex
	next := 0
	return reqlog.Scan(ctx, r, opts, func(int) func([]byte, netip.Addr) {
		mu.Lock()
		defer mu.Unlock()
		w := a.worker(next)
		next++
		return w.record
	})
}

// worker returns worker i, which later logs use again.
func (a *Auditor) worker(i int) *worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.workers) <= i {
		a.workers = append(a.workers, &worker{
			a: a, keys: make(map[string]*usage), addrs: make(map[netip.Addr]int64),
		})
	}
	return a.workers[i]
}

// A usage is what one worker has seen of one key.
type usage struct {
	key      string
	counts   [3]int64 // by verdict
	prefixes []netip.Prefix
	order    []int   // the entries, longest first
	hits     []int64 // by entry
}

type worker struct {
	a     *Auditor
	keys  map[string]*usage
	other int64 // requests of keys for which keys has no room

	addrs   map[netip.Addr]int64
	missing int64 // how much addrs may have forgotten of an address
}

func (w *worker) record(key []byte, addr netip.Addr) {
	u := w.keys[string(key)]
	if u == nil {
		if u = w.usage(string(key)); u == nil {
			w.other++
			return
		}
	}
	v := w.a.snap.Check(u.key, addr)
	u.counts[v]++
	switch v {
	case ipallow.Allowed:
		addr = addr.Unmap().WithZone("")
		for _, i := range u.order {
			if u.prefixes[i].Contains(addr) {
				u.hits[i]++
				return
			}
		}
	case ipallow.Denied:
		w.denied(addr.Unmap().WithZone(""))
	}
}

func (w *worker) usage(key string) *usage {
	entries, listed := w.a.lists[key]
	if !listed && len(w.keys)-len(w.a.lists) >= maxOther {
		return nil
	}
	u := &usage{key: key, hits: make([]int64, len(entries))}
	for i, e := range entries {
		u.prefixes = append(u.prefixes, e.Prefix)
		u.order = append(u.order, i)
	}
	slices.SortStableFunc(u.order, func(i, j int) int { return cmp.Compare(u.prefixes[j].Bits(), u.prefixes[i].Bits()) })
	w.keys[key] = u
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

// Report adds up what the workers have seen.
func (a *Auditor) Report() *Report {
	r := &Report{Keys: []Key{}, DeniedAddrs: []Addr{}, Unused: []Entry{}}
	keys := make(map[string]*Key)
	hits := make(map[string][]int64)
	addrs := make(map[netip.Addr]int64)
	for key, entries := range a.lists {
		keys[key] = &Key{Key: key, Entries: len(entries)}
		hits[key] = make([]int64, len(entries))
		r.Entries += len(entries)
	}
	for _, w := range a.workers {
		for key, u := range w.keys {
			k := keys[key]
			if k == nil {
				k = &Key{Key: key}
				keys[key] = k
			}
			k.Allowed += u.counts[ipallow.Allowed]
			k.Denied += u.counts[ipallow.Denied]
			k.Unrestricted += u.counts[ipallow.Unrestricted]
			for i, n := range u.hits {
				hits[key][i] += n
			}
		}
		for addr, n := range w.addrs {
			addrs[addr] += n
		}
		r.AddrsMissing += w.missing
		r.OtherKeys += w.other
	}
	for key, k := range keys {
		r.Keys = append(r.Keys, *k)
		r.Allowed += k.Allowed
		r.Denied += k.Denied
		r.Unrestricted += k.Unrestricted
		for i, n := range hits[key] {
			if n == 0 {
				e := a.lists[key][i]
				r.Unused = append(r.Unused, Entry{Key: key, Index: i, Prefix: e.String(), Label: e.Label})
			}
		}
	}
	r.Unrestricted += r.OtherKeys
	r.Requests = r.Allowed + r.Denied + r.Unrestricted
	for addr, n := range addrs {
		r.DeniedAddrs = append(r.DeniedAddrs, Addr{addr, n})
	}
	slices.SortFunc(r.Keys, func(x, y Key) int {
		return cmp.Or(cmp.Compare(y.Denied, x.Denied), cmp.Compare(y.Unrestricted, x.Unrestricted),
			cmp.Compare(y.Allowed, x.Allowed), cmp.Compare(x.Key, y.Key))
	})
	slices.SortFunc(r.DeniedAddrs, func(x, y Addr) int {
		return cmp.Or(cmp.Compare(y.Denied, x.Denied), x.Addr.Compare(y.Addr))
	})
	slices.SortFunc(r.Unused, func(x, y Entry) int {
		return cmp.Or(cmp.Compare(x.Key, y.Key), cmp.Compare(x.Index, y.Index))
	})
	return r
}
