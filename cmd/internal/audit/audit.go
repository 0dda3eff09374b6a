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
	NoKey        int64 `json:"without_key"` // no list decides these; authentication refuses them

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

// An Auditor collects over any number of logs.
type Auditor struct {
	snap  *ipallow.Snapshot
	lists map[string]*list

	mu      sync.Mutex
	workers []*worker
}

// New makes an auditor of the lists in snap.
func New(snap *ipallow.Snapshot) *Auditor {
	a := &Auditor{snap: snap, lists: make(map[string]*list, snap.Len())}
	for key, entries := range snap.All() {
		a.lists[key] = newList(key, entries)
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

// Report adds up what the workers have seen.
func (a *Auditor) Report() *Report {
	r := &Report{Keys: []Key{}, DeniedAddrs: []Addr{}, Unused: []Entry{}}
	keys := make(map[string]*Key)
	hits := make(map[string][]int64)
	addrs := make(map[netip.Addr]int64)
	for key, l := range a.lists {
		keys[key] = &Key{Key: key, Entries: len(l.entries)}
		hits[key] = make([]int64, len(l.entries))
		r.Entries += len(l.entries)
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
			u.each(func(entry int, n int64) { hits[key][entry] += n })
		}
		for addr, n := range w.addrs {
			addrs[addr] += n
		}
		r.AddrsMissing += w.missing
		r.OtherKeys += w.other
		r.NoKey += w.noKey
	}
	for key, k := range keys {
		r.Keys = append(r.Keys, *k)
		r.Allowed += k.Allowed
		r.Denied += k.Denied
		r.Unrestricted += k.Unrestricted
		for i, n := range hits[key] {
			if n == 0 {
				e := a.lists[key].entries[i]
				r.Unused = append(r.Unused, Entry{Key: key, Index: i, Prefix: e.String(), Label: e.Label})
			}
		}
	}
	r.Unrestricted += r.OtherKeys
	r.Requests = r.Allowed + r.Denied + r.Unrestricted + r.NoKey
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
