package index

// The directory is an extendible hash: the upper bits of a key's hash are a
// place in it, and the place holds a shard. A shard that fewer bits suffice
// for stands in several places, side by side. When a shard is full it
// becomes two; only when the two need more bits than the directory has does
// the directory double, which copies references and no record.
//
//	root   []*node              2^(bits-nodeBits) of them
//	node   nodeSize places      a change copies the root and one node
//
// Two levels are enough: with 100 million keys there are a million
// shards, 65,000 nodes, and so 520 kB of root to copy for a change.
const (
	nodeBits = 4
	nodeSize = 1 << nodeBits

	// The directory doubles only while it has a place for at most every
	// minKeys keys. Hashes spread far better than that; if they ever do not,
	// a shard grows, and the directory does not.
	minKeys = 16

	// maxBits is more than enough for all keys that fit in memory.
	maxBits = 32

	// A shard is split when it has more than splitKeys records or more than
	// splitBytes bytes, and joined with its sibling when both together have
	// fewer than joinKeys and joinBytes. Replace fills shards to four tenths
	// of splitKeys and more. BenchmarkSet and BenchmarkCheck measure them.
	splitKeys  = 192
	splitBytes = 192 << 10
	joinKeys   = splitKeys / 4
	joinBytes  = splitBytes / 4
)

// A node holds the places of the directory that share all their bits but the
// last nodeBits. It is never written once it is part of a snapshot.
//
// Shards stand in it by value: each is one allocation at most, of bytes
// without pointers, and the garbage collector has half as many objects to
// visit as with a header for each. The shards that were built together, by
// Replace, are not even that: one block has the bytes of all shards of some
// nodes, which stand in one array. The collector looks at the pointers, which
// come first, and at nothing behind them.
//
// A Check reads one line of tables and one of base. The tables begin so that
// each is one cache line: behind the 8 bytes of type that the runtime has
// in front of an object of this size. (Where it does not, only time is lost.)
type node struct {
	base    [1 + nodeSize]memory // the block, and the bytes of each place that has its own
	more    [nodeSize]*shardExtra
	_       [nodePad]byte
	headers [nodeSize]header
	rest    [nodeSize]shardRest

	own        uint8 // how many places have bytes of their own
	blockDepth uint8 // number of upper hash bits that all keys of the block share
}

// nodePad puts the tables of a node where they should begin.
const nodePad = 48

// A shardRest is what else there is of a shard.
type shardRest struct {
	size, n uint32
	depth   uint8
}

func (n *node) put(i uint64, s *shard) {
	t := &n.headers[i]
	*t = *s.header
	if !n.base[1+i].none() {
		n.own--
	}
	if s.packed {
		n.base[0], n.base[1+i] = s.buf, memory{}
		n.blockDepth = s.blockDepth
		t.base = 0
	} else {
		n.base[1+i] = s.buf
		if n.own++; n.own == nodeSize {
			n.base[0] = memory{}
		}
		t.base = uint8(1 + i)
	}
	n.more[i] = s.more
	n.rest[i] = shardRest{uint32(len(s.mem)), uint32(s.n), s.depth}
}

// shard returns the shard in place i; its tables are those in n.
func (n *node) shard(i uint64) shard {
	t, r := &n.headers[i], &n.rest[i]
	s := shard{header: t, depth: r.depth, n: int(r.n), more: n.more[i], buf: n.base[t.base], packed: t.base == 0}
	s.mem = s.buf.bytes(t.offset, r.size)
	s.tags = s.buf.bytes(t.tagsAt, uint32(tagsSize(int(t.cells))))
	if s.packed {
		s.blockDepth = n.blockDepth
	}
	return s
}

// same reports whether the same shard is in places i and j.
func (n *node) same(i, j uint64) bool {
	a, b := &n.headers[i], &n.headers[j]
	return a.offset == b.offset && n.base[a.base].same(n.base[b.base])
}

// A directory is immutable; an editor makes the next one.
type directory struct {
	root []*node
	bits uint8 // the directory has 1<<bits places; at least nodeBits
	keys int
}

// place returns the place of hash h.
func (x *directory) slot(h uint64) uint64 { return h >> (64 - x.bits) }

func (x *directory) shard(h uint64) shard { return x.at(x.slot(h)) }

// at returns the shard in place p.
func (x *directory) at(p uint64) shard { return x.root[p>>nodeBits].shard(p % nodeSize) }

// all yields every shard once, in the order of the directory.
func (x *directory) all(yield func(*shard) bool) {
	for p := uint64(0); p < 1<<x.bits; {
		s := x.at(p)
		if !yield(&s) {
			return
		}
		p += 1 << (x.bits - s.depth)
	}
}

// sharing returns the range of the nodes that the block of node i is for.
func (x *directory) sharing(i uint64) (first, end uint64) {
	width := uint64(1) << (x.bits - nodeBits - x.root[i].blockDepth)
	first = i &^ (width - 1)
	return first, first + width
}

// emptyDirectory has one shard without records in all places.
func emptyDirectory() *directory {
	s, err := new(shardBuilder).build(0, nil)
	if err != nil {
		panic(err) // nothing cannot be too much
	}
	n := new(node)
	for i := range uint64(nodeSize) {
		n.put(i, s)
	}
	return &directory{root: []*node{n}, bits: nodeBits}
}

// sameShard reports whether two hashes share their upper depth bits.
func sameShard(a, b uint64, depth uint8) bool {
	return (a^b)>>1>>(63-depth) == 0
}
