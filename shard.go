package ipallow

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// A shard holds a few hundred records: those of all keys whose hashes share
// their upper depth bits. It is built whole and never written after; a
// change makes a new one, so a shard that is rewritten again and again never
// holds more than its records.
//
// All that Check reads is one run of bytes without pointers:
//
//	mem:    bucket[buckets] | record | record | ... | recPad bytes
//	bucket: seed, 4 bytes | slot[7], 4 bytes each
//
// A record begins where it touches as few cache lines as its size allows;
// the gap before it is filled with zeros.
//
// A slot is 0, or has, from its lowest bit on, a quarter of the offset of a
// record in mem in 16 bits, the numbers of the record's IPv4 and IPv6 entries
// in 5 bits each, and 6 bits of the key's hash, of which the lowest is always
// 1. The hash bits spare the look at other keys' records, which would be a
// cache miss each; the full key is compared in any case. The numbers say where
// in the record the entries are, so that all its cache lines can be asked for
// at the same time: the header, which has them too, comes with the first. A
// seed has zeros in place of the hash bits, so that no key takes it for a
// slot.
//
// A shard of more than nearBlob bytes, which only hashes that are equal can
// make, has offsets in 24 bits of its slots, and no hash bits: Check finds
// nothing there, and goes the long way.
//
// The buckets are a perfect hash function of the shard's keys, found when
// the shard is built: mult is a multiplier under which no bucket has more
// than 7 keys, and each bucket's seed gives each of its keys a slot of its
// own. So Check looks at one slot, in half a cache line, and has no search to
// mispredict. Where no such numbers are found (for hashes that are equal),
// mult is probingMult, the seeds are 0, and a key stands in the first of
// probes buckets from its own on that had room.
type shard struct {
	mem     []byte
	buckets uint32
	mult    uint32
	probes  uint32 // or 0
	depth   uint8  // number of upper hash bits that all keys here share
	n       int    // number of records
	more    *moreShard
}

// A moreShard is what some shards have besides: labels and long lists. The
// nil one has none.
type moreShard struct {
	// cold is the labels of the records that have flagLabels: for each a
	// uvarint of the length of what follows and then, for each entry, a
	// uvarint of the label's length and the label.
	cold []byte
	// large is the tables of the records that have flagLarge.
	large []*largeList
}

const (
	bucketBits  = 5
	bucketSize  = 1 << bucketBits
	bucketSlots = 7

	slotCounts = 16 // where the numbers of entries begin, in the header's order
	slotN4     = slotCounts
	slotN6     = slotN4 + hdrN6 - hdrN4
	slotTag    = slotN6 + 5
	offsetMask = 1<<slotCounts - 1 // of a quarter of an offset
	countsMask = 1<<(slotTag-slotCounts) - 1
	seedMask   = 1<<24 - 1

	nearBlob = 4 << slotCounts
	maxBlob  = 1<<24 - 1
	maxCold  = 1 << 30 // its offsets have 32 bits

	// probingMult is even; the multipliers of perfect hash functions are odd.
	probingMult = 0x9e3779b0

	// pairFill is how many keys two buckets have on average. More would take
	// less memory, and longer to find a multiplier for.
	pairFill = 7
)

// The parts of a hash: the directory takes bits from the top, at most 24;
// bits 0 to 31 choose the bucket, 8 to 39 the place in it, and 26 to 31 are
// the tag. A part that is equal for all keys costs only time.

// tagOf is the part of the hash that stands in a slot. One bit of it is
// always set, so that no tag is that of an empty slot or a seed.
func tagOf(h uint64) uint32 { return uint32(h)>>slotTag<<slotTag | 1<<slotTag }

// slotOf is the slot of the record rec at offset at, whose key has the hash h.
func (s *shard) slotOf(h uint64, at int, rec []byte) uint32 {
	if s.far() {
		return uint32(at)
	}
	return tagOf(h) | headerOf(rec)>>hdrN4&countsMask<<slotCounts | uint32(at)/4
}

// recordAt is the offset of the record for a slot of s, or 0 if the record's
// key has another hash than h.
func (s *shard) recordAt(slot uint32, h uint64) int {
	switch {
	case s.far():
		return int(slot)
	case slot>>slotTag != tagOf(h)>>slotTag:
		return 0
	}
	return int(slot&offsetMask) * 4
}

// far reports whether a quarter of an offset has more bits than a slot has
// for it.
func (s *shard) far() bool { return len(s.mem) > nearBlob }

// bucketAt is the bucket for hash h.
func bucketAt(h uint64, mult, buckets uint32) uint64 {
	return uint64(uint32(h)*mult) * uint64(buckets) >> 32
}

// laneAt is the place in a bucket for hash h: from 1 to 7, or 0, where the
// seed is.
func laneAt(h uint64, seed uint32) uint32 { return uint32(h>>8) * seed >> 29 }

// bucketsFor is the number of buckets for n keys.
func bucketsFor(n int) int { return max(2*n/pairFill, 1) }

// An item is one record on its way into a shard.
type item struct {
	hash  uint64
	rec   []byte     // with key; the last 4 bytes of a flagged one are stale
	cold  []byte     // the labels, without their total length
	large *largeList // or nil
}

func headerOf(rec []byte) uint32 { return binary.LittleEndian.Uint32(rec) }

func keyOf(rec []byte) []byte {
	hdr := headerOf(rec)
	at := recHeader + 5*(hdr>>hdrN4&hdrCount) + 9*(hdr>>hdrN6&hdrCount)
	return rec[at : at+hdr&hdrKeyLen]
}

func bodyOf(rec []byte) []byte { return rec[recHeader:] }

// largeOf is the index of the list of a record that has flagLarge.
func largeOf(rec []byte) uint32 {
	return binary.LittleEndian.Uint32(rec[recHeader+headerOf(rec)&hdrKeyLen:])
}

// recEntries is the number of entries of a small record.
func recEntries(rec []byte) int {
	hdr := headerOf(rec)
	return layoutOf(hdr).n
}

// recSize is the size of the record that begins at b[0].
func recSize(b []byte) int {
	hdr := headerOf(b)
	if hdr&flagLarge != 0 {
		return recHeader + int(hdr&hdrKeyLen) + 4
	}
	size := recHeader + layoutOf(hdr).size
	if hdr&flagLabels != 0 {
		size += 4
	}
	return size
}

func (s *shard) slot(bucket uint64, lane uint32) *[4]byte {
	return (*[4]byte)(s.mem[bucket<<bucketBits+4*uint64(lane):])
}

// size is the number of its bytes, without long lists.
func (s *shard) size() int {
	n := len(s.mem)
	if s.more != nil {
		n += len(s.more.cold)
	}
	return n
}

// first is where the records begin.
func (s *shard) first() int { return int(s.buckets) << bucketBits }

// find returns the record of key, which has the hash h, or nil. It is the
// plain form of Snapshot.Check, for everything else.
func (s *shard) find(h uint64, key string) []byte {
	b, lane := bucketAt(h, s.mult, s.buckets), uint32(1)
	if s.probes == 0 {
		lane = laneAt(h, binary.LittleEndian.Uint32(s.slot(b, 0)[:]))
	}
	for left := max(s.probes, 1); left > 0; left-- {
		for {
			slot := binary.LittleEndian.Uint32(s.slot(b, lane)[:])
			if at := s.recordAt(slot, h); at > 0 {
				rec := s.mem[at:]
				if string(keyOf(rec)) == key {
					return rec[:recSize(rec)]
				}
			}
			if s.probes == 0 {
				return nil
			}
			if lane++; lane > bucketSlots {
				break
			}
		}
		lane = 1
		if b++; b == uint64(s.buckets) {
			b = 0
		}
	}
	return nil
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
		for end, at := len(s.mem)-recPad, s.first(); at < end; {
			if headerOf(s.mem[at:]) == 0 {
				at += 4 // a gap
				continue
			}
			n := recSize(s.mem[at:])
			if !yield(s.mem[at : at+n : at+n]) {
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
		it.large = s.more.large[binary.LittleEndian.Uint32(rec[len(rec)-4:])]
	case hdr&flagLabels != 0:
		cold := s.more.cold[binary.LittleEndian.Uint32(rec[len(rec)-4:]):]
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
	prefixes := prefixes(&buf, rec)
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
	if len(entries) > maxSmall {
		it.large = compileLarge(entries, cache)
		arena = binary.LittleEndian.AppendUint32(arena, flagLarge|uint32(len(key)))
		arena = append(arena, key...)
		arena = append(arena, 0, 0, 0, 0)
	} else {
		arena = appendRecord(arena, key, entries)
		if it.cold = appendLabels(nil, entries); it.cold != nil {
			binary.LittleEndian.PutUint32(arena[at:], headerOf(arena[at:])|flagLabels)
			arena = append(arena, 0, 0, 0, 0)
		}
	}
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
