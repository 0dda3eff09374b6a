// Package binrec is the binary form in which the log store, and the messages
// between the nodes of a fleet, hold usage records: fields can be looked at
// without decoding.
//
// Package usagelog writes its write-ahead files in the same form today. They may
// change there without regard to what is stored, and so this is a copy.
package binrec

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

// Append appends the binary form of r, normalised, to b: 65 bytes and the texts,
// with a checksum over all of it and a mark by which the next record is found
// behind damage. What it wrote, Read reads, and it encodes to the same
// bytes again. Later versions will read the form of this one.
func Append(b []byte, r *usagelog.Record) []byte {
	n := r.Normalize()
	return appendFrame(b, &n)
}

// MaxLen is the length of the longest binary form in bytes.
const MaxLen = maxFrame

// A Record is one record in its binary form, found sound by Read: fields
// can be looked at without decoding, and decoding cannot fail. It is a part
// of the bytes that Read was given, which must not change meanwhile.
type Record []byte

// Read returns the record that stands at the beginning of b, which may
// go on behind it; len of the result is its length. It returns nil if no whole,
// sound record stands there. It checks the checksum, the bounds of each field
// and that the texts are UTF-8, and allocates nothing (BenchmarkBinary).
func Read(b []byte) Record {
	n := checkFrame(b)
	if n == 0 {
		return nil
	}
	at, _, end := frameEntry(b[:n])
	if !utf8.Valid(b[minFrame:frameTexts(b)]) || !utf8.Valid(b[at:end]) {
		return nil
	}
	return Record(b[:n:n])
}

// Skip returns the number of bytes of b to step over, at least 1, to come
// to the next place behind its beginning where a record may begin, or len(b)
// if there is none. It is for reading on behind damage.
func Skip(b []byte) int { return nextMark(b, len(b)) }

// ID returns the record's ID.
func (b Record) ID() usagelog.RecordID { return usagelog.RecordID(b[frameHead:]) }

// UnixNano returns the record's Time in nanoseconds since 1970.
func (b Record) UnixNano() int64 { return int64(binary.LittleEndian.Uint64(b[frameHead+16:])) }

// Status returns the response status, or 0 when there was none.
func (b Record) Status() int { return int(binary.LittleEndian.Uint16(b[frameHead+32:])) }

// Verdict returns the engine's answer.
func (b Record) Verdict() ipallow.Verdict { return ipallow.Verdict(b[frameHead+34]) }

// ClientAddr returns the client address, or the zero Addr when it is unknown.
func (b Record) ClientAddr() netip.Addr {
	addr, _ := decodeAddr(b[frameHead+35]&families, [16]byte(b[frameHead+36:]))
	return addr
}

// RequestID returns the server's name for the request, a part of b.
func (b Record) RequestID() []byte { return b[minFrame : minFrame+int(b[frameHead+52])] }

// Path returns the path of the request, a part of b.
func (b Record) Path() []byte {
	return b[minFrame+int(b[frameHead+52])+int(b[frameHead+53])+int(b[frameHead+54]) : frameTexts(b)]
}

// Requests returns how many requests the record stands for, at least 1.
func (b Record) Requests() int64 { return int64(frameMore(b)) + 1 }

// KeyID returns the key's identifier, a part of b.
func (b Record) KeyID() []byte {
	key := minFrame + int(b[frameHead+52])
	return b[key : key+int(b[frameHead+53])]
}

// Method returns the request method, a part of b.
func (b Record) Method() []byte {
	method := minFrame + int(b[frameHead+52]) + int(b[frameHead+53])
	return b[method : method+int(b[frameHead+54])]
}

// Match reports whether the filter chooses the record, as Filter.Match does. It
// allocates nothing.
func (b Record) Match(f *usagelog.Filter) bool {
	if (f.KeyID != "" && f.KeyID != string(b.KeyID())) ||
		(f.Method != "" && f.Method != string(b.Method())) ||
		(f.Status != 0 && f.Status != b.Status()) ||
		(f.StatusClass != 0 && f.StatusClass != b.Status()/100) ||
		(f.Verdict != nil && *f.Verdict != b.Verdict()) ||
		(f.ClientNet.IsValid() && !f.ClientNet.Contains(b.ClientAddr())) ||
		(f.RequestID != "" && f.RequestID != string(b.RequestID())) ||
		(f.PathPrefix != "" && !bytes.HasPrefix(b.Path(), []byte(f.PathPrefix))) ||
		(f.Outcome != usagelog.AnyOutcome && !b.hasOutcome(f.Outcome)) {
		return false
	}
	if f.From.IsZero() && f.To.IsZero() {
		return true
	}
	t := time.Unix(0, b.UnixNano())
	return (f.From.IsZero() || !t.Before(f.From)) && (f.To.IsZero() || t.Before(f.To))
}

// hasOutcome asks the Filter, which looks at no more of a record than this.
func (b Record) hasOutcome(o usagelog.Outcome) bool {
	r := usagelog.Record{Status: b.Status(), Verdict: b.Verdict()}
	if len(b.KeyID()) > 0 {
		r.KeyID = "any"
	}
	return usagelog.Filter{Outcome: o}.Match(&r)
}

// Decode returns the record. Its texts are one copy of those in b, so it costs
// one allocation and holds on to nothing else.
func (b Record) Decode() usagelog.Record {
	var r usagelog.Record
	readFrame(b, string(b[minFrame:]), &r)
	return r
}
