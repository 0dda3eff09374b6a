package main

import (
	"net/netip"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

// A Peer is one way to hold the lists of many keys. Run and Chain are the two
// timed loops; each peer has them itself, so that its Check is called
// directly and not through this interface.
type Peer interface {
	// Load makes the peer hold the lists, and nothing that it held before.
	// Keys and lists are copied: they belong to the workload.
	Load(keys []string, lists [][]netip.Prefix)

	Check(key string, addr netip.Addr) verdict

	// Run makes all queries, one call after the other, and returns the sum of
	// the verdicts. The processor may begin a query before the one before it
	// has its answer.
	Run(qs []workload.Query) uint64

	// Chain makes all queries, whose number is a power of two, each only when
	// the answer of the one before is there.
	Chain(qs []workload.Query) uint64
}

// A verdict is the answer of a peer in the numbers of ipallow.Verdict.
type verdict = uint8

const (
	denied       = verdict(ipallow.Denied)
	allowed      = verdict(ipallow.Allowed)
	unrestricted = verdict(ipallow.Unrestricted)
)

// toVerdict is the answer for a key that has a list.
func toVerdict(contains bool) verdict {
	if contains {
		return allowed
	}
	return denied
}

// A peerKind names a peer and makes an empty one.
type peerKind struct {
	name string
	make func() Peer
	// maxKeys is how many keys the peer is asked to hold at most; 0 for any
	// number.
	maxKeys int
}

const (
	nameIpallow   = "ipallow"
	nameLite      = "map of *bart.Lite"
	nameFast      = "map of *bart.Fast"
	nameSlice     = "map of []netip.Prefix"
	nameIPSet     = "map of *netipx.IPSet"
	nameCidranger = "map of cidranger.Ranger"
	nameFlat      = "map over flat ranges"
	nameArena     = "pointer-free arenas"
	nameFloor     = "floor"
	nameLoop      = "loop"
)

// peerKinds is all peers, ours first, and those with a limit last.
var peerKinds = []peerKind{
	{nameIpallow, func() Peer { return new(enginePeer) }, 0},
	{nameLite, func() Peer { return new(litePeer) }, 0},
	{nameFast, func() Peer { return new(fastPeer) }, 0},
	{nameSlice, func() Peer { return new(slicePeer) }, 0},
	{nameIPSet, func() Peer { return new(ipsetPeer) }, 0},
	{nameFlat, func() Peer { return new(flatPeer) }, 0},
	{nameArena, func() Peer { return new(arenaPeer) }, 0},
	{nameCidranger, func() Peer { return new(cidrangerPeer) }, 100_000},
}

// A chain hands out the numbers of queries, each when the last verdict is
// there.
//
// Between two queries it reads the clock, which an x86 processor does when
// everything before it is done and not earlier (if the clock is its time stamp
// counter), and the next number is computed from the time. Dependence on the
// verdict alone would not do: a verdict that comes out of a branch is a
// constant to the processor, which predicts the branch and begins the next
// query while the loads of this one are still under way. That is so for a
// locked addition in memory, too, on an EPYC of the fifth
// generation: by it a map of bart tables took less time for a key and a bitmap than the
// floor, which is the hash of the key and two loads.
type chain struct {
	start   time.Time
	n, sums uint64
}

func newChain() *chain { return &chain{start: time.Now()} }

// next returns the number of the next query.
func (c *chain) next(v verdict, mask uint64) uint64 {
	c.sums += uint64(v)
	c.n += 1 + uint64(time.Since(c.start))>>62 // which is 0
	return c.n & mask
}

func (c *chain) sum() uint64 { return c.sums }

// loopPeer answers nothing: it costs what the loops cost.
type loopPeer struct{}

func (loopPeer) Load([]string, [][]netip.Prefix)  {}
func (loopPeer) Check(string, netip.Addr) verdict { return denied }

func (loopPeer) Run(qs []workload.Query) (sum uint64) {
	for i := range qs {
		sum += uint64(len(qs[i].Key))
	}
	return sum
}

func (loopPeer) Chain(qs []workload.Query) uint64 {
	c, mask, i := newChain(), uint64(len(qs)-1), uint64(0)
	for range qs {
		i = c.next(verdict(i>>63), mask)
	}
	return c.sum()
}
