package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/gaissmai/bart"
	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

// The contenders for one long list. nameContains is the like of the bare
// tables; Check finds the list of a key first.
const (
	nameContains = "ipallow Allowlist.Contains"
	nameBareLite = "bare bart.Lite"
	nameBareFast = "bare bart.Fast"
)

// largeKey has the length of the workload's keys.
const largeKey = "ipk_one-key-with-a-very-long-list"

// large measures one key with as many entries as a routing table.
func (r *runner) large(sizes []int) error {
	var table []netip.Prefix
	for _, n := range sizes {
		c := cell{Workload: wLarge, Prefixes: n}
		if !r.wanted(c) {
			continue
		}
		if table == nil {
			r.say("%s: making the routing table", wLarge)
			var err error
			if table, err = r.routes(sizes[len(sizes)-1]); err != nil {
				return err
			}
		}
		r.largeCell(c, table[:min(n, len(table))])
	}
	return nil
}

func (r *runner) routes(n int) ([]netip.Prefix, error) {
	if r.opts.bgp == "" {
		r.note("Large: the prefixes are generated, with the lengths of a full routing table (85%% IPv4, half of all are /24).")
		return generatedRoutes(n), nil
	}
	table, err := readRoutes(r.opts.bgp)
	r.note("Large: the prefixes are drawn from a routing table of %d given with -bgp.", len(table))
	return table, err
}

func (r *runner) largeCell(c cell, list []netip.Prefix) {
	r.say("%v: loading", c)
	lite, fast := &bareLite{newLite(list)}, &bareFast{newFast(list)}
	engine := new(enginePeer)
	engine.Load([]string{largeKey}, [][]netip.Prefix{list})
	peers := []contender{
		{nameIpallow, engine},
		{nameContains, &allowlistPeer{ipallow.Compile(appendEntries(nil, list))}},
		{nameBareLite, lite},
		{nameBareFast, fast},
	}
	qs := largeQueries(list)
	hits := 0
	for _, q := range qs {
		want := toVerdict(q.Hit)
		for _, p := range peers {
			if got := p.Check(q.Key, q.Addr); got != want {
				r.fail("%v: %s: Check(netip.MustParseAddr(%q)) = %d, want %d", c, p.name, q.Addr.String(), got, want)
				return
			}
		}
		hits += int(want)
	}
	if hits == 0 || hits == len(qs) {
		r.fail("%v: %d of %d queries hit: both outcomes must occur", c, hits, len(qs))
	}
	for _, p := range peers[:2] {
		n := mallocs(func() { p.Run(qs) })
		r.add(c, p.name, figAllocs, float64(n)/float64(len(qs)))
		if n > 0 {
			r.fail("%v: %s: %d queries made %d allocations, want 0", c, p.name, len(qs), n)
		}
	}
	r.say("%v: measuring", c)
	r.duel(c, peers, qs)
}

// largeQueries returns addresses of which half lie in a prefix of the list
// and the others anywhere. What the answer must be says a third way of
// looking up: the list's prefixes in a set, tried from long to short.
func largeQueries(list []netip.Prefix) []workload.Query {
	set := make(map[netip.Prefix]bool, len(list))
	for _, p := range list {
		set[p] = true
	}
	r := rand.New(rand.NewPCG(3, 4))
	qs := make([]workload.Query, queries)
	for i := range qs {
		p := list[r.IntN(len(list))]
		a := p.Addr().As16()
		from := p.Bits()
		if p.Addr().Is4() {
			from += 96
		}
		if r.IntN(2) == 0 {
			from = 3 // same family, anywhere
			if p.Addr().Is4() {
				from = 96
			}
		}
		var noise [16]byte
		binary.BigEndian.PutUint64(noise[:], r.Uint64())
		binary.BigEndian.PutUint64(noise[8:], r.Uint64())
		for b := from; b < 128; b++ {
			m := byte(0x80) >> (b % 8)
			a[b/8] = a[b/8]&^m | noise[b/8]&m
		}
		addr := netip.AddrFrom16(a).Unmap()
		qs[i] = workload.Query{Key: string([]byte(largeKey)), Addr: addr}
		for bits := 0; bits <= addr.BitLen() && !qs[i].Hit; bits++ {
			pfx, err := addr.Prefix(bits)
			must(err)
			qs[i].Hit = set[pfx]
		}
	}
	return qs
}

type allowlistPeer struct{ l *ipallow.Allowlist }

func (p *allowlistPeer) Load([]string, [][]netip.Prefix) {}

func (p *allowlistPeer) Check(_ string, a netip.Addr) verdict { return toVerdict(p.l.Contains(a)) }

func (p *allowlistPeer) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(toVerdict(p.l.Contains(qs[i].Addr)))
	}
	return sum
}

func (p *allowlistPeer) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(toVerdict(p.l.Contains(qs[i].Addr)), mask)
	}
	return c.sum()
}

type bareLite struct{ t *bart.Lite }

func (p *bareLite) Load([]string, [][]netip.Prefix) {}

func (p *bareLite) Check(_ string, a netip.Addr) verdict { return toVerdict(p.t.Contains(a)) }

func (p *bareLite) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(toVerdict(p.t.Contains(qs[i].Addr)))
	}
	return sum
}

func (p *bareLite) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(toVerdict(p.t.Contains(qs[i].Addr)), mask)
	}
	return c.sum()
}

type bareFast struct{ t *bart.Fast[struct{}] }

func (p *bareFast) Load([]string, [][]netip.Prefix) {}

func (p *bareFast) Check(_ string, a netip.Addr) verdict { return toVerdict(p.t.Contains(a)) }

func (p *bareFast) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(toVerdict(p.t.Contains(qs[i].Addr)))
	}
	return sum
}

func (p *bareFast) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(toVerdict(p.t.Contains(qs[i].Addr)), mask)
	}
	return c.sum()
}
