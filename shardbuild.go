package ipallow

import "encoding/binary"

// A shardBuilder builds shards one after another and keeps its scratch space
// between them.
type shardBuilder struct {
	first []int32 // by shift: 1 + the first item of its chain, or 0
	count []int32 // by shift: the items in its chain
	next  []int32 // by item: 1 + the next of its chain, or 0
	slots []uint32
	stuck []int // items for which no shift was found
}

// itemsSize is the size of the blob of a shard of the items.
func itemsSize(items []item) int {
	size := 0
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
	slots := slotsFor(len(items))
	size := itemsSize(items)
	if size > maxBlob || coldSize(items) > maxCold {
		return nil, ErrTooManyKeys
	}
	s := &shard{
		table: make([]byte, slots*slotSize+slots/slotsPerShift),
		blob:  make([]byte, 0, size),
		mask:  uint32(slots - 1),
		depth: depth,
		n:     len(items),
	}
	b.slots = b.slots[:0]
	for i := range items {
		at := s.add(&items[i])
		b.slots = append(b.slots, slotTag(items[i].hash)|uint32(at))
	}
	s.blob = s.blob[:size]
	b.chain(s, items)
	b.stuck = b.stuck[:0]
	most := int32(0)
	for _, n := range b.count {
		most = max(most, n)
	}
	// The longest chains first, while there is room.
	for n := most; n > 0; n-- {
		for c := range b.count {
			if b.count[c] == n {
				b.displace(s, items, c)
			}
		}
	}
	for _, k := range b.stuck {
		if err := b.probe(s, items, k); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// add appends the record of it to s and returns its offset.
func (s *shard) add(it *item) int {
	at := startOf(len(s.blob), len(it.rec))
	s.blob = s.blob[:at]
	s.blob = append(s.blob, it.rec...)
	rec := s.blob[at:]
	switch {
	case it.large != nil:
		binary.LittleEndian.PutUint32(rec[len(rec)-4:], uint32(len(s.large)))
		s.large = append(s.large, it.large)
	case it.cold != nil:
		binary.LittleEndian.PutUint32(rec[len(rec)-4:], uint32(len(s.cold)))
		s.cold = binary.AppendUvarint(s.cold, uint64(len(it.cold)))
		s.cold = append(s.cold, it.cold...)
	}
	return at
}

// chain sorts the items into chains, one for each shift of s.
func (b *shardBuilder) chain(s *shard, items []item) {
	shifts := (int(s.mask) + 1) / slotsPerShift
	b.first = append(b.first[:0], make([]int32, shifts)...)
	b.count = append(b.count[:0], make([]int32, shifts)...)
	b.next = append(b.next[:0], make([]int32, len(items))...)
	for k := range items {
		c := shiftAt(items[k].hash, s.mask)
		b.next[k] = b.first[c]
		b.first[c] = int32(k + 1)
		b.count[c]++
	}
}

// displace finds a shift for chain c that gives each of its items a slot of
// its own.
func (b *shardBuilder) displace(s *shard, items []item, c int) {
	for shift := range 256 {
		if b.place(s, items, c, byte(shift)) {
			s.table[(int(s.mask)+1)*slotSize+c] = byte(shift)
			return
		}
	}
	for k := b.first[c]; k != 0; k = b.next[k-1] {
		b.stuck = append(b.stuck, int(k-1))
	}
}

func (b *shardBuilder) place(s *shard, items []item, c int, shift byte) bool {
	for k := b.first[c]; k != 0; k = b.next[k-1] {
		slot := s.slot(home(items[k-1].hash, shift))
		if *slot != [slotSize]byte{} {
			for u := b.first[c]; u != k; u = b.next[u-1] {
				*s.slot(home(items[u-1].hash, shift)) = [slotSize]byte{}
			}
			return false
		}
		binary.LittleEndian.PutUint32(slot[:], b.slots[k-1])
	}
	return true
}

// probe puts item k into the first free slot behind its home.
func (b *shardBuilder) probe(s *shard, items []item, k int) error {
	key := keyOf(items[k].rec)
	from := home(items[k].hash, 0)
	for i := from; ; i++ {
		slot := s.slot(i)
		old := binary.LittleEndian.Uint32(slot[:])
		if old == 0 {
			binary.LittleEndian.PutUint32(slot[:], b.slots[k])
			s.probes = max(s.probes, i-from)
			return nil
		}
		if (old^b.slots[k])&^offsetMask == 0 && string(keyOf(s.blob[old&offsetMask:])) == string(key) {
			return &KeyError{Key: string(key), Err: ErrDuplicateKey}
		}
	}
}
