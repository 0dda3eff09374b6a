package binrec

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

// A frame is a record as it is kept. All numbers are little-endian but the ID,
// whose bytes are kept as they are.
//
//	frame:  | crc32c 4 | magic 2 | body length 2 | body |
//	body:   | ID 16 | time ns 8 | duration ns 8 | status 2 | verdict 1 | family 1 | address 16 |
//	        | len request ID 1 | len key ID 1 | len method 1 | len path 2 | the four texts |
//	        | entry bits 1 | len label 2 | len list 1 | label | list | more 4 |
//
// The fields of the entry follow where the family has the bit familyEntry. Its address
// is that of the client, cut to the bits. The last field is there where the family has
// the bit familyMore, and not 0. The checksum (Castagnoli) covers everything after itself.
// The magic lets a reader find the next frame after damage. Its bytes never occur in
// UTF-8, and texts are UTF-8 when they are recorded, so no client can forge a frame
// inside one of its own paths.
const (
	magic0, magic1 = 0xff, 0xfa

	frameHead = 8
	bodyFixed = 16 + 8 + 8 + 2 + 1 + 1 + 16 + 1 + 1 + 1 + 2
	minFrame  = frameHead + bodyFixed
	maxFrame  = minFrame + usagelog.MaxRequestID + usagelog.MaxKeyID + usagelog.MaxMethod + usagelog.MaxPath +
		entryFixed + usagelog.MaxLabel + usagelog.MaxList + moreLen

	familyMore  = 0x80
	familyEntry = 0x40
	families    = ^byte(familyMore | familyEntry)
	moreLen     = 4
	entryFixed  = 1 + 2 + 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameLen returns the length of the frame of r, which is normalised.
func frameLen(r *usagelog.Record) int {
	n := minFrame + len(r.RequestID) + len(r.KeyID) + len(r.Method) + len(r.Path)
	if r.Entry.IsValid() {
		n += entryFixed + len(r.Label) + len(r.List)
	}
	if r.More != 0 {
		n += moreLen
	}
	return n
}

// appendFrame appends the frame of r, which is normalised, to b.
func appendFrame(b []byte, r *usagelog.Record) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = append(b, 0, 0, 0, 0, magic0, magic1)
	b = le.AppendUint16(b, uint16(frameLen(r)-frameHead))
	b = append(b, r.ID[:]...)
	b = le.AppendUint64(b, uint64(r.Time.UnixNano()))
	b = le.AppendUint64(b, uint64(r.Duration))
	b = le.AppendUint16(b, uint16(r.Status))
	b = append(b, byte(r.Verdict))
	var addr [16]byte
	at := len(b)
	switch {
	case r.ClientAddr.Is4():
		a4 := r.ClientAddr.As4()
		copy(addr[:], a4[:])
		b = append(b, 4)
	case r.ClientAddr.Is6():
		addr = r.ClientAddr.As16()
		b = append(b, 6)
	default:
		b = append(b, 0)
	}
	if r.More != 0 {
		b[at] |= familyMore
	}
	if r.Entry.IsValid() {
		b[at] |= familyEntry
	}
	b = append(b, addr[:]...)
	b = append(b, byte(len(r.RequestID)), byte(len(r.KeyID)), byte(len(r.Method)))
	b = le.AppendUint16(b, uint16(len(r.Path)))
	b = append(b, r.RequestID...)
	b = append(b, r.KeyID...)
	b = append(b, r.Method...)
	b = append(b, r.Path...)
	if r.Entry.IsValid() {
		b = append(b, byte(r.Entry.Bits()))
		b = le.AppendUint16(b, uint16(len(r.Label)))
		b = append(b, byte(len(r.List)))
		b = append(b, r.Label...)
		b = append(b, r.List...)
	}
	if r.More != 0 {
		b = le.AppendUint32(b, r.More)
	}
	le.PutUint32(b[start:], crc32.Checksum(b[start+4:], castagnoli))
	return b
}

// checkFrame returns the length of the frame at the beginning of b, or 0 when
// no whole, sound frame begins there. It looks at everything but whether the
// texts are UTF-8.
func checkFrame(b []byte) int {
	le := binary.LittleEndian
	if len(b) < minFrame || b[4] != magic0 || b[5] != magic1 {
		return 0
	}
	size := frameHead + int(le.Uint16(b[6:]))
	if size < minFrame || size > maxFrame || size > len(b) {
		return 0
	}
	if crc32.Checksum(b[4:size], castagnoli) != le.Uint32(b) {
		return 0
	}
	body := b[frameHead:size]
	ns, dur := le.Uint64(body[16:]), le.Uint64(body[24:])
	status, verdict := int(le.Uint16(body[32:])), ipallow.Verdict(body[34])
	addr, ok := decodeAddr(body[35]&families, [16]byte(body[36:52]))
	if !ok || ns>>63 != 0 || dur>>63 != 0 || status > 999 || (status < 100 && status != 0) || verdict > ipallow.Unrestricted {
		return 0
	}
	nReq, nKey, nMethod, nPath := int(body[52]), int(body[53]), int(body[54]), int(le.Uint16(body[55:]))
	if nReq > usagelog.MaxRequestID || nKey > usagelog.MaxKeyID || nMethod > usagelog.MaxMethod || nPath > usagelog.MaxPath {
		return 0
	}
	end := bodyFixed + nReq + nKey + nMethod + nPath
	if body[35]&familyEntry != 0 {
		if end+entryFixed > len(body) {
			return 0
		}
		bits, nLabel, nList := int(body[end]), int(le.Uint16(body[end+1:])), int(body[end+3])
		if !addr.IsValid() || bits > addr.BitLen() || nLabel > usagelog.MaxLabel || nList > usagelog.MaxList {
			return 0
		}
		end += entryFixed + nLabel + nList
	}
	if end+moreBytes(body[35]) != len(body) || frameMore(b[:size]) == 0 && body[35]&familyMore != 0 {
		return 0
	}
	return size
}

// moreBytes returns the length of the field more.
func moreBytes(family byte) int { return int(family>>7) * moreLen }

// frameMore returns the field more of the frame b, or 0 if it has none.
func frameMore(b []byte) uint32 {
	if b[frameHead+35]&familyMore == 0 {
		return 0
	}
	return binary.LittleEndian.Uint32(b[len(b)-moreLen:])
}

// frameTexts returns where the four texts of the frame b end, the entry's follow.
func frameTexts(b []byte) int {
	body := b[frameHead:]
	return minFrame + int(body[52]) + int(body[53]) + int(body[54]) + int(binary.LittleEndian.Uint16(body[55:]))
}

// frameEntry returns where the label and the list of the frame b begin and where each
// ends, or three times the same if it has no entry.
func frameEntry(b []byte) (at, label, list int) {
	at = frameTexts(b)
	if b[frameHead+35]&familyEntry == 0 {
		return at, at, at
	}
	at += entryFixed
	label = at + int(binary.LittleEndian.Uint16(b[at-3:]))
	return at, label, label + int(b[at-1])
}

// readFrame decodes the sound frame b into r. The texts of r are parts of text, which
// holds the bytes of b from minFrame on.
func readFrame(b []byte, text string, r *usagelog.Record) {
	le := binary.LittleEndian
	body := b[frameHead:]
	addr, _ := decodeAddr(body[35]&families, [16]byte(body[36:52]))
	nReq, nKey, nMethod := int(body[52]), int(body[53]), int(body[54])
	path := frameTexts(b) - minFrame
	*r = usagelog.Record{
		ID:         usagelog.RecordID(body[:16]),
		Time:       time.Unix(0, int64(le.Uint64(body[16:]))).UTC(),
		Duration:   time.Duration(le.Uint64(body[24:])),
		Status:     int(le.Uint16(body[32:])),
		Verdict:    ipallow.Verdict(body[34]),
		ClientAddr: addr,
		RequestID:  text[:nReq],
		KeyID:      text[nReq : nReq+nKey],
		Method:     text[nReq+nKey : nReq+nKey+nMethod],
		Path:       text[nReq+nKey+nMethod : path],
		More:       frameMore(b),
	}
	if body[35]&familyEntry != 0 {
		at, label, list := frameEntry(b)
		r.Entry, _ = addr.Prefix(int(b[at-entryFixed]))
		r.Label, r.List = text[at-minFrame:label-minFrame], text[label-minFrame:list-minFrame]
	}
}

// nextMark returns the first place in b behind its beginning where the magic
// says that a frame may begin, or none if there is no such place.
func nextMark(b []byte, none int) int {
	if len(b) > 5 {
		if i := bytes.Index(b[5:], []byte{magic0, magic1}); i >= 0 {
			return i + 1
		}
	}
	return none
}

func decodeAddr(family byte, a [16]byte) (netip.Addr, bool) {
	switch family {
	case 4:
		return netip.AddrFrom4([4]byte(a[:4])), [12]byte(a[4:]) == [12]byte{}
	case 6:
		addr := netip.AddrFrom16(a)
		return addr, !addr.Is4In6()
	case 0:
		return netip.Addr{}, a == [16]byte{}
	}
	return netip.Addr{}, false
}
