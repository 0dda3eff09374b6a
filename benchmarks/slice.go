package main

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

// slicePeer is a map of slices and a loop, with the standard library alone.
type slicePeer struct{ m map[string][]netip.Prefix }

func (p *slicePeer) Check(key string, addr netip.Addr) verdict {
	t, ok := p.m[key]
	if !ok {
		return unrestricted
	}
	return toVerdict(containsAny(t, addr))
}

func (p *slicePeer) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(p.Check(qs[i].Key, qs[i].Addr))
	}
	return sum
}

func (p *slicePeer) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(p.Check(qs[i].Key, qs[i].Addr), mask)
	}
	return c.sum()
}

func containsAny(list []netip.Prefix, addr netip.Addr) bool {
	for i := range list {
		if list[i].Contains(addr) {
			return true
		}
	}
	return false
}

func (p *slicePeer) Load(keys []string, lists [][]netip.Prefix) {
	p.m = make(map[string][]netip.Prefix, len(keys))
	for i, k := range keys {
		p.m[strings.Clone(k)] = slices.Clone(lists[i])
	}
}
