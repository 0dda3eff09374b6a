package index

import "math"

// A shardBuilder builds shards, one after another, in the same scratch space.
type shardBuilder struct {
	placer
	classes [maxClasses]uint16 // how many items there are of each size
	sizes   []uint16           // the sizes that there are, ascending

	// A packing builder builds into space, of which used bytes are taken, and pack moves the shards
	// into one block.
	packing bool
	space   []byte
	used    int

	// hint is the header of a shard of nearly the same items, or nil. Its cells and pilots are
	// tried first.
	hint *header
}

// maxClasses is the number of sizes that a record can have, in units of unitStep.
const maxClasses = (recHeader+maxBody)/unitStep + 2

// build makes a shard of the items. It fails if two of them have the same key, which no pilots can
// part, so that the shard is linear and compares them, or with ErrFull.
func (b *shardBuilder) build(depth uint8, items []item) (*shard, error) {
	size := itemsSize(items)
	if size > maxBlob || labelsSize(items) > maxLabels {
		return nil, ErrFull
	}
	s := &shard{header: new(header), depth: depth, n: len(items)}
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
	*s.header = header{}
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

// fill writes the records and the tags into the cells that place has chosen.
func (b *shardBuilder) fill(s *shard, items []item) {
	for cell, k := range b.here[:s.cells] {
		if k >= 0 {
			it := &items[k]
			s.put(cell*int(s.unit), it)
			s.setTag(uint64(cell), tagFor(it.hash, it.rec))
		}
	}
}

// maxTries is how many numbers of cells are tried, each larger than the one before. The first is
// nearly always enough.
const maxTries = 32

// perfect chooses the cells and the pilots of s and allocates its buffer. It reports whether it
// found pilots under which each item has cells of its own.
func (b *shardBuilder) perfect(s *shard, items []item) bool {
	if hint := b.hint; hint != nil && hint.unit > 0 && hint.fits(items) {
		s.unit, s.cells = hint.unit, hint.cells
		s.hold(nil, int(s.unit)*int(s.cells)+recPad, int(s.cells))
		if b.place(s, items, &hint.pilots) {
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
			// Larger cells are fewer, and another number of cells moves each item.
			cells = shardCells - try
			if largest := int(b.sizes[len(b.sizes)-1]) * unitStep; unit < largest {
				unit = min(unit+(unit/8+unitStep)/unitStep*unitStep, largest)
			}
		}
	}
	return false
}

// room returns a zeroed buffer for so many cells and their tags. If more is set it may increase
// cells to use what the allocator would waste.
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

// pack moves shards that were built one after another into one block. They are all the shards whose
// keys share depth hash bits. The garbage collector takes as long for a small object as for a large
// one, so fewer are better; a change takes shards out of a block again (editor.compact).
//
// The tags of all shards come first, so that they are on as few memory pages as possible: a TLB has
// room for some thousand.
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
		s.buf, s.packed, s.blockDepth = newMemory(block), true, depth
		at += wholeLines(n)
		tagsAt += m
	}
}

// measure chooses the size of a cell and the number of cells for which the items take the least
// memory. In cells of the size of the longest record, shorter ones waste the rest of their cell;
// in smaller cells, long records need several side by side, which are harder to find. Cells of
// whole cache lines are preferred at a cost of up to a third more memory.
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
