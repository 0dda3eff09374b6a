package ipallow

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"net/netip"
)

// A shard holds a few hundred records: those of all keys whose hashes share
// their upper depth bits. It is built whole and never written after; a
// change makes a new one, so a shard that is rewritten again and again never
// holds more than its records.
//
// Check reads only table and blob, of which the directory has a copy.
//
//	table: slot[mask+1], 4 bytes each | shift[(mask+1)/4], 1 byte each
//	blob:  record | record | ... | recPad bytes
//
// A record begins where it touches as few cache lines as its size allows;
// the gap before it is filled with zeros.
//
// A slot is 0, or has 7 bits of the key's hash and a 1 above the 24 bits of
// the record's offset in blob. The hash bits spare the look at other
// keys' records, which would be a cache miss each; the full key is compared
// in any case.
//
// The table is a perfect hash function of the shard's keys, found when the
// shard is built ("hash and displace"): some bits of a key's hash choose a
// shift, and that moves the key's home to a slot that no other key has. So
// Check looks at one slot and has no search to mispredict. Where no shift is
// found (once in 500 shards, or for hashes that are equal), the key stands
// up to probes slots behind its home.
type shard struct {
	table  []byte
	blob   []byte
	mask   uint32 // number of slots less one
	probes uint32 // the farthest that a record's slot is from its home
	depth  uint8  // number of upper hash bits that all keys here share
	n      int    // number of records

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
	maxBlob     = 1<<offsetBits - 1
	maxCold     = 1 << 30 // its offsets have 32 bits
	hashTagBits = 8

	// A shift is for as many slots.
	slotsPerShift = 4
)

// The parts of a hash: the directory takes bits from the top, at most 24; of
// the rest, bits 0 to 15 are the home, 16 to 23 choose the shift, 25 to 31
// are the tag, and 32 to 39 are the step that the shift is a multiple of.
// Tables with more slots than that have homes and shifts that overlap, which
// costs only time.

// slotTag is the part of the hash that stands in a slot. One bit of it is
// always set, so that no tag is that of an empty slot.
func slotTag(h uint64) uint32 { return uint32(h)&^offsetMask | 1<<offsetBits }

// shiftAt is the index of the shift for hash h in a table with the given mask.
func shiftAt(h uint64, mask uint32) uint32 { return uint32(h>>16) & (mask / slotsPerShift) }

// home is the slot for hash h under a shift, before the mask.
func home(h uint64, shift byte) uint32 { return uint32(h) + uint32(shift)*(uint32(h>>32)|1) }

// slots is the number of slots for n keys: a power of two, filled to at most
// three quarters.
func slotsFor(n int) int {
	return 1 << bits.Len(uint(max(n*4/3, 3)))
}

// An item is one record on its way into a shard.
type item struct {
	hash  uint64
	rec   []byte     // with key; the last 4 bytes of a flagged one are stale
	cold  []byte     // the labels, without their total length
	large *largeList // or nil
}

func headerOf(rec []byte) uint32 { return binary.LittleEndian.Uint32(rec) }

func keyOf(rec []byte) []byte { return rec[recHeader : recHeader+headerOf(rec)&hdrKeyLen] }

func bodyOf(rec []byte) []byte { return rec[recHeader+headerOf(rec)&hdrKeyLen:] }

// recEntries is the number of entries of a small record.
func recEntries(rec []byte) int {
	hdr := headerOf(rec)
	return int(hdr>>hdrN4&hdrCount + hdr>>hdrN6&hdrCount)
}

// recSize is the size of the record that begins at b[0].
func recSize(b []byte) int {
	hdr := headerOf(b)
	size := recHeader + int(hdr&hdrKeyLen)
	if hdr&flagLarge != 0 {
		return size + 4
	}
	size += layoutOf(hdr).size
	if hdr&flagLabels != 0 {
		size += 4
	}
	return size
}

func (s *shard) slot(i uint32) *[slotSize]byte {
	return (*[slotSize]byte)(s.table[(i&s.mask)*slotSize:])
}

// find returns the record of key, which has the hash h, or nil. It is the
// plain form of Snapshot.Check, for everything else.
func (s *shard) find(h uint64, key string) []byte {
	i := home(h, s.table[(s.mask+1)*slotSize+shiftAt(h, s.mask)])
	for last := i + s.probes; ; i++ {
		slot := binary.LittleEndian.Uint32(s.slot(i)[:])
		if slot&^offsetMask == slotTag(h) {
			rec := s.blob[slot&offsetMask:]
			if string(keyOf(rec)) == key {
				return rec[:recSize(rec)]
			}
		}
		if i == last {
			return nil
		}
	}
}

// lineSize is the size of a cache line.
const lineSize = 64

// startOf is where a record of the given size begins if the one before it
// ends at at: at a multiple of 4, so that a gap is whole words of 0, which no
// header is.
func startOf(at, size int) int {
	at = (at + 3) &^ 3
	if at%lineSize+size > (size+lineSize-1)/lineSize*lineSize {
		at += lineSize - at%lineSize
	}
	return at
}

// records yields the records in the order in which they stand.
func (s *shard) records() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for end, at := len(s.blob)-recPad, 0; at < end; {
			if headerOf(s.blob[at:]) == 0 {
				at += 4 // a gap
				continue
			}
			n := recSize(s.blob[at:])
			if !yield(s.blob[at : at+n : at+n]) {
				return
			}
			at = (at + n + 3) &^ 3
		}
	}
}

// item is rec, a record of s, as an item.
func (s *shard) item(h uint64, rec []byte) item {
	it := item{hash: h, rec: rec}
	switch hdr := headerOf(rec); {
	case hdr&flagLarge != 0:
		it.large = s.large[binary.LittleEndian.Uint32(rec[len(rec)-4:])]
	case hdr&flagLabels != 0:
		cold := s.cold[binary.LittleEndian.Uint32(rec[len(rec)-4:]):]
		n, w := binary.Uvarint(cold)
		it.cold = cold[w : w+int(n)]
	}
	return it
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
	var buf [maxSmall]netip.Prefix
	prefixes := prefixes(&buf, headerOf(rec), bodyOf(rec))
	list := make([]Entry, len(prefixes))
	cold := it.cold
	for i, p := range prefixes {
		list[i].Prefix = p
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
	arena = append(arena, 0, 0, 0, 0)
	arena = append(arena, key...)
	var hdr uint32
	if len(entries) > maxSmall {
		it.large = compileLarge(entries, cache)
		hdr = flagLarge
		arena = append(arena, 0, 0, 0, 0)
	} else {
		hdr, arena = appendBody(arena, entries)
		if it.cold = appendLabels(nil, entries); it.cold != nil {
			hdr |= flagLabels
			arena = append(arena, 0, 0, 0, 0)
		}
	}
	binary.LittleEndian.PutUint32(arena[at:], hdr|uint32(len(key)))
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
