package logstore

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/binrec"
	"github.com/ipallow/ipallow/usagelog"
)

// Blocks that are not merged any more have columns, each a row of the table
// columns, so that a filter or a chart reads what it asks for of all records and
// not the records. Each begins with its CRC-32C. One that is missing or damaged
// is known by the records.
//
//	dictionary: | crc 4 | values | bytes of the values | values, each after its length | codes |
//	kinds:      a dictionary of status 2, verdict and key 1, method; then | place | more | for each
//	            record that stands for more than one request
//	keys:       a dictionary of the terms of keys, or nothing
//	addresses:  a dictionary of 4 or 16 bytes, or nothing
//	paths:      a dictionary in order, each value as | bytes like the one before | length of the rest | rest |
//	requests:   | crc 4 | Bloom filter of the request IDs |
//	times:      | crc 4 | for each record, how much older it is than the one before it |
//
// Numbers are varints but where a length stands behind them. A code is the
// place of a record's value among the values: a byte where there are up to 256
// of them, two bytes otherwise, and nothing where there is one.
const (
	tallyColumn = iota
	kindColumn
	keyColumn
	addrColumn
	pathColumn
	requestColumn
	timeColumn

	// columnsPerBlock is the distance between the first columns of two blocks.
	columnsPerBlock = 8

	// maxKinds is how many kinds a row of blocks has at most. A client chooses its
	// method, and the row is read for each chart.
	maxKinds = 256
)

// columnID returns the ID of the row of a column.
func columnID(block int64, column int) int64 { return columnsPerBlock*block + int64(column) }

// sealed returns b with the checksum of what follows its first four bytes.
func sealed(b []byte) []byte {
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// unsealed returns b without its checksum. ok is false when it is damaged.
func unsealed(b []byte) (_ []byte, ok bool) {
	if len(b) < 4 || crc32.Checksum(b[4:], castagnoli) != binary.LittleEndian.Uint32(b) {
		return nil, false
	}
	return b[4:], true
}

// A dictionary collects the values of a column. It is used again and again.
type dictionary struct {
	values []byte   // each after its length
	ends   []uint32 // where each ends in values
	hashes []uint64
	table  []int32 // open addressing: code, and 1; 0 is free
	codes  []uint16

	order, rank []uint16 // of sort
	sorted      []byte   // likewise
}

func (d *dictionary) reset(records int) {
	size := 64
	for size < 2*records {
		size *= 2
	}
	if cap(d.table) < size {
		d.table = make([]int32, size)
	}
	d.table = d.table[:size]
	clear(d.table)
	d.values, d.ends, d.hashes, d.codes = d.values[:0], d.ends[:0], d.hashes[:0], d.codes[:0]
}

// add adds the value of the next record.
func (d *dictionary) add(v []byte) {
	h := xxhash.Sum64(v)
	mask := uint64(len(d.table) - 1)
	at := h & mask
	for ; d.table[at] != 0; at = (at + 1) & mask {
		if code := d.table[at] - 1; d.hashes[code] == h && string(d.value(int(code))) == string(v) {
			d.codes = append(d.codes, uint16(code))
			return
		}
	}
	d.codes = append(d.codes, uint16(len(d.ends)))
	d.values = append(binary.AppendUvarint(d.values, uint64(len(v))), v...)
	d.ends = append(d.ends, uint32(len(d.values)))
	d.hashes = append(d.hashes, h)
	d.table[at] = int32(len(d.ends))
}

// value returns a value by its code. All but paths are shorter than 128 bytes.
func (d *dictionary) value(code int) []byte {
	begin := uint32(0)
	if code > 0 {
		begin = d.ends[code-1]
	}
	b := d.values[begin:d.ends[code]]
	_, n := binary.Uvarint(b)
	return b[n:]
}

// sort brings the values in order, in the form of the column of paths.
func (d *dictionary) sort() {
	order := d.order[:0]
	for code := range d.ends {
		order = append(order, uint16(code))
	}
	slices.SortFunc(order, func(a, b uint16) int { return bytes.Compare(d.value(int(a)), d.value(int(b))) })
	rank := append(d.rank[:0], order...)
	last, out := []byte(nil), d.sorted[:0]
	for i, code := range order {
		rank[code] = uint16(i)
		v := d.value(int(code))
		same := 0
		for same < min(len(v), len(last)) && v[same] == last[same] {
			same++
		}
		out = binary.AppendUvarint(out, uint64(same))
		out = binary.AppendUvarint(out, uint64(len(v)-same))
		out = append(out, v[same:]...)
		last = v
	}
	for i, code := range d.codes {
		d.codes[i] = rank[code]
	}
	d.order, d.rank = order, rank
	d.values, d.sorted = out, d.values
}

// appendTo appends the column. Tail follows the codes.
func (d *dictionary) appendTo(b, tail []byte) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.AppendUvarint(b, uint64(len(d.ends)))
	b = binary.AppendUvarint(b, uint64(len(d.values)))
	b = append(b, d.values...)
	switch {
	case len(d.ends) == 1:
	case len(d.ends) <= 256:
		for _, c := range d.codes {
			b = append(b, byte(c))
		}
	default:
		for _, c := range d.codes {
			b = binary.LittleEndian.AppendUint16(b, c)
		}
	}
	return sealed(append(b, tail...))
}

// A coded is a dictionary's column as it is read.
type coded struct {
	values []byte // as they are stored
	n      int    // of the values
	codes  []byte // none where there is one value
	wide   bool   // codes are of two bytes
	tail   []byte
}

// read reads the column of a block. ok is false when it is not there, or damaged.
func (c *coded) read(b []byte, records int) (ok bool) {
	if b, ok = unsealed(b); !ok {
		return false
	}
	// What the checksum has found sound is as it was written.
	n, w := binary.Uvarint(b)
	b = b[w:]
	size, w := binary.Uvarint(b)
	c.n, c.values = int(n), b[w:w+int(size)]
	b = b[w+int(size):]
	length := 0
	switch c.wide = n > 256; {
	case c.wide:
		length = 2 * records
	case n > 1:
		length = records
	}
	if len(b) < length {
		return false
	}
	c.codes, c.tail = b[:length], b[length:]
	return true
}

// each calls f with each value in the order of codes.
func (c *coded) each(f func(v []byte)) {
	for b := c.values; len(b) > 0; {
		size, w := int(b[0]), 1
		if size >= 0x80 {
			size, w = uvarint(b)
		}
		f(b[w : w+size])
		b = b[w+size:]
	}
}

func uvarint(b []byte) (v, n int) {
	if b[0] < 0x80 {
		return int(b[0]), 1
	}
	long, n := binary.Uvarint(b)
	return int(long), n
}

// prefixed returns the codes from lo up to hi, which are the paths that begin with the
// prefix: the column of paths is in order.
func (c *coded) prefixed(prefix []byte) (lo, hi int) {
	found, i := false, 0
	like := 0 // bytes that the value before has of the prefix
	for b := c.values; len(b) > 0; i++ {
		same, size := int(b[0]), int(b[1])
		if same|size < 0x80 {
			b = b[2:]
		} else {
			w, w2 := 0, 0
			same, w = uvarint(b)
			size, w2 = uvarint(b[w:])
			b = b[w+w2:]
		}
		rest := b[:size]
		b = b[size:]
		if same > like {
			continue // it differs, or has the whole prefix, where the one before does
		}
		like = same
		for like < len(prefix) && like-same < len(rest) && rest[like-same] == prefix[like] {
			like++
		}
		switch {
		case like == len(prefix):
			if !found {
				found, lo = true, i
			}
		case found:
			return lo, i
		case like-same < len(rest) && rest[like-same] > prefix[like]:
			return 0, 0
		}
	}
	if !found {
		return 0, 0
	}
	return lo, i
}

// of returns the code of a value, and the next; the two are equal if there is none.
func (c *coded) of(value []byte) (lo, hi int) {
	i := 0
	for b := c.values; len(b) > 0; i++ {
		size := int(b[0]) // no value that is asked for is longer than 127 bytes
		if size == len(value) && string(b[1:1+size]) == string(value) {
			return i, i + 1
		}
		b = b[1+size:]
	}
	return 0, 0
}

// within notes for each address whether it is in the network, as 1 or 0, in match,
// whose room it uses, and returns how many are.
func (c *coded) within(match []byte, network netip.Prefix) (_ []byte, n int) {
	match = slices.Grow(match[:0], c.n)[:c.n]
	b := c.values
	if first := network.Addr(); first.Is4() {
		a := first.As4()
		shift := 32 - network.Bits()
		want := uint64(binary.BigEndian.Uint32(a[:])) >> shift
		for i := range match {
			size := int(b[0])
			m := byte(0)
			if size == 4 && uint64(binary.BigEndian.Uint32(b[1:5]))>>shift == want {
				m = 1
				n++
			}
			match[i] = m
			b = b[1+size:]
		}
		return match, n
	}
	a := network.Addr().As16()
	whole, rest := network.Bits()/8, 8-network.Bits()%8
	for i := range match {
		size := int(b[0])
		m := byte(0)
		if size == 16 && string(b[1:1+whole]) == string(a[:whole]) && (rest == 8 || b[1+whole]>>rest == a[whole]>>rest) {
			m = 1
			n++
		}
		match[i] = m
		b = b[1+size:]
	}
	return match, n
}

// code returns the code of a record's value.
func (c *coded) code(record int) int {
	switch {
	case len(c.codes) == 0:
		return 0
	case c.wide:
		return int(binary.LittleEndian.Uint16(c.codes[2*record:]))
	}
	return int(c.codes[record])
}

// more calls f with the place of each record that stands for more than one
// request, and for how many more.
func (c *coded) more(f func(record int, more int64)) {
	at := 0
	for b := c.tail; len(b) > 0; {
		step, w := binary.Uvarint(b)
		more, w2 := binary.Uvarint(b[w:])
		b = b[w+w2:]
		at += int(step)
		f(at, int64(more))
	}
}

// A kind is what records have in common that a chart and most filters do not tell
// apart: the method, the status, the verdict, and whether there was a key.
type kind struct {
	place  int8 // which of a Bucket's counts it is
	chosen bool // by the filter, as far as it is of kinds
}

// appendKind appends the kind of a record as a value of a dictionary.
func appendKind(b []byte, rec binrec.Record) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(rec.Status()))
	v := byte(rec.Verdict())
	if len(rec.KeyID()) > 0 {
		v |= 0x80
	}
	return append(append(b, v), rec.Method()...)
}

func readKind(v []byte, f *usagelog.Filter) kind {
	r := usagelog.Record{
		Status: int(binary.LittleEndian.Uint16(v)), Verdict: ipallow.Verdict(v[2] & 0x7f), Method: string(v[3:]),
	}
	if v[2]&0x80 != 0 {
		r.KeyID = "k"
	}
	return kind{placeOf(r.Status, r.Verdict), usagelog.Filter{
		Status: f.Status, StatusClass: f.StatusClass, Verdict: f.Verdict, Outcome: f.Outcome, Method: f.Method,
	}.Match(&r)}
}

// A columnSet makes the columns of a block. It is used again and again.
type columnSet struct {
	kinds, keys, addrs, paths dictionary

	records  []int64 // by kind
	requests []int64 // by kind
	more     []byte  // the tail of the column of kinds
	terms    []term
	times    []byte
	value    []byte
	column   []byte
	row      []byte
}

// kindsOf counts the entries by kind for the row of a block, or returns nil if
// there are too many kinds.
func (s *columnSet) kindsOf(entries []entry) []byte {
	s.kinds.reset(len(entries))
	s.records, s.requests, s.more = s.records[:0], s.requests[:0], s.more[:0]
	last := 0
	for i := range entries {
		rec := entries[i].rec
		s.value = appendKind(s.value[:0], rec)
		s.kinds.add(s.value)
		code := int(s.kinds.codes[i])
		if code == len(s.records) {
			s.records, s.requests = append(s.records, 0), append(s.requests, 0)
		}
		n := rec.Requests()
		s.records[code]++
		s.requests[code] += n
		if n > 1 {
			s.more = binary.AppendUvarint(s.more, uint64(i-last))
			s.more = binary.AppendUvarint(s.more, uint64(n-1))
			last = i
		}
	}
	if len(s.records) > maxKinds {
		return nil
	}
	s.row = append(s.row[:0], 0, 0, 0, 0)
	for code := range s.records {
		v := s.kinds.value(code)
		s.row = append(binary.AppendUvarint(s.row, uint64(len(v))), v...)
		s.row = binary.AppendUvarint(s.row, uint64(s.requests[code]))
	}
	return sealed(s.row)
}

// eachKind calls f with what kindsOf returned. ok is false, and f was not called,
// when that is not known.
func eachKind(b []byte, f func(kind []byte, requests int64)) (ok bool) {
	b, ok = unsealed(b)
	for len(b) > 0 {
		size, w := binary.Uvarint(b)
		v := b[w : w+int(size)]
		b = b[w+int(size):]
		n, w := binary.Uvarint(b)
		b = b[w:]
		f(v, int64(n))
	}
	return ok
}

// each makes the columns of the entries of which kindsOf was called last, and
// calls f with them. The bytes are good until f returns.
func (s *columnSet) each(entries []entry, seed int64, f func(column int, b []byte) error) error {
	s.keys.reset(len(entries))
	s.addrs.reset(len(entries))
	s.paths.reset(len(entries))
	s.terms = s.terms[:0]
	s.times = append(s.times[:0], 0, 0, 0, 0)
	last := seed
	for i := range entries {
		rec := entries[i].rec
		s.value = s.value[:0]
		if id := rec.KeyID(); len(id) > 0 {
			s.value = binary.LittleEndian.AppendUint64(s.value, uint64(keyTerm(id)))
		}
		s.keys.add(s.value)
		s.value = appendAddr(s.value[:0], rec.ClientAddr())
		s.addrs.add(s.value)
		s.paths.add(rec.Path())
		if id := rec.RequestID(); len(id) > 0 {
			s.terms = append(s.terms, requestTerm(id))
		}
		s.times = binary.AppendUvarint(s.times, uint64(last-entries[i].ns))
		last = entries[i].ns
	}
	s.paths.sort()
	for _, d := range []struct {
		column int
		dict   *dictionary
		tail   []byte
	}{
		{kindColumn, &s.kinds, s.more}, {keyColumn, &s.keys, nil}, {addrColumn, &s.addrs, nil}, {pathColumn, &s.paths, nil},
	} {
		s.column = d.dict.appendTo(s.column[:0], d.tail)
		if err := f(d.column, s.column); err != nil {
			return err
		}
	}
	s.column = sealed(appendBloom(append(s.column[:0], 0, 0, 0, 0), s.terms, seed))
	if err := f(requestColumn, s.column); err != nil {
		return err
	}
	return f(timeColumn, sealed(s.times))
}

func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		v := a.As4()
		return append(b, v[:]...)
	case a.Is6():
		v := a.As16()
		return append(b, v[:]...)
	}
	return b
}

// readTimes appends the times of the records of a block to ns.
func readTimes(ns []int64, b []byte, newest int64, records int) (_ []int64, ok bool) {
	b, ok = unsealed(b)
	if !ok {
		return ns, false
	}
	at := newest
	for len(b) > 0 {
		age, w := binary.Uvarint(b)
		if w <= 0 || age > math.MaxInt64 {
			return ns, false
		}
		at -= int64(age)
		ns = append(ns, at)
		b = b[w:]
	}
	return ns, len(ns) == records
}
