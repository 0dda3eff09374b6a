package fleet

import (
	"crypto/sha256"
	"encoding/hex"
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
	packetVersion = 1

	// lastVersion is the highest that there will be: what begins otherwise is
	// no packet of a later program, and not waited for.
	lastVersion = 15

	// packetBytes is how many bytes of records a packet has at most, before
	// they are compressed. It is far below what a server takes (1 MiB).
	packetBytes = 256 << 10
)

// ErrPacket says that a message does not hold usage records.
var ErrPacket = errors.New("the message does not hold usage records")

// packets returns the records as packets, each with the name by which the
// stream recognises it. The same records give the same packets.
func packets(records []usagelog.Record) (list []packet) {
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

type packet struct {
	id   string
	data []byte
}

func newPacket(raw []byte) packet {
	data := make([]byte, 1+s2.MaxEncodedLen(len(raw)))
	data[0] = packetVersion
	data = data[:1+len(s2.Encode(data[1:], raw))]
	// The content decides, and not only which records are first and last: after
	// a failure a batch may be put together otherwise.
	sum := sha256.Sum256(data)
	return packet{hex.EncodeToString(sum[:16]), data}
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
	case v != packetVersion:
		return records, fmt.Errorf("%w: it has no version", ErrPacket)
	}
	n, err := s2.DecodedLen(data[1:])
	if err != nil || n == 0 || n > packetBytes {
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
