package index

import (
	"encoding/binary"
	"math"
)

// A shardBuilder builds shards one after another and keeps its scratch space
// between them.
type shardBuilder struct {
	need    [shardCells]uint16  // how many cells each item takes
	begin   [shardCells]uint16  // and the first of them
	member  [shardCells]uint16  // the items, by pilot
	ends    [shardPilots]uint16 // where those of each pilot end in member
	order   [shardPilots]uint8  // the pilots, those of most cells first
	here    [shardCells]int16   // the item that begins in each cell, or -1
	classes [maxClasses]uint16  // how many items there are of each size
	sizes   []uint16            // the sizes that there are, ascending

	// What packing builders build into, before the shards are moved into one
	// block: see pack. used is how much of it has been taken.
	packing bool
	space   []byte
	used    int

	// like is the tables of a shard of nearly the same items, or nil: its
	// cells and pilots are tried first. They are a hint and no more.
	like *tables
}

// maxClasses is the number of sizes that a record can have, in unitSteps.
const maxClasses = (recHeader+maxBody)/unitStep + 2

// itemsSize is the number of bytes of the records of the items.
func itemsSize(items []item) int {
	size := 0
	for i := range items {
		size += (len(items[i].rec) + linearStep - 1) / linearStep * linearStep
	}
	return size
}

// coldSize is about the size of the labels of the items.
func coldSize(items []item) int {
	size := 0
	for i := range items {
		size += len(items[i].cold)
	}
	return size
}

// build makes a shard of the items. It fails if two items have the same key,
// or if they are more than a shard can hold.
func (b *shardBuilder) build(depth uint8, items []item) (*shard, error) {
	size := itemsSize(items)
	if size > maxBlob || coldSize(items) > maxCold {
		return nil, ErrFull
	}
	s := &shard{tables: new(tables), depth: depth, n: len(items)}
	if len(items) == 0 {
		s.unit = minUnit
		s.hold(nil, recPad, 0)
		return s, nil
	}
	if len(items) <= shardCells && b.perfect(s, items) {
		b.fill(s, items)
		if n := ahead + len(s.mem) + len(s.tags); b.packing && b.used+n <= len(b.space) {
			b.used += n
		}
		return s, nil
	}
	*s.tables = tables{}
	s.hold(nil, size+recPad, 0)
	at, seen := 0, make(map[string]bool, len(items))
	for i := range items {
		key := string(keyOf(items[i].rec))
		if seen[key] {
			return nil, &DuplicateKeyError{Key: key}
		}
		seen[key] = true
		s.put(at, &items[i])
		at += (len(items[i].rec) + linearStep - 1) / linearStep * linearStep
	}
	return s, nil
}

// put writes the record of it at offset at.
func (s *shard) put(at int, it *item) {
	rec := s.mem[at:][:len(it.rec)]
	copy(rec, it.rec)
	if it.large == nil && it.cold == nil {
		return
	}
	if s.more == nil {
		s.more = new(moreShard)
	}
	m := s.more
	if it.large != nil {
		binary.LittleEndian.PutUint32(rec[len(rec)-4:], uint32(len(m.large)))
		m.large = append(m.large, *it.large)
	} else {
		binary.LittleEndian.PutUint32(rec[len(rec)-4:], uint32(len(m.cold)))
		m.cold = binary.AppendUvarint(m.cold, uint64(len(it.cold)))
		m.cold = append(m.cold, it.cold...)
	}
}

// fill writes the records and the tags of a shard for which place has found
// the cells.
func (b *shardBuilder) fill(s *shard, items []item) {
	for cell, k := range b.here[:s.cells] {
		if k >= 0 {
			it := &items[k]
			s.put(cell*int(s.unit), it)
			s.setTag(uint64(cell), tagFor(it.hash, it.rec))
		}
	}
}

// maxTries is how many numbers of cells are tried. The first is nearly always
// good, and the others are larger and larger.
const maxTries = 32

// perfect gives s room, cells and pilots under which each item has cells of
// its own, or reports that it found none.
func (b *shardBuilder) perfect(s *shard, items []item) bool {
	if like := b.like; like != nil && like.unit > 0 && like.fits(items) {
		s.unit, s.cells = like.unit, like.cells
		s.hold(nil, int(s.unit)*int(s.cells)+recPad, int(s.cells))
		if b.place(s, items, &like.pilots) {
			return true
		}
	}
	unit, cells := b.measure(items)
	for try := range maxTries {
		if try == maxTries-1 {
			// One cell for each, and as many free ones as there can be.
			unit, cells = int(b.sizes[len(b.sizes)-1])*unitStep, shardCells
		}
		buf := b.room(unit, &cells, try == 0)
		s.unit, s.cells = uint16(unit), uint16(cells)
		s.hold(buf, unit*cells+recPad, cells)
		if b.place(s, items, nil) {
			return true
		}
		if cells += cells/16 + 1; cells > shardCells {
			// Larger cells are fewer; and another number of them is another
			// place for each.
			cells = shardCells - try
			if largest := int(b.sizes[len(b.sizes)-1]) * unitStep; unit < largest {
				unit = min(unit+(unit/8+unitStep)/unitStep*unitStep, largest)
			}
		}
	}
	return false
}

// room returns zeros for so many cells and their tags, or for more, if that
// will do and they cost nothing.
func (b *shardBuilder) room(unit int, cells *int, more bool) []byte {
	n := ahead + unit**cells + recPad + tagsSize(*cells)
	if !more && !b.packing {
		return make([]byte, n)
	}
	if b.packing {
		if b.used+n > len(b.space) {
			return make([]byte, n)
		}
		mem := b.space[b.used:][:n:n]
		clear(mem)
		return mem
	}
	// The allocator has its own sizes; all of what it gives is of use.
	mem := append([]byte(nil), make([]byte, n)...)
	*cells = max(*cells, min((cap(mem)-ahead-recPad)/(unit+tagsSize(1)), shardCells))
	mem = mem[:ahead+*cells*unit+recPad+tagsSize(*cells)]
	clear(mem[n:])
	return mem
}

// pack moves the bytes of shards, which were built one after another and
// are all of those whose keys share depth hash bits, into
// one block: the garbage collector looks at each of its objects, and needs
// as long for a small one as for a large one. A block is what the shards of a
// few nodes begin with; changes take them out of it, see editor.settle. The
// tags of all of them come first, so that they are in as few pages as they
// can be: the processor finds no more than some thousand without help.
func (b *shardBuilder) pack(depth uint8, shards []*shard) {
	b.used = 0
	tags, size := 0, ahead
	for _, s := range shards {
		tags += len(s.tags)
		size += wholeLines(len(s.mem))
	}
	tagsAt, at := 0, wholeLines(tags)
	if int64(at)+int64(size) > math.MaxUint32 {
		for _, s := range shards {
			s.unpack() // of the scratch space
		}
		return
	}
	block := make([]byte, at+size)
	at += ahead
	for _, s := range shards {
		n, m := copy(block[at:], s.mem), copy(block[tagsAt:], s.tags)
		s.mem, s.tags = block[at:][:n:n], block[tagsAt:][:m:m]
		s.offset, s.tagsAt = uint32(at), uint32(tagsAt)
		s.both, s.packed, s.blockDepth = newHotMem(block), true, depth
		at += wholeLines(n)
		tagsAt += m
	}
}

// wholeLines is n, rounded up to whole cache lines: the records of each shard
// begin in a line of their own.
func wholeLines(n int) int { return (n + lineSize - 1) &^ (lineSize - 1) }

const (
	lineSize = 64

	// ahead is how many bytes of a line stand before the first record. What
	// stands in its header before the key's length Check does not read, and what
	// Check reads begins with a line. (Allocations of this size begin with one.)
	ahead = lineSize - hdrKeyLen/8
)

// zeros is the bytes ahead of a shard's records.
var zeros [ahead]byte

// fits reports whether the items have room in as many cells as t has, and do
// not leave too many of them free.
func (t *tables) fits(items []item) bool {
	need, size := 0, 0
	for i := range items {
		size += len(items[i].rec)
		need += t.cellsFor(len(items[i].rec))
	}
	cells := int(t.cells)
	return need <= cells-cells/32 && cells*int(t.unit) <= size+size/2
}

// measure chooses the size of a cell and how many are needed so that the
// items take little memory: in cells of the size of the longest record each
// has one, and shorter records waste what they leave free; in smaller ones
// some records need several side by side, which are harder to find. Cells of
// whole cache lines may take some memory more.
func (b *shardBuilder) measure(items []item) (unit, cells int) {
	clear(b.classes[:])
	for i := range items {
		b.classes[(len(items[i].rec)+unitStep-1)/unitStep]++
	}
	b.sizes = b.sizes[:0]
	for c, n := range b.classes {
		if n > 0 {
			b.sizes = append(b.sizes, uint16(c))
		}
	}
	largest := int(b.sizes[len(b.sizes)-1])
	best, bestWhole := math.MaxInt, math.MaxInt
	whole, wholeCells := 0, 0 // in cells that are whole lines
	for u := min(minUnit/unitStep, largest); u <= wholeLines(largest*unitStep)/unitStep; u++ {
		need, several := 0, 0
		for _, c := range b.sizes {
			each := (int(c) + u - 1) / u
			n := each * int(b.classes[c])
			need += n
			if each > 1 {
				several += n
			}
		}
		want := need + need/14 + several/6
		if u >= largest {
			want = min(want, shardCells)
		}
		if want > shardCells {
			continue
		}
		if want*u < best {
			best, unit, cells = want*u, u*unitStep, want
		}
		if u%(lineSize/unitStep) == 0 && want*u < bestWhole {
			bestWhole, whole, wholeCells = want*u, u*unitStep, want
		}
	}
	// A record across the bounds of lines is in one line more than it needs,
	// and what Check costs with many keys is lines. BenchmarkCheck measures the
	// time, and TestBytesPerKey the memory.
	more := best / 4
	if whole > 2*lineSize {
		more = best / 3
	}
	if bestWhole <= best+more {
		return whole, wholeCells
	}
	return unit, cells
}

// place finds cells and pilots of s for the items, or reports that there are
// none. If like is not nil, its pilots are tried first.
func (b *shardBuilder) place(s *shard, items []item, like *[shardPilots]uint8) bool {
	// Sort the items by pilot.
	var weight [shardPilots]uint16
	clear(b.ends[:])
	for k := range items {
		p := pilotAt(items[k].hash)
		b.need[k] = uint16(s.cellsFor(len(items[k].rec)))
		weight[p] += b.need[k]
		b.ends[p]++
	}
	sum := uint16(0)
	for p, n := range b.ends {
		b.ends[p] = sum
		sum += n
	}
	for k := range items {
		p := pilotAt(items[k].hash)
		b.member[b.ends[p]] = uint16(k)
		b.ends[p]++
	}
	// And the pilots by how many cells their items need. Beyond maxWeight
	// they are all the same.
	const maxWeight = 31
	var heavier [maxWeight + 2]uint8
	for _, w := range weight {
		heavier[min(w, maxWeight)]++
	}
	for w := maxWeight; w >= 0; w-- {
		heavier[w] += heavier[w+1]
	}
	for p, w := range weight {
		i := &heavier[min(w, maxWeight)+1]
		b.order[*i] = uint8(p)
		*i++
	}
	for i := range b.here[:s.cells] {
		b.here[i] = -1
	}
	var used cellSet
	for _, p := range b.order {
		start := uint16(0)
		if p > 0 {
			start = b.ends[p-1]
		}
		members := b.member[start:b.ends[p]]
		if len(members) == 0 {
			break // and so are all that follow
		}
		if like != nil && b.try(s, items, members, like[p], &used) {
			s.pilots[p] = like[p]
			continue
		}
		pilot := 0
		for !b.try(s, items, members, uint8(pilot), &used) {
			if pilot++; pilot > math.MaxUint8 {
				return false
			}
		}
		s.pilots[p] = uint8(pilot)
	}
	return true
}

// A cellSet is a set of cells.
type cellSet [shardCells / 64]uint64

// try takes the cells for the items of one pilot, if they are free.
func (b *shardBuilder) try(s *shard, items []item, members []uint16, pilot uint8, used *cellSet) bool {
	for i, k := range members {
		cell := uint16(cellAt(items[k].hash, pilot, s.cells))
		if !used.take(cell, b.need[k], s.cells) {
			for _, k := range members[:i] {
				used.free(b.begin[k], b.need[k])
			}
			return false
		}
		b.begin[k] = cell
	}
	for _, k := range members {
		b.here[b.begin[k]] = int16(k)
	}
	return true
}

// take adds n cells from cell on, if all of them are below limit and none is
// in the set.
func (c *cellSet) take(cell, n, limit uint16) bool {
	if n == 1 {
		bit := uint64(1) << (cell % 64)
		word := &c[cell/64]
		free := *word&bit == 0
		*word |= bit
		return free
	}
	if cell+n > limit {
		return false
	}
	for i := cell; i < cell+n; i++ {
		if c[i/64]>>(i%64)&1 != 0 {
			return false
		}
	}
	for i := cell; i < cell+n; i++ {
		c[i/64] |= 1 << (i % 64)
	}
	return true
}

// free takes n cells from cell on out of the set.
func (c *cellSet) free(cell, n uint16) {
	for i := cell; i < cell+n; i++ {
		c[i/64] &^= 1 << (i % 64)
	}
}
