package index

// The directory is an extendible hash table (Fagin et al. 1979). The upper bits of a hash are a
// slot number, and each slot has a shard. A shard of smaller depth has several slots, side by side.
// A full shard is split in two; only if these need more bits than the directory has, the directory
// doubles, which copies references and no records.
//
//	root   []*node         1<<(bits-nodeBits) of them
//	node   nodeSize slots  a change copies the root and one node
//
// Two levels are enough: 100 million keys have a million shards in 65,000 nodes, and so 520 kB of
// root to copy for a change.
const (
	nodeBits = 4
	nodeSize = 1 << nodeBits

	// The directory doubles only while it has at least minKeys keys for each slot. Hashes are
	// spread far better than that; if they ever are not, a shard grows instead.
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

// A node has the slots that share all bits of their numbers but the last nodeBits. It is never
// written after it was published.
//
// Shards are in it by value, as parallel arrays: each shard is at most one allocation, its buffer,
// which has no pointers. The shards that a Load builds together do not have even that, but share
// one block, and the nodes of a block are one array. The garbage collector scans the pointers,
// which come first, and nothing after them.
//
// A Check reads one cache line of headers and one of base. nodePad aligns the headers: the runtime
// puts 8 bytes of type before an object of this size. (Where it does not, only time is lost.)
type node struct {
	base    [1 + nodeSize]memory // the block, and the buffers of the slots that have their own
	more    [nodeSize]*shardExtra
	_       [nodePad]byte
	headers [nodeSize]header
	rest    [nodeSize]shardRest

	own        uint8 // how many slots have a buffer of their own
	blockDepth uint8 // number of upper hash bits that all keys of the block share
}

// nodePad aligns the headers of a node with cache lines.
const nodePad = 48

// A shardRest is what Check does not read of a shard.
type shardRest struct {
	size, n uint32
	depth   uint8
}

// put stores s in slot i of the node.
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

// shard returns the shard in slot i; its header is the one in n.
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

// same reports whether slots i and j have the same shard.
func (n *node) same(i, j uint64) bool {
	a, b := &n.headers[i], &n.headers[j]
	return a.offset == b.offset && n.base[a.base].same(n.base[b.base])
}

// A directory finds the shard of a hash. It is immutable; an editor makes the next one.
type directory struct {
	root []*node
	bits uint8 // the directory has 1<<bits slots; at least nodeBits
	keys int
}

// slot returns the slot number of hash h.
func (x *directory) slot(h uint64) uint64 { return h >> (64 - x.bits) }

func (x *directory) shard(h uint64) shard { return x.at(x.slot(h)) }

// at returns the shard in slot p.
func (x *directory) at(p uint64) shard { return x.root[p>>nodeBits].shard(p % nodeSize) }

// all yields every shard once, in the order of the slots.
func (x *directory) all(yield func(*shard) bool) {
	for p := uint64(0); p < 1<<x.bits; {
		s := x.at(p)
		if !yield(&s) {
			return
		}
		p += 1 << (x.bits - s.depth)
	}
}

// sharing returns the range of nodes whose shards can be in the block of node i.
func (x *directory) sharing(i uint64) (first, end uint64) {
	width := uint64(1) << (x.bits - nodeBits - x.root[i].blockDepth)
	first = i &^ (width - 1)
	return first, first + width
}

// emptyDirectory returns a directory with one shard, without records, in all slots.
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
