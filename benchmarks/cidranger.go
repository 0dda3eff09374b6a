package main

import (
	"net"
	"net/netip"
	"strings"

	"github.com/ipallow/ipallow/benchmarks/internal/workload"
	"github.com/yl2chen/cidranger"
)

// cidrangerPeer is a map of path-compressed tries of net.IP. Building one
// takes so long, and holding it so much, that it is not asked for a million.
type cidrangerPeer struct{ m map[string]cidranger.Ranger }

func (p *cidrangerPeer) Check(key string, addr netip.Addr) verdict {
	t, ok := p.m[key]
	if !ok {
		return unrestricted
	}
	return toVerdict(rangerContains(t, addr))
}

func (p *cidrangerPeer) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(p.Check(qs[i].Key, qs[i].Addr))
	}
	return sum
}

func (p *cidrangerPeer) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(p.Check(qs[i].Key, qs[i].Addr), mask)
	}
	return c.sum()
}

func rangerContains(t cidranger.Ranger, addr netip.Addr) bool {
	ok, err := t.Contains(addr.AsSlice())
	must(err)
	return ok
}

func newCidranger(list []netip.Prefix) cidranger.Ranger {
	t := cidranger.NewPCTrieRanger()
	for _, pfx := range list {
		ip := net.IP(pfx.Addr().AsSlice())
		mask := net.CIDRMask(pfx.Bits(), 8*len(ip))
		must(t.Insert(cidranger.NewBasicRangerEntry(net.IPNet{IP: ip, Mask: mask})))
	}
	return t
}

func (p *cidrangerPeer) Load(keys []string, lists [][]netip.Prefix) {
	p.m = make(map[string]cidranger.Ranger, len(keys))
	for i, k := range keys {
		p.m[strings.Clone(k)] = newCidranger(lists[i])
	}
}
