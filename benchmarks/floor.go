package main

import (
	"hash/maphash"
	"math/rand/v2"
	"net/netip"

	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

// floorPeer does what no design can leave out: it hashes the key and makes
// two loads, of which the second needs the first, from as many bytes as the
// engine holds. It knows no lists and its verdicts mean nothing.
type floorPeer struct {
	buf  []uint64
	seed maphash.Seed
}

func newFloor(bytes int) *floorPeer {
	f := &floorPeer{buf: make([]uint64, max(bytes/8, 1)), seed: maphash.MakeSeed()}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range f.buf {
		f.buf[i] = r.Uint64()
	}
	return f
}

func (f *floorPeer) Load([]string, [][]netip.Prefix) {}

func (f *floorPeer) Check(key string, _ netip.Addr) verdict {
	n := uint64(len(f.buf))
	h := maphash.String(f.seed, key)
	x := f.buf[(h>>32)*n>>32]
	return verdict(f.buf[(x^h)&0xffffffff*n>>32] & 1)
}

func (f *floorPeer) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(f.Check(qs[i].Key, qs[i].Addr))
	}
	return sum
}

func (f *floorPeer) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(f.Check(qs[i].Key, qs[i].Addr), mask)
	}
	return c.sum()
}
