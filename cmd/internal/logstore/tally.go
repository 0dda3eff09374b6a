package logstore

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"

	"github.com/ipallow/ipallow/cmd/internal/binrec"
)

// The tallies of a block say for each key how many requests came with it from
// each address, so that Seen and Summary need not read records. Blocks that
// are still merged have none: there are few of them.
//
//	tallies: | crc32c 4 | keys |
//	key:     | term 8 | length of what follows | addresses |
//	address: | length 1 | address 0, 4 or 16 | age of the last one served | counts |
//	counts:  | 2*seen+1 |, when all others are as usual, or | 2*seen | served | blocked | other |
//
// Lengths but that of an address, counts and ages are varints; ages are in
// nanoseconds before the block's newest record.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A tally counts the requests of one key from one address.
type tally struct {
	addr netip.Addr
	last int64 // time of the last one that was served; what it is when none was, means nothing
	seen int64 // served, as Seen counts it
	counts

	// While tallies are collected.
	key  int32 // index of the key among the block's terms
	next int32 // index of the next tally of the same key, and 1; 0: none
}

func (t *tally) add(rec binrec.Record) {
	t.counts.add(rec)
	if wasServed(rec) {
		t.seen += rec.Requests()
		t.last = max(t.last, rec.UnixNano())
	}
}

// A tallySet collects the tallies of a block. It is used again and again.
type tallySet struct {
	list    []tally
	first   []int32 // for each of the block's terms: index of its last tally, and 1; 0: none
	table   []int32 // by key and address, open addressing: index in list, and 1; 0 is free
	scratch []byte
}

func (s *tallySet) reset(records int) {
	size := 64
	for size < 2*records {
		size *= 2
	}
	if cap(s.table) < size {
		s.table = make([]int32, size)
	}
	s.list, s.first, s.table = s.list[:0], s.first[:0], s.table[:size]
	clear(s.table)
}

// add counts a record. key is the index of its key among the block's terms.
func (s *tallySet) add(key int, rec binrec.Record) {
	addr := rec.ClientAddr()
	a16 := addr.As16()
	h := uint64(key)*0x9e3779b97f4a7c15 ^ binary.BigEndian.Uint64(a16[:])*0xc2b2ae3d27d4eb4f ^ binary.BigEndian.Uint64(a16[8:])*0xd6e8feb86659fd93
	mask := uint64(len(s.table) - 1)
	at := (h ^ h>>32) & mask
	for ; s.table[at] != 0; at = (at + 1) & mask {
		if t := &s.list[s.table[at]-1]; t.key == int32(key) && t.addr == addr {
			t.add(rec)
			return
		}
	}
	for len(s.first) <= key {
		s.first = append(s.first, 0)
	}
	s.list = append(s.list, tally{addr: addr, key: int32(key), next: s.first[key]})
	s.list[len(s.list)-1].add(rec)
	s.table[at] = int32(len(s.list))
	s.first[key] = s.table[at]
}

// appendTo appends the tallies of a block with these terms, whose newest record
// is of this time.
func (s *tallySet) appendTo(b []byte, terms []term, newest int64) []byte {
	head := len(b)
	b = append(b, 0, 0, 0, 0)
	for key, i := range s.first {
		if i == 0 {
			continue // not a key
		}
		addrs := s.scratch[:0]
		for ; i != 0; i = s.list[i-1].next {
			addrs = s.list[i-1].appendTo(addrs, newest)
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(terms[key]))
		b = binary.AppendUvarint(b, uint64(len(addrs)))
		b = append(b, addrs...)
		s.scratch = addrs
	}
	binary.LittleEndian.PutUint32(b[head:], crc32.Checksum(b[head+4:], castagnoli))
	return b
}

func (t *tally) appendTo(b []byte, newest int64) []byte {
	switch {
	case t.addr.Is4():
		a := t.addr.As4()
		b = append(append(b, 4), a[:]...)
	case t.addr.Is6():
		a := t.addr.As16()
		b = append(append(b, 16), a[:]...)
	default:
		b = append(b, 0)
	}
	age := uint64(0)
	if t.seen > 0 {
		age = uint64(newest - t.last)
	}
	b = binary.AppendUvarint(b, age)
	if t.counts == (counts{served: t.seen}) {
		return binary.AppendUvarint(b, uint64(t.seen)<<1|1)
	}
	b = binary.AppendUvarint(b, uint64(t.seen)<<1)
	b = binary.AppendUvarint(b, uint64(t.served))
	b = binary.AppendUvarint(b, uint64(t.blocked))
	return binary.AppendUvarint(b, uint64(t.other))
}

// eachTallied calls f with the tallies of each key in the tallies of a block,
// until it returns false. It reports false, and does not call f, when they are
// damaged.
func eachTallied(b []byte, f func(key term, addrs []byte) bool) bool {
	le := binary.LittleEndian
	if len(b) < 4 || crc32.Checksum(b[4:], castagnoli) != le.Uint32(b) {
		return false
	}
	// What the checksum has found sound is as it was written.
	for b = b[4:]; len(b) > 0; {
		size, n := binary.Uvarint(b[8:])
		end := 8 + n + int(size)
		if !f(term(le.Uint64(b)), b[8+n:end]) {
			break
		}
		b = b[end:]
	}
	return true
}

// readTallies reads those of one key in a block whose newest record is of this
// time.
func readTallies(b []byte, newest int64) (found []tally) {
	next := func() int64 {
		v, n := binary.Uvarint(b)
		b = b[n:]
		return int64(v)
	}
	for len(b) > 0 {
		var t tally
		size := int(b[0])
		t.addr, _ = netip.AddrFromSlice(b[1 : 1+size])
		b = b[1+size:]
		t.last = newest - next()
		seen := next()
		if t.seen = seen >> 1; seen&1 != 0 {
			t.counts = counts{served: t.seen}
		} else {
			t.counts = counts{next(), next(), next()}
		}
		found = append(found, t)
	}
	return found
}
