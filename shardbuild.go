package ipallow

import "encoding/binary"

// A shardBuilder builds shards one after another and keeps its scratch space
// between them.
type shardBuilder struct {
	buckets [][bucketSlots]int32 // the items of each bucket
	count   []uint8              // and their number
	offsets []int
	slots   []uint32

	// like is a shard of nearly the same items, or nil: its multiplier and
	// seeds are tried first.
	like *shard
}

// itemsSize is the size of a shard of the items.
func itemsSize(items []item) int {
	size := bucketsFor(len(items)) << bucketBits
	for i := range items {
		n := len(items[i].rec)
		size = startOf(size, n) + n
	}
	return size + recPad
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
		return nil, ErrTooManyKeys
	}
	s := &shard{
		mem:     make([]byte, 0, size),
		buckets: uint32(bucketsFor(len(items))),
		depth:   depth,
		n:       len(items),
	}
	s.mem = s.mem[:s.first()]
	b.offsets = b.offsets[:0]
	for i := range items {
		b.offsets = append(b.offsets, s.add(&items[i]))
	}
	s.mem = s.mem[:size]
	b.slots = b.slots[:0]
	for i, at := range b.offsets {
		b.slots = append(b.slots, s.slotOf(items[i].hash, at, items[i].rec))
	}
	if !s.far() && b.perfect(s, items) {
		return s, nil
	}
	return s, b.probing(s, items)
}

// add appends the record of it to s and returns its offset.
func (s *shard) add(it *item) int {
	at := startOf(len(s.mem), len(it.rec))
	s.mem = s.mem[:at]
	s.mem = append(s.mem, it.rec...)
	rec := s.mem[at:]
	if it.large == nil && it.cold == nil {
		return at
	}
	if s.more == nil {
		s.more = new(moreShard)
	}
	m := s.more
	if it.large != nil {
		binary.LittleEndian.PutUint32(rec[len(rec)-4:], uint32(len(m.large)))
		m.large = append(m.large, it.large)
	} else {
		binary.LittleEndian.PutUint32(rec[len(rec)-4:], uint32(len(m.cold)))
		m.cold = binary.AppendUvarint(m.cold, uint64(len(it.cold)))
		m.cold = append(m.cold, it.cold...)
	}
	return at
}

// maxMults is how many multipliers are tried: with random hashes one in
// seven is good, and one in twenty of the largest shards.
const maxMults = 256

// perfect gives each item a slot that Check finds at once, or reports that
// there is no such way.
func (b *shardBuilder) perfect(s *shard, items []item) bool {
	n := int(s.buckets)
	if cap(b.count) < n {
		b.count, b.buckets = make([]uint8, n), make([][bucketSlots]int32, n)
	}
	b.count, b.buckets = b.count[:n], b.buckets[:n]
	like := b.like
	if like != nil && (like.buckets != s.buckets || like.probes > 0) {
		like = nil
	}
	for try := 0; ; try++ {
		s.mult = 0x9e3779b1 + uint32(try)*0x3c6ef372 // odd
		if try == 0 && like != nil {
			s.mult = like.mult
		}
		if b.part(s, items) {
			break
		}
		if try == maxMults {
			return false
		}
	}
	for i := range b.count {
		seed := uint32(0)
		if like != nil && like.mult == s.mult {
			seed = binary.LittleEndian.Uint32(like.slot(uint64(i), 0)[:])
		}
		if !b.seed(s, items, uint64(i), seed) {
			return false
		}
	}
	return true
}

// part parts the items into buckets, and reports whether they fit.
func (b *shardBuilder) part(s *shard, items []item) bool {
	clear(b.count)
	for k := range items {
		i := bucketAt(items[k].hash, s.mult, s.buckets)
		if b.count[i] == bucketSlots {
			return false
		}
		b.buckets[i][b.count[i]] = int32(k)
		b.count[i]++
	}
	return true
}

// maxSeeds is how many seeds are tried for a bucket: for seven keys one in
// 400 is good.
const maxSeeds = 1 << 14

// seed finds a seed for a bucket of s that gives each of its items a slot of
// its own. It tries the given one first.
func (b *shardBuilder) seed(s *shard, items []item, bucket uint64, seed uint32) bool {
	ks := b.buckets[bucket][:b.count[bucket]]
	var xs [bucketSlots]uint32
	for i, k := range ks {
		xs[i] = uint32(items[k].hash >> 8)
		for _, x := range xs[:i] {
			if x == xs[i] {
				return false // no seed parts these
			}
		}
	}
next:
	for try := range maxSeeds {
		if try > 0 || seed == 0 {
			seed = (seed*0x915f77f5 + 0x5bd1e9) & seedMask
		}
		used := uint32(1)
		for _, x := range xs[:len(ks)] {
			lane := uint32(1) << (x * seed >> 29)
			if used&lane != 0 {
				continue next
			}
			used |= lane
		}
		binary.LittleEndian.PutUint32(s.slot(bucket, 0)[:], seed)
		for i, k := range ks {
			binary.LittleEndian.PutUint32(s.slot(bucket, xs[i]*seed>>29)[:], b.slots[k])
		}
		return true
	}
	return false
}

// probing puts each item into the first free slot from its bucket on.
func (b *shardBuilder) probing(s *shard, items []item) error {
	clear(s.mem[:s.first()])
	s.mult = probingMult
	for k := range items {
		if err := b.probe(s, items, k); err != nil {
			return err
		}
	}
	return nil
}

func (b *shardBuilder) probe(s *shard, items []item, k int) error {
	key := keyOf(items[k].rec)
	i := bucketAt(items[k].hash, s.mult, s.buckets)
	for n := uint32(1); ; n++ {
		for lane := range uint32(bucketSlots) {
			slot := s.slot(i, 1+lane)
			old := binary.LittleEndian.Uint32(slot[:])
			if old == 0 {
				binary.LittleEndian.PutUint32(slot[:], b.slots[k])
				s.probes = max(s.probes, n)
				return nil
			}
			if at := s.recordAt(old, items[k].hash); at > 0 && string(keyOf(s.mem[at:])) == string(key) {
				return &KeyError{Key: string(key), Err: ErrDuplicateKey}
			}
		}
		if i++; i == uint64(s.buckets) {
			i = 0
		}
	}
}
