package index

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
)

// A shard holds a few hundred records: those of all keys whose hashes share
// their upper depth bits. It is built whole and never written after; a
// change makes a new one, so a shard that is rewritten again and again never
// holds more than its records.
//
// The records stand in mem, a run of bytes without pointers, which is so many
// cells of unit bytes and recPad bytes behind them. A record begins where a
// cell begins, and takes as many cells as it needs; the rest of its last cell
// and all free cells are zeros. Which cell that is says the perfect hash
// function in tables, which was found when the shard was built: a key's hash
// picks a pilot, one of shardPilots bytes, and hash and pilot together give
// the cell. All keys of one pilot were tried with one value after the other
// until each had free cells.
//
// So Check knows where a record is from a byte, of which there are some 0.3 to
// 0.5 for each key: for a million keys they stay in the second-level cache, and of
// the loads that wait for one another only that of the record itself comes from
// memory. The tag of the cell, in tags, is loaded at the same time. It says whether
// the key has a record here at all, which spares the look at other keys' records, and
// where in the record the entries are, so that the other lines of a long record
// are asked for before the first is there.
//
// Where no such pilots are found (for hashes that are equal), or where there
// are more keys than cells can be, unit, cells and the only tag are 0, the records stand
// one after the other, and find compares each.
type shard struct {
	mem  []byte // the records
	tags []byte // 2 bytes for each cell, and for one if there is none
	*header
	depth uint8 // number of upper hash bits that all keys here share
	n     int   // number of records
	more  *shardExtra

	// both is what mem and tags are parts of: bytes of the shard's own, or, if
	// it is packed, a block of the shards whose keys share their upper
	// blockDepth hash bits.
	buf        memory
	packed     bool
	blockDepth uint8
}

// tables is all of a shard that Check reads but the records and their tags. It
// is one cache line: see node.
type header struct {
	offset, tagsAt uint32 // where mem and tags begin in the base, see node
	cells, unit    uint16
	base           uint8
	_              [3]uint8
	pilots         [shardPilots]uint8
}

// A tag has, for the first cell of each record, from its lowest bit on, 6
// bits of the key's hash, of which the lowest is always 1, and the record's
// n4 and n6 in 5 bits each. It is 0 for other cells.

// tag returns the tag of a cell.
func (s *shard) tag(cell uint64) uint16 { return binary.LittleEndian.Uint16(s.tags[2*cell:]) }

func (s *shard) setTag(cell uint64, tag uint16) { binary.LittleEndian.PutUint16(s.tags[2*cell:], tag) }

// tagsSize is the size of the tags of so many cells.
func tagsSize(cells int) int { return 2 * max(cells, 1) }

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

// hold makes buf, which is large enough for n bytes of records and the tags of
// so many cells, or zeros if it is nil, the bytes of s.
func (s *shard) hold(buf []byte, n, cells int) {
	if buf == nil {
		buf = make([]byte, ahead+n+tagsSize(cells))
	}
	s.mem, s.tags = buf[ahead:][:n:n], buf[ahead+n:][:tagsSize(cells)]
	s.offset, s.tagsAt = ahead, ahead+uint32(n)
	s.buf, s.packed, s.blockDepth = newMemory(buf), false, 0
}

// A shardExtra is what some shards have besides: labels and long lists. The
// nil one has none.
type shardExtra struct {
	// labels is the labels of the records that have flagLabels: for each a
	// uvarint of the length of what follows and then, for each entry, a
	// uvarint of the label's length and the label.
	labels []byte
	// long is the tables of the long lists.
	long []labelledList
}

const (
	// More pilots for a shard take memory, which the second-level cache has
	// not much of; fewer are harder to find. BenchmarkSet and BenchmarkCheck
	// measure them.
	shardPilots = 48 // a multiple of 16, see pilotAt

	// shardCells is the largest number of cells: for splitKeys keys, and as
	// many free ones.
	shardCells = 384

	// minUnit is the smallest size of a cell, and unitStep what sizes are
	// multiples of.
	minUnit  = 32
	unitStep = 8

	tagBits = 6
	tagN4   = tagBits // where the numbers of entries begin, in the header's order
	tagN6   = tagN4 + hdrN6 - hdrN4
	tagMask = 1<<tagBits - 1

	// tagGrouped is not 0 in a tag if n4 or n6 is 8 or more, so that the record
	// has its shifts before its starts.
	tagGrouped = 0b11000<<tagN4 | 0b11000<<tagN6

	maxBlob   = 1<<30 - 1
	maxLabels = 1 << 30 // its offsets have 32 bits
)

// tagOf is the part of the hash that stands in a tag. One bit of it is always
// set, so that it is never that of a cell where no record begins.
func tagOf(h uint64) uint32 { return uint32(h)&tagMask | 1 }

// tagFor is the tag of the record rec, whose key has the hash h.
func tagFor(h uint64, rec []byte) uint16 {
	hdr := headerOf(rec)
	return uint16(tagOf(h) | uint32(count4(hdr))<<tagN4 | uint32(count6(hdr))<<tagN6)
}

// cellOf is the cell for hash h in s.
func (s *shard) cellOf(h uint64) uint64 { return cellAt(h, s.pilots[pilotAt(h)], s.cells) }

// cellsFor is how many cells a record of size bytes takes.
func (t *header) cellsFor(size int) int { return (size + int(t.unit) - 1) / int(t.unit) }

// fits reports whether the items have room in as many cells as t has, and do
// not leave too many of them free.
func (t *header) fits(items []item) bool {
	need, size := 0, 0
	for i := range items {
		size += len(items[i].rec)
		need += t.cellsFor(len(items[i].rec))
	}
	cells := int(t.cells)
	return need <= cells-cells/32 && cells*int(t.unit) <= size+size/2
}

// unpack gives s bytes and tables of its own.
func (s *shard) unpack() {
	t := *s.header
	s.header = &t
	s.hold(slices.Concat(zeros[:], s.mem, s.tags), len(s.mem), int(s.cells))
}

// linear reports whether the records of s have no cells.
func (s *shard) linear() bool { return s.unit == 0 }

// size is the number of its bytes, without long lists.
func (s *shard) size() int {
	n := len(s.mem) + len(s.tags)
	if s.more != nil {
		n += len(s.more.labels)
	}
	return n
}

// find returns the record of key, which has the hash h, or nil. It is the
// plain form of Index.Check, for everything else.
func (s *shard) find(h uint64, key string) []byte {
	if s.linear() {
		for rec := range s.records() {
			if string(keyOf(rec)) == key {
				return rec
			}
		}
		return nil
	}
	cell := s.cellOf(h)
	if (uint32(s.tag(cell))^tagOf(h))&tagMask != 0 {
		return nil
	}
	rec := s.mem[cell*uint64(s.unit):]
	if string(keyOf(rec)) != key {
		return nil
	}
	return rec[:recSize(rec)]
}

// check is the verdict of a record of s.
func (s *shard) check(rec []byte, addr netip.Addr) Verdict {
	if !isLong(headerOf(rec)) {
		return matchRecord(rec, addr)
	}
	if s.more.long[longOf(rec)].contains(newQuery(addr)) {
		return Allowed
	}
	return Denied
}

// records yields the records in the order in which they stand.
func (s *shard) records() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		step := max(int(s.unit), linearStep)
		for end, at := len(s.mem)-recPad, 0; at < end; {
			if headerOf(s.mem[at:]) == 0 {
				at += step // a free cell
				continue
			}
			n := recSize(s.mem[at:])
			if !yield(s.mem[at : at+n : at+n]) {
				return
			}
			at += (n + step - 1) / step * step
		}
	}
}

// linearStep is what the offsets of records without cells are multiples of.
const linearStep = 4

// item is rec, a record of s, as an item.
func (s *shard) item(h uint64, rec []byte) item {
	it := item{hash: h, rec: rec}
	switch hdr := headerOf(rec); {
	case isLong(hdr):
		it.long = &s.more.long[binary.LittleEndian.Uint32(rec[len(rec)-4:])]
	case hdr&flagLabels != 0:
		labels := s.more.labels[binary.LittleEndian.Uint32(rec[len(rec)-4:]):]
		n, w := binary.Uvarint(labels)
		it.labels = labels[w : w+int(n)]
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

// entries yields the list of a record of s.
func (s *shard) entries(rec []byte, yield func(Entry) bool) {
	it := s.item(0, rec)
	if it.long != nil {
		for i := range it.long.prefixes {
			if !yield(it.long.entry(i)) {
				return
			}
		}
		return
	}
	var buf [MaxShort]netip.Prefix
	labels := it.labels
	for _, p := range prefixes(&buf, rec) {
		e := Entry{Prefix: p}
		if it.labels != nil {
			n, w := binary.Uvarint(labels)
			e.Label = string(labels[w : w+int(n)])
			labels = labels[w+int(n):]
		}
		if !yield(e) {
			return
		}
	}
}

// label returns the label of entry i of a record of s. It is a part of the shard's
// memory: Explain is asked for each request that is logged, and copies nothing.
func (s *shard) label(rec []byte, i int) string {
	it := s.item(0, rec)
	switch {
	case it.long != nil:
		return it.long.entry(i).Label
	case it.labels == nil:
		return ""
	}
	labels := it.labels
	for ; ; i-- {
		n, w := binary.Uvarint(labels)
		if i == 0 {
			return textOf(labels[w : w+int(n)])
		}
		labels = labels[w+int(n):]
	}
}

// put writes the record of it at offset at.
func (s *shard) put(at int, it *item) {
	rec := s.mem[at:][:len(it.rec)]
	copy(rec, it.rec)
	if it.long == nil && it.labels == nil {
		return
	}
	if s.more == nil {
		s.more = new(shardExtra)
	}
	m := s.more
	if it.long != nil {
		binary.LittleEndian.PutUint32(rec[len(rec)-4:], uint32(len(m.long)))
		m.long = append(m.long, *it.long)
	} else {
		binary.LittleEndian.PutUint32(rec[len(rec)-4:], uint32(len(m.labels)))
		m.labels = binary.AppendUvarint(m.labels, uint64(len(it.labels)))
		m.labels = append(m.labels, it.labels...)
	}
}
