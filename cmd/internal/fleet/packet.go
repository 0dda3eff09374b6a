package fleet

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"

	"github.com/ipallow/ipallow/cmd/internal/binrec"
	"github.com/ipallow/ipallow/usagelog"
)

// A packet is usage records on their way, as one message:
//
//	version 1 | records in their binary form, one behind the other, as one S2 block
//
// Each record has a checksum of its own.
const (
	// Version 1 had no entries. It is read as well.
	packetVersion = 2

	// lastVersion is the highest that there will be: what begins otherwise is
	// no packet of a later program, and not waited for.
	lastVersion = 15

	// packetBytes is how many bytes of records a packet has at most, before
	// they are compressed, and longestPacket how many one of an earlier version has.
	packetBytes   = 64 << 10
	longestPacket = 256 << 10

	// MaxMessage bounds what a node sends: a packet that does not compress, or a
	// report, with headers.
	MaxMessage = 80 << 10
)

// ErrPacket says that a message does not hold usage records.
var ErrPacket = errors.New("the message does not hold usage records")

// packets returns the records as packets.
func packets(records []usagelog.Record) (list [][]byte) {
	raw := make([]byte, 0, min(packetBytes, 256*len(records))+binrec.MaxLen)
	for i := range records {
		raw = binrec.Append(raw, &records[i])
		if len(raw) > packetBytes-binrec.MaxLen || i == len(records)-1 {
			list = append(list, newPacket(raw))
			raw = raw[:0]
		}
	}
	return list
}

func newPacket(raw []byte) []byte {
	data := make([]byte, 1+s2.MaxEncodedLen(len(raw)))
	data[0] = packetVersion
	return data[:1+len(s2.Encode(data[1:], raw))]
}

// errNewer says that a message has records in a form of a later version.
var errNewer = errors.New("its version is not known; update the management node")

// unpack appends the records of a packet. It takes all of them or none; the
// error wraps ErrPacket.
func unpack(records []usagelog.Record, data []byte) ([]usagelog.Record, error) {
	if len(data) == 0 {
		return records, fmt.Errorf("%w: it is empty", ErrPacket)
	}
	switch v := data[0]; {
	case packetVersion < v && v <= lastVersion:
		return records, fmt.Errorf("%w: %w (%d)", ErrPacket, errNewer, v)
	case v == 0 || v > lastVersion:
		return records, fmt.Errorf("%w: it has no version", ErrPacket)
	}
	n, err := s2.DecodedLen(data[1:])
	if err != nil || n == 0 || n > longestPacket {
		return records, fmt.Errorf("%w: its length is %d, or cannot be read", ErrPacket, n)
	}
	raw, err := s2.Decode(nil, data[1:])
	if err != nil {
		return records, fmt.Errorf("%w: %w", ErrPacket, err)
	}
	was := len(records)
	for len(raw) > 0 {
		rec := binrec.Read(raw)
		if rec == nil || rec.ID().IsZero() {
			return records[:was], fmt.Errorf("%w: record %d is damaged", ErrPacket, len(records)-was)
		}
		records = append(records, rec.Decode())
		raw = raw[len(rec):]
	}
	return records, nil
}
