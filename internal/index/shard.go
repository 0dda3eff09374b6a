package index

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
)

// A shard holds the records of all keys whose hashes share their upper depth bits, some 100 to 200.
// It is built whole and never written after; a change builds another, so there is nothing to
// compact.
//
// Its records are in mem, cells of unit bytes each and recPad bytes after them. A record begins
// where a cell begins and takes as many cells as it needs; all other bytes are zero. The pilots in
// the header say in which cell a key's record begins (pilots.go). They take 0.3 to 0.5 bytes a key,
// so that those of a million keys stay in the second-level cache, and of the loads that wait for
// each other only that of the record comes from memory.
//
// The tag of the cell is loaded together with the record. It tells most keys without a list from
// the key whose record is there, and says how many entries the record has, so that all cache lines
// of a long record are requested at once.
//
// A shard is linear if no pilots were found, because hashes are equal, or if it has more keys than
// shardCells: unit, cells and the only tag are 0, the records follow one another, and find
// compares all of them.
type shard struct {
	mem  []byte // the records
	tags []byte // 2 bytes for each cell, and for one if there is none
	*header
	depth uint8 // number of upper hash bits that all keys here share
	n     int   // number of records
	more  *shardExtra

	// buf has mem and tags in it: a buffer of the shard's own or, if it is packed, the block of the
	// shards whose keys share their upper blockDepth hash bits.
	buf        memory
	packed     bool
	blockDepth uint8
}

// A header is what Check reads of a shard besides the record and its tag. It is one cache line: see
// node.
type header struct {
	offset, tagsAt uint32 // where mem and tags begin in the base, see node
	cells, unit    uint16
	base           uint8
	_              [3]uint8
	pilots         [shardPilots]uint8
}

// A tag has, from its lowest bit on, 6 bits of the key's hash, of which the lowest is always 1, and
// the record's n4 and n6, 5 bits each. It belongs to the first cell of a record; the tags of all
// other cells are 0.

// tag returns the tag of a cell.
func (s *shard) tag(cell uint64) uint16 { return binary.LittleEndian.Uint16(s.tags[2*cell:]) }

func (s *shard) setTag(cell uint64, tag uint16) { binary.LittleEndian.PutUint16(s.tags[2*cell:], tag) }

// tagsSize returns the size of the tags of so many cells, in bytes.
func tagsSize(cells int) int { return 2 * max(cells, 1) }

// wholeLines returns n rounded up to whole cache lines. The records of each shard begin with a
// line.
func wholeLines(n int) int { return (n + lineSize - 1) &^ (lineSize - 1) }

const (
	lineSize = 64

	// ahead bytes precede the first record, so that its key length, the first that Check reads of
	// it, begins a cache line. (Allocations of this size begin with a line.)
	ahead = lineSize - hdrKeyLen/8
)

// zeros are the bytes ahead of a shard's records.
var zeros [ahead]byte

// hold makes buf the buffer of s, for n bytes of records and the tags of so many cells. If buf is
// nil it allocates one.
func (s *shard) hold(buf []byte, n, cells int) {
	if buf == nil {
		buf = make([]byte, ahead+n+tagsSize(cells))
	}
	s.mem, s.tags = buf[ahead:][:n:n], buf[ahead+n:][:tagsSize(cells)]
	s.offset, s.tagsAt = ahead, ahead+uint32(n)
	s.buf, s.packed, s.blockDepth = newMemory(buf), false, 0
}

// A shardExtra has the labels and the long lists of a shard. A shard without any has none.
type shardExtra struct {
	// labels has, for each record with flagLabels, a uvarint of the length of what follows and
	// then, for each entry, a uvarint of the label's length and the label.
	labels []byte
	long   []labelledList
}

const (
	// More pilots take room in the second-level cache; fewer are harder to find. BenchmarkSet and
	// BenchmarkCheck measure them.
	shardPilots = 48 // a multiple of 16, see pilotAt

	// shardCells is the largest number of cells: those of splitKeys keys, and as many free ones.
	shardCells = 384

	// minUnit is the smallest size of a cell; all sizes are multiples of unitStep.
	minUnit  = 32
	unitStep = 8

	tagBits = 6
	tagN4   = tagBits // bit numbers of n4 and n6
	tagN6   = tagN4 + hdrN6 - hdrN4
	tagMask = 1<<tagBits - 1

	// tagGrouped is not 0 in a tag if n4 or n6 is 8 or more, so that the record
	// has its shifts before its starts.
	tagGrouped = 0b11000<<tagN4 | 0b11000<<tagN6

	maxBlob   = 1<<30 - 1
	maxLabels = 1 << 30 // its offsets have 32 bits
)

// tagOf returns the bits of the hash that a tag has. The lowest is always 1, so that it differs
// from the tags of cells in which no record begins.
func tagOf(h uint64) uint32 { return uint32(h)&tagMask | 1 }

// tagFor returns the tag of the record rec of a key with hash h.
func tagFor(h uint64, rec []byte) uint16 {
	hdr := headerOf(rec)
	return uint16(tagOf(h) | uint32(count4(hdr))<<tagN4 | uint32(count6(hdr))<<tagN6)
}

// cellOf returns the cell for hash h.
func (s *shard) cellOf(h uint64) uint64 { return cellAt(h, s.pilots[pilotAt(h)], s.cells) }

// cellsFor returns how many cells a record of size bytes takes.
func (t *header) cellsFor(size int) int { return (size + int(t.unit) - 1) / int(t.unit) }

// fits reports whether the items fit into cells as t has them, with a few cells to spare, and do
// not waste more than a third of the memory.
func (t *header) fits(items []item) bool {
	need, size := 0, 0
	for i := range items {
		size += len(items[i].rec)
		need += t.cellsFor(len(items[i].rec))
	}
	cells := int(t.cells)
	return need <= cells-cells/32 && cells*int(t.unit) <= size+size/2
}

// unpack gives s a buffer and a header of its own.
func (s *shard) unpack() {
	t := *s.header
	s.header = &t
	s.hold(slices.Concat(zeros[:], s.mem, s.tags), len(s.mem), int(s.cells))
}

// linear reports whether the shard has no cells.
func (s *shard) linear() bool { return s.unit == 0 }

// size returns the bytes of records, tags and labels.
func (s *shard) size() int {
	n := len(s.mem) + len(s.tags)
	if s.more != nil {
		n += len(s.more.labels)
	}
	return n
}

// find returns the record of key, which has the hash h, or nil. Check does the same for what is on
// its fast path.
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

// check returns the verdict of a record of s.
func (s *shard) check(rec []byte, addr netip.Addr) Verdict {
	if !isLong(headerOf(rec)) {
		return matchRecord(rec, addr)
	}
	if s.more.long[longOf(rec)].contains(newQuery(addr)) {
		return Allowed
	}
	return Denied
}

// records yields the records from first to last.
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

// linearStep divides the offsets of records in a linear shard.
const linearStep = 4

// item returns rec, a record of s, as an item. The bytes are shared.
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

// items appends all records of s to dst.
func (s *shard) items(dst []item, hash func([]byte) uint64) []item {
	for rec := range s.records() {
		dst = append(dst, s.item(hash(keyOf(rec)), rec))
	}
	return dst
}

// entries yields the list of a record of s in the order in which it was set.
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

// put copies the record of it to offset at, and its labels or long list to s.more.
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
