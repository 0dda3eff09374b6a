package index

import "math"

// A shard's pilots are a perfect hash function of its keys, found by trial when the shard is built
// (hash and displace; PTHash, https://arxiv.org/abs/2104.10402). The hash of a key chooses a pilot,
// and hash and pilot together give the cell. All keys that share a pilot are tried with one of its
// 256 values after the other until each has free cells; the pilots of the most cells are tried
// first.
//
// The directory takes bits from the top of the hash, at most maxBits of them. The pilot is chosen
// by bits 0 to 31, the cell by all bits, and bits 1 to 5 are in the tag. Keys that have one of
// these parts in common only cost time.

// pilotAt returns the number of the pilot for hash h. The multiplication mixes all of the lower
// half: hashes of keys that differ in one word may have a pattern in their upper bits. That
// shardPilots is a multiple of 16 saves Check a shift.
func pilotAt(h uint64) uint64 { return uint64(uint32(h)*0x9e3779b1) * (shardPilots >> 4) >> 28 }

// cellAt returns the cell for hash h with a pilot, in a shard of so many cells.
func cellAt(h uint64, pilot uint8, cells uint16) uint64 {
	return h * factors[pilot] >> 32 * uint64(cells) >> 32
}

// factors are odd numbers without a pattern, one for each value of a pilot. With a series of
// numbers two keys whose hashes have certain differences share a cell under every pilot, which
// happened in one of some hundred shards (TestPilotsForAllPairs).
var factors = func() (f [256]uint64) {
	x := uint64(1)
	for i := range f {
		// splitmix64 (Steele, Lea, Flood 2014)
		x += 0x9e3779b97f4a7c15
		y := x
		y = (y ^ y>>30) * 0xbf58476d1ce4e5b9
		y = (y ^ y>>27) * 0x94d049bb133111eb
		f[i] = y ^ y>>31 | 1
	}
	return f
}()

// A placer finds cells and pilots for the items of a shard. Its fields are scratch space.
type placer struct {
	need   [shardCells]uint16  // how many cells each item takes
	begin  [shardCells]uint16  // and the first of them
	member [shardCells]uint16  // the items, by pilot
	ends   [shardPilots]uint16 // where those of each pilot end in member
	order  [shardPilots]uint8  // the pilots, those of most cells first
	here   [shardCells]int16   // the item that begins in each cell, or -1
}

// place chooses the cells and the pilots of s for the items, and reports whether there are any. It
// tries the pilots of hint first, unless hint is nil.
func (b *placer) place(s *shard, items []item, hint *[shardPilots]uint8) bool {
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
		if hint != nil && b.try(s, items, members, hint[p], &used) {
			s.pilots[p] = hint[p]
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

// try takes the cells of the items of one pilot, if all of them are free.
func (b *placer) try(s *shard, items []item, members []uint16, pilot uint8, used *cellSet) bool {
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

// A cellSet is a set of cells.
type cellSet [shardCells / 64]uint64

// take adds n cells from cell on, if all of them are below limit and none is in the set.
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

// free removes n cells from cell on.
func (c *cellSet) free(cell, n uint16) {
	for i := cell; i < cell+n; i++ {
		c[i/64] &^= 1 << (i % 64)
	}
}
