package main

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"strings"

	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

// ranges holds the ranges of all keys in two slices without a pointer: those of one key
// side by side, sorted, and joined where they touch.
type ranges struct {
	four []range4
	six  []range6
}

type range4 struct{ from, to uint32 }

type range6 struct{ from, to uint128 }

type uint128 struct{ hi, lo uint64 }

func (a uint128) less(b uint128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// A span says where the ranges of a key are.
type span struct {
	at4, at6 uint32
	n4, n6   uint16
}

func (r *ranges) add(list []netip.Prefix) span {
	s := span{at4: uint32(len(r.four)), at6: uint32(len(r.six))}
	for _, x := range newIPSet(list).Ranges() {
		if x.From().Is4() {
			r.four = append(r.four, range4{to32(x.From()), to32(x.To())})
		} else {
			r.six = append(r.six, range6{to128(x.From()), to128(x.To())})
		}
	}
	s.n4, s.n6 = uint16(len(r.four)-int(s.at4)), uint16(len(r.six)-int(s.at6))
	return s
}

func to32(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func to128(a netip.Addr) uint128 {
	b := a.As16()
	return uint128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// halve is from how many ranges on a binary search is faster than a loop.
const halve = 16

func (r *ranges) contains(s span, addr netip.Addr) bool {
	if addr.Is4() {
		a, rs := to32(addr), r.four[s.at4:][:s.n4]
		for len(rs) > halve {
			if h := len(rs) / 2; rs[h-1].to < a {
				rs = rs[h:]
			} else {
				rs = rs[:h]
			}
		}
		for i := range rs {
			if a <= rs[i].to {
				return a >= rs[i].from
			}
		}
		return false
	}
	a, rs := to128(addr), r.six[s.at6:][:s.n6]
	for len(rs) > halve {
		if h := len(rs) / 2; rs[h-1].to.less(a) {
			rs = rs[h:]
		} else {
			rs = rs[:h]
		}
	}
	for i := range rs {
		if !rs[i].to.less(a) {
			return !a.less(rs[i].from)
		}
	}
	return false
}

// flatPeer is what a good Go programmer writes in an hour: one map, and the ranges of all
// keys in one place.
type flatPeer struct {
	m map[string]span
	r ranges
}

func (p *flatPeer) Check(key string, addr netip.Addr) verdict {
	s, ok := p.m[key]
	if !ok {
		return unrestricted
	}
	return toVerdict(p.r.contains(s, addr))
}

func (p *flatPeer) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(p.Check(qs[i].Key, qs[i].Addr))
	}
	return sum
}

func (p *flatPeer) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(p.Check(qs[i].Key, qs[i].Addr), mask)
	}
	return c.sum()
}

func (p *flatPeer) Load(keys []string, lists [][]netip.Prefix) {
	p.m, p.r = make(map[string]span, len(keys)), ranges{}
	for i, k := range keys {
		p.m[strings.Clone(k)] = p.r.add(lists[i])
	}
	p.r.clip()
}

// clip gives back what append left over.
func (r *ranges) clip() {
	r.four = append(make([]range4, 0, len(r.four)), r.four...)
	r.six = append(make([]range6, 0, len(r.six)), r.six...)
}

// arenaPeer is the same with the keys' bytes in one place, too, so that a collection has
// no pointer to follow: the map is from a hash to a record, and two keys with one hash
// take numbers next to each other.
type arenaPeer struct {
	seed maphash.Seed
	hash func(string) uint64 // for tests; nil is maphash
	m    map[uint64]rec
	keys []byte
	r    ranges
}

type rec struct {
	key  uint32 // where its bytes begin
	size uint16
	span
}

func (p *arenaPeer) sum(key string) uint64 {
	if p.hash != nil {
		return p.hash(key)
	}
	return maphash.String(p.seed, key)
}

func (p *arenaPeer) Check(key string, addr netip.Addr) verdict {
	for h := p.sum(key); ; h++ {
		r, ok := p.m[h]
		if !ok {
			return unrestricted
		}
		if string(p.keys[r.key:][:r.size]) == key {
			return toVerdict(p.r.contains(r.span, addr))
		}
	}
}

func (p *arenaPeer) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(p.Check(qs[i].Key, qs[i].Addr))
	}
	return sum
}

func (p *arenaPeer) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(p.Check(qs[i].Key, qs[i].Addr), mask)
	}
	return c.sum()
}

func (p *arenaPeer) Load(keys []string, lists [][]netip.Prefix) {
	p.seed, p.m, p.keys, p.r = maphash.MakeSeed(), make(map[uint64]rec, len(keys)), nil, ranges{}
	for i, k := range keys {
		h := p.sum(k)
		for _, taken := p.m[h]; taken; _, taken = p.m[h] {
			h++
		}
		p.m[h] = rec{uint32(len(p.keys)), uint16(len(k)), p.r.add(lists[i])}
		p.keys = append(p.keys, k...)
	}
	p.keys = append(make([]byte, 0, len(p.keys)), p.keys...)
	p.r.clip()
}
