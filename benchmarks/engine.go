package main

import (
	"iter"
	"net/netip"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

// enginePeer is the engine of this project.
type enginePeer struct{ e *ipallow.Engine }

// openPolicy takes all lists, as the peers do.
func openPolicy() *ipallow.Policy {
	p := ipallow.DefaultPolicy()
	p.MaxEntries, p.MinBits4, p.MinBits6, p.AllowNonPublic = 1<<30, 0, 0, true
	return &p
}

func newEngine() *ipallow.Engine {
	return ipallow.New(&ipallow.Options{Policy: openPolicy()})
}

// entrySeq is the lists as Replace takes them. The slice is used again for
// the next list.
func entrySeq(keys []string, lists [][]netip.Prefix) iter.Seq2[string, []ipallow.Entry] {
	return func(yield func(string, []ipallow.Entry) bool) {
		var entries []ipallow.Entry
		for i, k := range keys {
			entries = appendEntries(entries[:0], lists[i])
			if !yield(k, entries) {
				return
			}
		}
	}
}

func appendEntries(dst []ipallow.Entry, list []netip.Prefix) []ipallow.Entry {
	for _, p := range list {
		dst = append(dst, ipallow.Entry{Prefix: p})
	}
	return dst
}

func (p *enginePeer) Load(keys []string, lists [][]netip.Prefix) {
	p.e = newEngine()
	must(p.e.Replace(entrySeq(keys, lists)))
}

func (p *enginePeer) Check(key string, addr netip.Addr) verdict {
	return verdict(p.e.Check(key, addr))
}

func (p *enginePeer) Run(qs []workload.Query) (sum uint64) {
	e := p.e
	for i := range qs {
		sum += uint64(e.Check(qs[i].Key, qs[i].Addr))
	}
	return sum
}

func (p *enginePeer) Chain(qs []workload.Query) uint64 {
	e, c, mask, i := p.e, newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(verdict(e.Check(qs[i].Key, qs[i].Addr)), mask)
	}
	return c.sum()
}

// must stops at what cannot be: the lists are valid and the files are ours.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
