package main

import (
	"net/netip"
	"strings"

	"github.com/ipallow/ipallow/benchmarks/internal/workload"
	"go4.org/netipx"
)

// ipsetPeer is a map of sorted, merged ranges.
type ipsetPeer struct{ m map[string]*netipx.IPSet }

func (p *ipsetPeer) Check(key string, addr netip.Addr) verdict {
	t, ok := p.m[key]
	if !ok {
		return unrestricted
	}
	return toVerdict(t.Contains(addr))
}

func (p *ipsetPeer) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(p.Check(qs[i].Key, qs[i].Addr))
	}
	return sum
}

func (p *ipsetPeer) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(p.Check(qs[i].Key, qs[i].Addr), mask)
	}
	return c.sum()
}

func newIPSet(list []netip.Prefix) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, pfx := range list {
		b.AddPrefix(pfx)
	}
	t, err := b.IPSet()
	must(err)
	return t
}

func (p *ipsetPeer) Load(keys []string, lists [][]netip.Prefix) {
	p.m = make(map[string]*netipx.IPSet, len(keys))
	for i, k := range keys {
		p.m[strings.Clone(k)] = newIPSet(lists[i])
	}
}
