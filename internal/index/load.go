package index

import (
	"math/bits"
	"runtime"
	"sync"
)

// A Loader collects the lists of an index that is built anew.
type Loader struct {
	cache *compileCache
	hash  hasher
	items []item
	arena []byte // the current block of records
}

// Loader returns an empty loader for x, or for an index that came from the same New.
func (x *Index) Loader() Loader { return Loader{cache: x.cache, hash: x.hash} }

// arenaBlock is the size of the blocks that records are collected in: large
// enough to be few, small enough that none is ever moved.
const arenaBlock = 1 << 20

// Add adds the list of key, which is valid: canonical entries, at least one. The slice is not kept.
func (l *Loader) Add(key string, entries []Entry) {
	if cap(l.arena)-len(l.arena) < recHeader+maxBody {
		l.arena = make([]byte, 0, arenaBlock)
	}
	var it item
	it, l.arena = appendItem(l.arena, key, l.hash.string(key), entries, l.cache)
	l.items = append(l.items, it)
}

// Len returns the number of lists that were added.
func (l *Loader) Len() int { return len(l.items) }

// Load returns the index of the next revision, which has the lists of l and no others, and is
// loaded. It fails with a [*DuplicateKeyError] if a key was added twice.
func (x *Index) Load(l *Loader) (*Index, error) {
	d, err := newDirectory(&l.hash, l.items)
	if err != nil {
		return nil, err
	}
	return x.next(d, true), nil
}

// fillKeys is how many records Load puts into a shard at most, on average, and twice the least. It
// leaves room for the spread of the hashes and for growth before a split.
const fillKeys = splitKeys * 5 / 6

// newDirectory builds the directory of many items at once, on all processors.
func newDirectory(hash *hasher, items []item) (*directory, error) {
	depth := uint8(bits.Len(uint(max(len(items)-1, 0) / fillKeys)))
	e := emptyDirectory().edit(hash, nil)
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
	e.compact()
	e.together(blockDepth(depth))
	// Not &e.directory, which would keep the editor and all its scratch alive.
	x := e.directory
	return &x, nil
}

// blockBits is the binary logarithm of how many shards share a block: those of 8 nodes. A block
// that is given up is copied in one step.
const blockBits = nodeBits + 3

// blockDepth returns how many upper hash bits the keys of a block share, for shards of a depth. Few
// shards are divided among some 8 blocks all the same, so that all processors have work.
func blockDepth(depth uint8) uint8 {
	return depth - min(depth, max(nodeBits, min(blockBits, depth-min(depth, 3))))
}

// packSpace is the scratch space for each shard of a block, in bytes, enough for most lists. A
// shard that does not fit is built in an allocation of its own first.
const packSpace = 48 << 10

// buildGroups builds the shards of all groups, but for those that have to be split: they are nil.
func buildGroups(depth uint8, groups int, members func(int, []item) []item) ([]*shard, error) {
	shards := make([]*shard, groups)
	shared := blockDepth(depth)
	width := groups >> shared
	blocks := groups / width
	workers := min(runtime.GOMAXPROCS(0), blocks)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			var scratch []item
			b := shardBuilder{packing: true, space: make([]byte, width*packSpace)}
			built := make([]*shard, 0, width)
			for g := w * blocks / workers * width; g < (w+1)*blocks/workers*width; g++ {
				scratch = members(g, scratch[:0])
				if !mustSplit(scratch) {
					if shards[g], errs[w] = b.build(depth, scratch); errs[w] != nil {
						return
					}
					built = append(built, shards[g])
				}
				if (g+1)%width == 0 {
					b.pack(shared, built)
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
