package logstore

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/s2"

	"github.com/ipallow/ipallow/cmd/internal/binrec"
)

// The data of a block are pieces of whole records, newest first:
//
//	piece: | form 1 | length 4 | length of the records 4 | the records, in their binary form |
//
// Numbers are little-endian. A piece has about 64 KiB of records, so that
// damage, which a compressed piece rarely survives, costs a few hundred records
// and not a whole block.
//
// S2 halves the log (157 bytes a record become 74) at no cost: compressing takes
// as much processor time as SQLite would take for the other half. Zstandard
// leaves a third, at four times that time (BenchmarkAppend, on what its
// generator makes, whose request IDs and addresses are random).
const (
	pieceHead  = 9
	pieceBytes = 64 << 10
	minRecord  = 65

	formPlain = 0
	formS2    = 1
)

// An entry is a record on its way into a block.
type entry struct {
	ns  int64 // its time
	rec binrec.Record
}

// newestFirst orders entries as a query returns records.
func newestFirst(a, b entry) int {
	if a.ns != b.ns {
		return cmp.Compare(b.ns, a.ns)
	}
	return b.rec.ID().Compare(a.rec.ID())
}

// appendData appends the data of a block of these entries, which are in order,
// to data. raw is scratch; both are returned for the next time.
func appendData(data, raw []byte, entries []entry) ([]byte, []byte) {
	raw = raw[:0]
	for i := range entries {
		raw = append(raw, entries[i].rec...)
		if len(raw) < pieceBytes && i < len(entries)-1 {
			continue
		}
		at := len(data)
		need := pieceHead + s2.MaxEncodedLen(len(raw))
		data = slices.Grow(data, need)
		stored := s2.Encode(data[at+pieceHead:at+need], raw)
		form := byte(formS2)
		if len(stored) >= len(raw) {
			form, stored = formPlain, raw
		}
		data = data[:at+pieceHead+len(stored)]
		copy(data[at+pieceHead:], stored)
		data[at] = form
		binary.LittleEndian.PutUint32(data[at+1:], uint32(len(stored)))
		binary.LittleEndian.PutUint32(data[at+5:], uint32(len(raw)))
		raw = raw[:0]
	}
	return data, raw
}

// A block is the records of a block in memory. It is not changed once made.
type block struct {
	raw []byte
	end []uint32 // where each record ends in raw
}

// len returns the number of records.
func (b *block) len() int { return len(b.end) }

// at returns the i-th newest record.
func (b *block) at(i int) binrec.Record {
	begin := uint32(0)
	if i > 0 {
		begin = b.end[i-1]
	}
	return binrec.Record(b.raw[begin:b.end[i]:b.end[i]])
}

// readData returns the records of a block's data. What is damaged is left out.
func readData(data []byte, records int) *block {
	size := 0
	eachPiece(data, func(_ byte, n int, _ []byte) { size += n })
	b := &block{raw: make([]byte, 0, size), end: make([]uint32, 0, min(records, size/minRecord+1))}
	eachPiece(data, func(form byte, n int, stored []byte) {
		at := len(b.raw)
		b.raw = b.raw[:at+n]
		if form == formPlain {
			copy(b.raw[at:], stored)
		} else if _, err := s2.Decode(b.raw[at:], stored); err != nil {
			b.raw = b.raw[:at]
			return
		}
		for pos := at; pos < len(b.raw); {
			rec := binrec.Read(b.raw[pos:])
			if rec == nil {
				pos += binrec.Skip(b.raw[pos:])
				continue
			}
			if at < pos { // close the gap that damage left
				copy(b.raw[at:], rec)
			}
			at, pos = at+len(rec), pos+len(rec)
			b.end = append(b.end, uint32(at))
		}
		b.raw = b.raw[:at]
	})
	return b
}

// eachPiece calls f for each piece that is not evidently damaged, with its
// form, the length of its records, and what is stored.
func eachPiece(data []byte, f func(form byte, n int, stored []byte)) {
	for len(data) >= pieceHead {
		form := data[0]
		n := int64(binary.LittleEndian.Uint32(data[5:]))
		end := pieceHead + int64(binary.LittleEndian.Uint32(data[1:]))
		if end > int64(len(data)) {
			return
		}
		stored := data[pieceHead:end]
		data = data[end:]
		switch form {
		case formPlain:
			if n != int64(len(stored)) {
				continue
			}
		case formS2:
			if got, err := s2.DecodedLen(stored); err != nil || int64(got) != n {
				continue
			}
		default:
			continue
		}
		if n <= pieceBytes+binrec.MaxLen {
			f(form, int(n), stored)
		}
	}
}
