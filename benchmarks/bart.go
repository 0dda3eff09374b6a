package main

import (
	"net/netip"
	"strings"

	"github.com/gaissmai/bart"
	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

// litePeer is what a Go program would write first: a map of bart tables.
type litePeer struct{ m map[string]*bart.Lite }

func (p *litePeer) Check(key string, addr netip.Addr) verdict {
	t, ok := p.m[key]
	if !ok {
		return unrestricted
	}
	return toVerdict(t.Contains(addr))
}

func (p *litePeer) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(p.Check(qs[i].Key, qs[i].Addr))
	}
	return sum
}

func (p *litePeer) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(p.Check(qs[i].Key, qs[i].Addr), mask)
	}
	return c.sum()
}

func newLite(list []netip.Prefix) *bart.Lite {
	t := new(bart.Lite)
	for _, pfx := range list {
		t.Insert(pfx)
	}
	return t
}

func (p *litePeer) Load(keys []string, lists [][]netip.Prefix) {
	p.m = make(map[string]*bart.Lite, len(keys))
	for i, k := range keys {
		p.m[strings.Clone(k)] = newLite(lists[i])
	}
}

// fastPeer is a map of the bart tables that trade memory for speed.
type fastPeer struct {
	m map[string]*bart.Fast[struct{}]
}

func (p *fastPeer) Check(key string, addr netip.Addr) verdict {
	t, ok := p.m[key]
	if !ok {
		return unrestricted
	}
	return toVerdict(t.Contains(addr))
}

func (p *fastPeer) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(p.Check(qs[i].Key, qs[i].Addr))
	}
	return sum
}

func (p *fastPeer) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(p.Check(qs[i].Key, qs[i].Addr), mask)
	}
	return c.sum()
}

func newFast(list []netip.Prefix) *bart.Fast[struct{}] {
	t := new(bart.Fast[struct{}])
	for _, pfx := range list {
		t.Insert(pfx, struct{}{})
	}
	return t
}

func (p *fastPeer) Load(keys []string, lists [][]netip.Prefix) {
	p.m = make(map[string]*bart.Fast[struct{}], len(keys))
	for i, k := range keys {
		p.m[strings.Clone(k)] = newFast(lists[i])
	}
}
