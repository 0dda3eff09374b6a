package ipallow

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
)

// A shard holds a few hundred records: those of all keys whose hashes share
// their upper depth bits. It is built whole and never written after; a
// change makes a new one, so a shard that is rewritten again and again never
// holds more than its records.
//
// Check reads only blob and mask, of which the directory has a copy.
//
//	blob: slot | slot | ... | record | record | ...
//
// A slot is 0 or has 8 bits of the key's hash above the 24 bits of the
// record's offset in blob. A key's search begins at the slot that the lower
// bits of its hash name, and ends at the first slot that is 0. The hash bits
// in the slot spare the look at other keys' records, which would be a cache
// miss each; the full key is compared in any case.
type shard struct {
	blob  []byte
	mask  uint32 // number of slots less one
	depth uint8  // number of upper hash bits that all keys here share
	n     int    // number of records

	// cold is the labels of the records that have flagLabels: for each a
	// uvarint of the length of what follows and then, for each entry, a
	// uvarint of the label's length and the label.
	cold []byte
	// large is the tables of the records that have flagLarge.
	large []*largeList
}

const (
	slotSize    = 4
	offsetBits  = 24
	offsetMask  = 1<<offsetBits - 1
	maxBlob     = 1 << offsetBits // a record must begin below
	hashTagBits = 8
)

// slotTag is the part of the hash that stands in a slot: bits that choose
// neither the shard (from the top) nor the first slot (from the bottom).
func slotTag(h uint64) uint32 {
	return uint32(h>>24) & (1<<hashTagBits - 1) << offsetBits
}

// An item is one record on its way into a shard.
type item struct {
	hash  uint64
	rec   []byte     // with key; the last 4 bytes of a flagged one are stale
	cold  []byte     // the labels, without their total length
	large *largeList // or nil
}

func keyOf(rec []byte) []byte {
	n := int(binary.LittleEndian.Uint16(rec[recKeyLen:]))
	return rec[recHeader : recHeader+n]
}

// recSize is the size of the record that begins at b[0].
func recSize(b []byte) int {
	size := recHeader + int(binary.LittleEndian.Uint16(b[recKeyLen:]))
	if b[recFlags]&flagLarge != 0 {
		return size + 4
	}
	var l layout
	l.set(b)
	size += l.size
	if b[recFlags]&flagLabels != 0 {
		size += 4
	}
	return size
}

// find returns the record of key, which has the hash h, or nil. It is the
// plain form of Snapshot.check, for everything but Check.
func (s *shard) find(h uint64, key string) []byte {
	tag := slotTag(h)
	for i := uint32(h) & s.mask; ; i = (i + 1) & s.mask {
		slot := binary.LittleEndian.Uint32(s.blob[i*slotSize:])
		if slot == 0 {
			return nil
		}
		if slot&^offsetMask != tag {
			continue
		}
		rec := s.blob[slot&offsetMask:]
		if string(keyOf(rec)) == key {
			return rec[:recSize(rec)]
		}
	}
}

// records yields the records in the order in which they stand.
func (s *shard) records() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for b := s.blob[(int(s.mask)+1)*slotSize:]; len(b) > 0; {
			n := recSize(b)
			if !yield(b[:n:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// item is rec, a record of s, as an item.
func (s *shard) item(h uint64, rec []byte) item {
	it := item{hash: h, rec: rec}
	switch flags := rec[recFlags]; {
	case flags&flagLarge != 0:
		it.large = s.large[binary.LittleEndian.Uint32(rec[len(rec)-4:])]
	case flags&flagLabels != 0:
		cold := s.cold[binary.LittleEndian.Uint32(rec[len(rec)-4:]):]
		n, w := binary.Uvarint(cold)
		it.cold = cold[w : w+int(n)]
	}
	return it
}

// itemsSize is the size of the blob of a shard of the items.
func itemsSize(items []item) int {
	size := tableSize(len(items)) * slotSize
	for i := range items {
		size += len(items[i].rec)
	}
	return size
}

// newShard builds a shard. It reports false if two items have the same key,
// or if they are more than a shard can hold.
func newShard(depth uint8, items []item) (*shard, error) {
	slots := tableSize(len(items))
	size := itemsSize(items)
	if size > maxBlob {
		return nil, ErrTooManyKeys
	}
	s := &shard{blob: make([]byte, size), mask: uint32(slots - 1), depth: depth, n: len(items)}
	at := slots * slotSize
	for k := range items {
		it := &items[k]
		slot := slotTag(it.hash) | uint32(at)
		i := uint32(it.hash) & s.mask
		for {
			old := binary.LittleEndian.Uint32(s.blob[i*slotSize:])
			if old == 0 {
				break
			}
			if (old^slot)&^offsetMask == 0 && string(keyOf(s.blob[old&offsetMask:])) == string(keyOf(it.rec)) {
				return nil, &KeyError{Key: string(keyOf(it.rec)), Err: ErrDuplicateKey}
			}
			i = (i + 1) & s.mask
		}
		binary.LittleEndian.PutUint32(s.blob[i*slotSize:], slot)
		rec := s.blob[at : at+copy(s.blob[at:], it.rec)]
		switch {
		case it.large != nil:
			binary.LittleEndian.PutUint32(rec[len(rec)-4:], uint32(len(s.large)))
			s.large = append(s.large, it.large)
		case it.cold != nil:
			binary.LittleEndian.PutUint32(rec[len(rec)-4:], uint32(len(s.cold)))
			s.cold = binary.AppendUvarint(s.cold, uint64(len(it.cold)))
			s.cold = append(s.cold, it.cold...)
		}
		at += len(it.rec)
	}
	return s, nil
}

// items appends the records of s to dst.
func (s *shard) items(dst []item, hash func([]byte) uint64) []item {
	for rec := range s.records() {
		dst = append(dst, s.item(hash(keyOf(rec)), rec))
	}
	return dst
}

// entries decodes the list of a record of s, with room for no more.
func (s *shard) entries(rec []byte) []Entry {
	it := s.item(0, rec)
	if it.large != nil {
		list := make([]Entry, len(it.large.prefixes))
		for i := range list {
			list[i] = it.large.entry(i)
		}
		return list
	}
	var l layout
	l.set(rec)
	body := rec[recHeader+len(keyOf(rec)):]
	list := make([]Entry, l.n)
	var seen [3]int
	cold := it.cold
	for i := range list {
		list[i].Prefix = l.entryAt(body, i, &seen)
		if it.cold != nil {
			n, w := binary.Uvarint(cold)
			list[i].Label = string(cold[w : w+int(n)])
			cold = cold[w+int(n):]
		}
	}
	return list
}

// label returns the label of entry i of a record of s.
func (s *shard) label(rec []byte, i int) string {
	it := s.item(0, rec)
	switch {
	case it.large != nil:
		return it.large.entry(i).Label
	case it.cold == nil:
		return ""
	}
	cold := it.cold
	for ; ; i-- {
		n, w := binary.Uvarint(cold)
		if i == 0 {
			return string(cold[w : w+int(n)])
		}
		cold = cold[w+int(n):]
	}
}

// appendItem compiles canonical entries, at least one, into an item; its
// record is appended to arena.
func appendItem(arena []byte, key string, h uint64, entries []Entry, cache *compileCache) (item, []byte) {
	it := item{hash: h}
	at := len(arena)
	var hdr [recHeader]byte
	arena = append(arena, hdr[:]...)
	arena = append(arena, key...)
	if len(entries) > maxSmall {
		it.large = compileLarge(entries, cache)
		hdr[recFlags] = flagLarge
		arena = append(arena, 0, 0, 0, 0)
	} else {
		hdr, arena = appendBody(arena, entries)
		if it.cold = appendLabels(nil, entries); it.cold != nil {
			hdr[recFlags] = flagLabels
			arena = append(arena, 0, 0, 0, 0)
		}
	}
	binary.LittleEndian.PutUint16(hdr[recKeyLen:], uint16(len(key)))
	copy(arena[at:], hdr[:])
	it.rec = arena[at:len(arena):len(arena)]
	return it, arena
}

// appendLabels appends the labels of entries to dst, or nothing if all are
// empty.
func appendLabels(dst []byte, entries []Entry) []byte {
	labelled := false
	for i := range entries {
		labelled = labelled || entries[i].Label != ""
	}
	if !labelled {
		return dst
	}
	for i := range entries {
		dst = binary.AppendUvarint(dst, uint64(len(entries[i].Label)))
		dst = append(dst, entries[i].Label...)
	}
	return dst
}

// A hasher gives keys their hashes. mask is all ones but in tests, which
// clear bits of it to make hashes collide.
type hasher struct {
	seed maphash.Seed
	mask uint64
}

func (h *hasher) string(key string) uint64 { return maphash.String(h.seed, key) & h.mask }
func (h *hasher) bytes(key []byte) uint64  { return maphash.Bytes(h.seed, key) & h.mask }
