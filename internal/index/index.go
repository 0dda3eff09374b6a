package index

import (
	"cmp"
	"slices"
)

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
	base   [1 + nodeSize]hotMem // the block, and the bytes of each place that has its own
	more   [nodeSize]*moreShard
	_      [nodePad]byte
	tables [nodeSize]tables
	rest   [nodeSize]restShard

	own        uint8 // how many places have bytes of their own
	blockDepth uint8 // number of upper hash bits that all keys of the block share
}

// nodePad puts the tables of a node where they should begin.
const nodePad = 48

// A restShard is what else there is of a shard.
type restShard struct {
	size, n uint32
	depth   uint8
}

func (n *node) put(i uint64, s *shard) {
	t := &n.tables[i]
	*t = *s.tables
	if !n.base[1+i].none() {
		n.own--
	}
	if s.packed {
		n.base[0], n.base[1+i] = s.both, hotMem{}
		n.blockDepth = s.blockDepth
		t.base = 0
	} else {
		n.base[1+i] = s.both
		if n.own++; n.own == nodeSize {
			n.base[0] = hotMem{}
		}
		t.base = uint8(1 + i)
	}
	n.more[i] = s.more
	n.rest[i] = restShard{uint32(len(s.mem)), uint32(s.n), s.depth}
}

// shard returns the shard in place i; its tables are those in n.
func (n *node) shard(i uint64) shard {
	t, r := &n.tables[i], &n.rest[i]
	s := shard{tables: t, depth: r.depth, n: int(r.n), more: n.more[i], both: n.base[t.base], packed: t.base == 0}
	s.mem = s.both.bytes(t.offset, r.size)
	s.tags = s.both.bytes(t.tagsAt, uint32(tagsSize(int(t.cells))))
	if s.packed {
		s.blockDepth = n.blockDepth
	}
	return s
}

// same reports whether the same shard is in places i and j.
func (n *node) same(i, j uint64) bool {
	a, b := &n.tables[i], &n.tables[j]
	return a.offset == b.offset && n.base[a.base].same(n.base[b.base])
}

// A directory is immutable; an editor makes the next one.
type directory struct {
	root []*node
	bits uint8 // the directory has 1<<bits places; at least nodeBits
	keys int
}

// place returns the place of hash h.
func (x *directory) place(h uint64) uint64 { return h >> (64 - x.bits) }

func (x *directory) shard(h uint64) shard { return x.at(x.place(h)) }

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

// release ends the use of the scratch space, which keeps no item alive and
// does not stay large.
func (s *Scratch) release() {
	if cap(s.items) > 4*splitKeys {
		*s = Scratch{}
	}
	clear(s.items[:cap(s.items)])
}

// An op is one change of a step: the list of one key, or its end.
type op struct {
	key  string
	hash uint64
	item item // rec is nil for a deletion
}

// An editor makes a directory from another. The first keeps its answers.
type editor struct {
	directory
	hash *hasher

	// from is the root that the editor began with, or nil if all nodes are
	// new. What differs from it was made by the editor, which may write it:
	// these are the nodes in written.
	from    []*node
	written []uint64
	*Scratch
}

// A Scratch is what an editor needs while it works, kept by the engine for
// the next one. It holds no item between two editors.
type Scratch struct {
	items []item
	build shardBuilder
}

// edit begins an editor that uses s, or scratch space of its own if s is nil.
func (x *directory) edit(hash *hasher, s *Scratch) *editor {
	if s == nil {
		s = new(Scratch)
	}
	e := &editor{directory: *x, hash: hash, from: x.root, Scratch: s}
	e.root = slices.Clone(x.root)
	return e
}

// apply makes all the changes. The ops have different keys. After an error
// the editor is of no use, and the index it came from is as it was.
func (e *editor) apply(ops []op) error {
	slices.SortFunc(ops, func(a, b op) int { return cmp.Compare(a.hash, b.hash) })
	for len(ops) > 0 {
		s := e.shard(ops[0].hash)
		n := 1
		for n < len(ops) && sameShard(ops[0].hash, ops[n].hash, s.depth) {
			n++
		}
		if err := e.change(&s, ops[:n]); err != nil {
			return err
		}
		ops = ops[n:]
	}
	e.settle()
	return nil
}

// settle takes the last shards out of the blocks of which less than half is
// in use, counted in places, so that a block does not stay for a few shards.
// A block that was built together is given up together: the nodes that began
// in one array leave that too.
func (e *editor) settle() {
	for k := 0; k < len(e.written); k++ { // unpackNode may write more
		i := e.written[k]
		if n := e.root[i]; !n.base[0].none() {
			first, end := e.sharing(i)
			own := 0
			for _, m := range e.root[first:end] {
				own += int(m.own)
			}
			if own > int(end-first)*nodeSize/2 {
				for ; first < end; first++ {
					e.unpackNode(first)
				}
			}
		}
	}
}

// sharing returns the range of the nodes that the block of node i is for.
func (x *directory) sharing(i uint64) (first, end uint64) {
	width := uint64(1) << (x.bits - nodeBits - x.root[i].blockDepth)
	first = i &^ (width - 1)
	return first, first + width
}

// unpackNode takes all shards of node i out of their block.
func (e *editor) unpackNode(i uint64) {
	if e.root[i].base[0].none() {
		return
	}
	for p := i << nodeBits; p < (i+1)<<nodeBits; p++ {
		if s := e.at(p); s.packed {
			s.unpack()
			e.put(p<<(64-e.bits), &s)
		}
	}
}

// sameShard reports whether two hashes share their upper depth bits.
func sameShard(a, b uint64, depth uint8) bool {
	return (a^b)>>1>>(63-depth) == 0
}

// patch applies o, which belongs in shard s, if it needs no other cells: a
// list takes the place of one of about the same length. Then a copy of the
// shard differs in that record only.
func (e *editor) patch(s *shard, o *op) bool {
	rec := o.item.rec
	if rec == nil || o.item.large != nil || o.item.cold != nil || s.linear() {
		return false
	}
	old := s.find(o.hash, o.key)
	if old == nil || isLarge(headerOf(old)) || headerOf(old)&flagLabels != 0 {
		return false
	}
	size := s.cellsFor(len(rec)) * int(s.unit)
	if size != s.cellsFor(len(old))*int(s.unit) {
		return false
	}
	next, cell := *s, s.cellOf(o.hash)
	next.unpack()
	dst := next.mem[cell*uint64(s.unit):][:size]
	clear(dst[copy(dst, rec):])
	next.setTag(cell, tagFor(o.hash, rec))
	e.put(o.hash, &next)
	return true
}

// change applies ops, which all belong in shard s.
func (e *editor) change(s *shard, ops []op) error {
	if len(ops) == 1 && e.patch(s, &ops[0]) {
		return nil
	}
	changed := func(key []byte) bool {
		for i := range ops {
			if ops[i].key == string(key) {
				return true
			}
		}
		return false
	}
	if len(ops) > 16 {
		set := make(map[string]bool, len(ops))
		for i := range ops {
			set[ops[i].key] = true
		}
		changed = func(key []byte) bool { return set[string(key)] }
	}
	items := e.items[:0]
	for rec := range s.records() {
		if key := keyOf(rec); !changed(key) {
			items = append(items, s.item(e.hash.bytes(key), rec))
		}
	}
	for i := range ops {
		if ops[i].item.rec != nil {
			items = append(items, ops[i].item)
		}
	}
	e.items = items
	grown := len(items) - s.n
	if grown == 0 && !anySet(ops) {
		return nil // only keys that are not here were deleted
	}
	e.keys += grown
	h := ops[0].hash
	e.build.like = s.tables
	err := e.fill(h, s.depth, items)
	e.build.like = nil
	if err != nil {
		return err
	}
	if grown < 0 {
		return e.join(h)
	}
	return nil
}

func anySet(ops []op) bool {
	for i := range ops {
		if ops[i].item.rec != nil {
			return true
		}
	}
	return false
}

// fill puts the items, which share the upper depth bits with h, into the
// directory, as one shard or as several.
func (e *editor) fill(h uint64, depth uint8, items []item) error {
	if !mustSplit(items) || depth == e.bits && !e.mayDouble() {
		s, err := e.build.build(depth, items)
		if err != nil {
			return err
		}
		e.put(h, s)
		return nil
	}
	if depth == e.bits {
		e.double()
	}
	// The next bit parts the items.
	bit := uint64(1) << (63 - depth)
	ones := partition(items, func(it *item) bool { return it.hash&bit == 0 })
	h &^= bit<<1 - 1
	if err := e.fill(h, depth+1, items[:ones]); err != nil {
		return err
	}
	return e.fill(h|bit, depth+1, items[ones:])
}

func mustSplit(items []item) bool {
	return len(items) > splitKeys || len(items) > 1 && itemsSize(items)+coldSize(items) > splitBytes
}

// partition moves the items for which first holds to the front and returns
// their number.
func partition(items []item, first func(*item) bool) int {
	n := 0
	for i := range items {
		if first(&items[i]) {
			items[i], items[n] = items[n], items[i]
			n++
		}
	}
	return n
}

// join makes one shard of the shard at h and its sibling while both are
// nearly empty, and then halves the directory while no shard needs all its
// bits.
func (e *editor) join(h uint64) error {
	for {
		s := e.shard(h)
		if s.depth == 0 {
			break
		}
		t := e.shard(h ^ 1<<(64-s.depth))
		if t.depth != s.depth || s.n+t.n >= joinKeys || s.size()+t.size() >= joinBytes {
			break
		}
		items := s.items(nil, e.hash.bytes)
		joined, err := e.build.build(s.depth-1, t.items(items, e.hash.bytes))
		if err != nil {
			return err
		}
		e.put(h, joined)
	}
	for e.bits > nodeBits && !e.deep() {
		e.halve()
	}
	return nil
}

// deep reports whether a shard needs all bits of the directory.
func (e *editor) deep() bool {
	// Shards of full depth are siblings in neighbouring places.
	for _, n := range e.root {
		for i := uint64(0); i < nodeSize; i += 2 {
			if !n.same(i, i+1) {
				return true
			}
		}
	}
	return false
}

// put writes s to all places of the hashes that share its depth's bits with
// h.
func (e *editor) put(h uint64, s *shard) {
	width := uint64(1) << (e.bits - s.depth)
	p := e.place(h) &^ (width - 1)
	for end := p + width; p < end; p++ {
		e.node(p>>nodeBits).put(p%nodeSize, s)
	}
}

// node returns node i for writing.
func (e *editor) node(i uint64) *node {
	n := e.root[i]
	if e.from != nil && n == e.from[i] {
		c := *n
		n = &c
		e.root[i] = n
		e.written = append(e.written, i)
	}
	return n
}

func (e *editor) mayDouble() bool { return e.bits < maxBits && e.keys>>e.bits >= minKeys }

// double gives the directory one bit more.
func (e *editor) double() {
	e.resize(e.bits+1, func(p uint64) uint64 { return p >> 1 })
}

// halve takes one bit from the directory. Two nodes become one, which has
// room for one block: so no shard stays in one.
func (e *editor) halve() {
	for i := range e.root {
		e.unpackNode(uint64(i))
	}
	e.resize(e.bits-1, func(p uint64) uint64 { return p << 1 })
}

func (e *editor) resize(newBits uint8, old func(uint64) uint64) {
	root := make([]*node, 1<<(newBits-nodeBits))
	e.from, e.written = nil, e.written[:0]
	for i := range root {
		n := new(node)
		for j := range uint64(nodeSize) {
			p := old(uint64(i)<<nodeBits | j)
			s := e.at(p)
			n.put(j, &s)
		}
		root[i] = n
		e.written = append(e.written, uint64(i))
	}
	e.root, e.bits = root, newBits
}
