package index

import (
	"cmp"
	"slices"
)

// An editor makes a directory from another, which stays as it is.
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

// A Scratch is the scratch space of an editor, kept by the engine from one change to the next. It
// holds no item between them.
type Scratch struct {
	items []item
	build shardBuilder
}

// release drops the items, and space that a large change left.
func (s *Scratch) release() {
	if cap(s.items) > 4*splitKeys {
		*s = Scratch{}
	}
	clear(s.items[:cap(s.items)])
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

// apply makes all changes. The ops have different keys. After an error the editor is of no use.
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
	e.compact()
	return nil
}

// compact takes the remaining shards out of each block of which less than half of the slots is in
// use, so that no block is kept for a few shards. The nodes of one array leave it together.
func (e *editor) compact() {
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

// patch applies o to shard s if the new record takes as many cells as the old one: then a copy of
// the shard differs in that record only. It reports whether it did.
func (e *editor) patch(s *shard, o *op) bool {
	rec := o.item.rec
	if rec == nil || o.item.long != nil || o.item.labels != nil || s.linear() {
		return false
	}
	old := s.find(o.hash, o.key)
	if old == nil || isLong(headerOf(old)) || headerOf(old)&flagLabels != 0 {
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

// change applies ops, which all belong to shard s.
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
	e.build.hint = s.header
	err := e.fill(h, s.depth, items)
	e.build.hint = nil
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

// fill makes shards of the items, which share the upper depth bits of h, and puts them into the
// directory.
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
	return len(items) > splitKeys || len(items) > 1 && itemsSize(items)+labelsSize(items) > splitBytes
}

// partition moves the items for which first is true to the front and returns their number.
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

// join merges the shard of h with its sibling while both are nearly empty, and then halves the
// directory while no shard needs all of its bits.
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
	// Shards of full depth are siblings in neighbouring slots.
	for _, n := range e.root {
		for i := uint64(0); i < nodeSize; i += 2 {
			if !n.same(i, i+1) {
				return true
			}
		}
	}
	return false
}

// put stores s in all slots of the hashes that share its depth's bits with h.
func (e *editor) put(h uint64, s *shard) {
	width := uint64(1) << (e.bits - s.depth)
	p := e.slot(h) &^ (width - 1)
	for end := p + width; p < end; p++ {
		e.node(p>>nodeBits).put(p%nodeSize, s)
	}
}

// node returns node i for writing, a copy if the node is that of the directory before.
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

// double adds one bit to the directory.
func (e *editor) double() {
	e.resize(e.bits+1, func(p uint64) uint64 { return p >> 1 })
}

// halve removes one bit from the directory. Two nodes become one, which has room for one block
// only, so all shards are unpacked first.
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

// together moves the nodes of each block into one array.
func (e *editor) together(depth uint8) {
	width := 1 << (e.bits - nodeBits - depth)
	for nodes := range slices.Chunk(e.root, width) {
		array := make([]node, len(nodes))
		for i, n := range nodes {
			array[i] = *n
			nodes[i] = &array[i]
		}
	}
}
