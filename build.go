package ipallow

import (
	"math/bits"
	"runtime"
	"sync"
)

// fillKeys is how many records Replace puts into a shard at most, on
// average; half of it at least. It leaves room for the spread of the hashes
// and for growth before a split.
const fillKeys = splitKeys * 5 / 6

// newIndex builds the index of many items at once, on all processors. The
// items are the lists of different keys; a key that comes twice is an error.
func newIndex(hash *hasher, items []item) (*index, error) {
	depth := uint8(bits.Len(uint(max(len(items)-1, 0) / fillKeys)))
	e := emptyIndex().edit(hash, nil)
	e.keys = len(items)
	for e.bits < depth {
		e.double()
	}

	// Group the items by the shard they will be in.
	group := func(it *item) uint64 { return it.hash >> 1 >> (63 - depth) }
	ends := make([]uint32, 1<<depth)
	for i := range items {
		ends[group(&items[i])]++
	}
	sum := uint32(0)
	for g, n := range ends {
		ends[g] = sum
		sum += n
	}
	order := make([]uint32, len(items))
	for i := range items {
		g := group(&items[i])
		order[ends[g]] = uint32(i)
		ends[g]++
	}
	members := func(g int, dst []item) []item {
		start := uint32(0)
		if g > 0 {
			start = ends[g-1]
		}
		for _, i := range order[start:ends[g]] {
			dst = append(dst, items[i])
		}
		return dst
	}

	shards, err := buildGroups(depth, len(ends), members)
	if err != nil {
		return nil, err
	}
	for g, s := range shards {
		h := uint64(g) << 1 << (63 - depth)
		if s != nil {
			e.put(h, s)
		} else if err := e.fill(h, depth, members(g, nil)); err != nil {
			return nil, err
		}
	}
	e.settle()
	// Not &e.index, which would keep the editor and all its scratch alive.
	x := e.index
	return &x, nil
}

// packSpace is how many bytes most shards have at most. Larger ones are built
// in an allocation of their own, and moved all the same.
const packSpace = 96 << 10

// buildGroups builds the shards of all groups, and leaves out those that
// must be split.
func buildGroups(depth uint8, groups int, members func(int, []item) []item) ([]*shard, error) {
	shards := make([]*shard, groups)
	nodes := (groups + nodeSize - 1) / nodeSize
	workers := min(runtime.GOMAXPROCS(0), nodes)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			var scratch []item
			b := shardBuilder{packing: true, space: make([]byte, nodeSize*packSpace)}
			first, last := w*nodes/workers*nodeSize, min((w+1)*nodes/workers*nodeSize, groups)
			built := make([]*shard, 0, nodeSize)
			for g := first; g < last; g++ {
				scratch = members(g, scratch[:0])
				if !mustSplit(scratch) {
					if shards[g], errs[w] = b.build(depth, scratch); errs[w] != nil {
						return
					}
					built = append(built, shards[g])
				}
				if (g+1)%nodeSize == 0 || g+1 == last {
					b.pack(built)
					built = built[:0]
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return shards, nil
}
