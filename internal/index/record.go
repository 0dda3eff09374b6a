package index

import (
	"encoding/binary"
	"net/netip"

	"github.com/ipallow/ipallow/internal/canon"
)

// A record is a key and its list in one run of bytes without pointers. Numbers are little endian.
//
//	offset  0       4
//	        header  key[klen]
//	        start4[n4]  4 bytes each: an IPv4 address
//	        start6[n6]  8 bytes each: the upper half of an IPv6 address
//	        shift4[n4]  1 byte each: 32 less the prefix length
//	        shift6[n6]  1 byte each: 64 less the prefix length; or wide, if the prefix is longer
//	                    than /64
//	        lo[nw]      9 bytes for each wide entry: the lower half of the address, and 128 less the
//	                    prefix length
//	        order       the order in which the entries were set (order.go)
//	        labels      4 bytes, if flagLabels: an offset into shardExtra.labels
//
// If n4 is at least grouped4 or n6 at least grouped6, the shifts come before the starts. The record
// of a long list has, after the key, 4 bytes: an index into shardExtra.long. All that follows the
// header is the record's body.
//
// The header's upper 16 bits are klen and flagScan, so that one comparison with the length of the
// key checks both. The lower 16 are the numbers of IPv4 entries, of IPv6 entries and of wide ones
// among these, 5 bits each, and flagLabels. Of the numbers, a long list has 0, 0 and 1, which no
// other record has. The stored numbers are without padding: n4 is at least minEntries4, and from
// grouped4 and grouped6 on a multiple of four, by repeating the last entry (but not with flagScan).
//
// The entries of a family are sorted. If none contains another, only the last one that begins at or
// before an address can contain it: it does if (address^start)>>shift is 0. It is found without a
// branch that depends on the address, which no predictor could know. Lists in which an entry
// contains another are rare; they are marked flagScan and searched one by one.
//
// What Check reads is contiguous, and begins with a cache line where cells are whole lines (see
// ahead). In short records the IPv4 addresses follow the key, so that their load waits only for the
// cell; in longer ones the shifts do, since the one that is needed is then in a line already read.
const (
	recHeader = 4 // size of the header

	hdrN4     = 0
	hdrN6     = 5
	hdrNw     = 10
	hdrKeyLen = 16
	hdrCount  = 1<<5 - 1

	flagLabels = 1 << 15 // there are labels
	flagScan   = 1 << 31 // an entry covers another, or ::/0 is there
	hdrLong    = 1 << hdrNw

	// wide instead of a shift says that the rest of the entry is in lo.
	wide = 0x80

	// recPad bytes follow the records of a shard, so that a header and the beginning of a key can
	// be loaded where there is no record, too.
	recPad = 16
)

// MaxShort is the longest list that is stored in its record. It is the largest multiple of four
// that a tag has bits for. BenchmarkRepresentation compares it with a table, and
// TestLongListsCostMore the memory, which is why lists beyond the 20 entries of the default policy
// are records too.
const MaxShort = 28

// minEntries4 is the least n4 of a record with IPv4 entries, so that a search needs no bounds
// check.
const minEntries4 = 4

// grouped4 and grouped6 are the numbers of entries of a family from which on n4 and n6 are
// multiples of four, so that the search needs no division to know where its groups begin.
const (
	grouped4 = 6
	grouped6 = 8
)

// A layout says where the parts of a small record begin in its body. Check has its own computation;
// only the slow paths make one.
type layout struct {
	n, n4, pad4, n6, pad6, nw                 int // n is without the padding
	shift4, shift6, at4, at6, lo, order, size int
}

// keyLen returns the length of the key.
func keyLen(hdr uint32) int { return int(hdr >> hdrKeyLen & (1<<11 - 1)) }

// isLong reports whether a header is that of a long list.
func isLong(hdr uint32) bool { return hdr>>hdrN6&(1<<10-1) == hdrLong>>hdrN6 }

// count4 returns n4, with the padding.
func count4(hdr uint32) int {
	n := int(hdr >> hdrN4 & hdrCount)
	switch {
	case n == 0 || hdr&flagScan != 0:
		return n
	case n < grouped4:
		return max(n, minEntries4)
	}
	return (n + 3) &^ 3
}

// count6 returns n6, with the padding.
func count6(hdr uint32) int {
	n := int(hdr >> hdrN6 & hdrCount)
	if n < grouped6 || hdr&flagScan != 0 {
		return n
	}
	return (n + 3) &^ 3
}

func layoutOf(hdr uint32) (l layout) {
	l.n4, l.n6, l.nw = count4(hdr), count6(hdr), int(hdr>>hdrNw&hdrCount)
	l.pad4 = l.n4 - int(hdr>>hdrN4&hdrCount)
	l.pad6 = l.n6 - int(hdr>>hdrN6&hdrCount)
	l.n = l.n4 - l.pad4 + l.n6 - l.pad6
	klen := keyLen(hdr)
	if l.n4 < grouped4 && l.n6 < grouped6 {
		l.at4 = klen
		l.at6 = l.at4 + 4*l.n4
		l.shift4 = l.at6 + 8*l.n6
		l.shift6 = l.shift4 + l.n4
	} else {
		l.shift4 = klen
		l.shift6 = l.shift4 + l.n4
		l.at4 = l.shift6 + l.n6
		l.at6 = l.at4 + 4*l.n4
	}
	l.lo = klen + 5*l.n4 + 9*l.n6
	l.order = l.lo + 9*l.nw
	l.size = l.order + orderSize(l.n)
	return l
}

func headerOf(rec []byte) uint32 { return binary.LittleEndian.Uint32(rec) }

func keyOf(rec []byte) []byte {
	return rec[recHeader:][:keyLen(headerOf(rec))]
}

func bodyOf(rec []byte) []byte { return rec[recHeader:] }

// longOf returns the index in shardExtra.long of the record of a long list.
func longOf(rec []byte) uint32 {
	return binary.LittleEndian.Uint32(rec[recHeader+keyLen(headerOf(rec)):])
}

// recEntries returns the number of entries of a record that is not that of a long list.
func recEntries(rec []byte) int {
	hdr := headerOf(rec)
	return layoutOf(hdr).n
}

// recSize returns the size of the record that begins at b[0].
func recSize(b []byte) int {
	hdr := headerOf(b)
	if isLong(hdr) {
		return recHeader + keyLen(hdr) + 4
	}
	size := recHeader + layoutOf(hdr).size
	if hdr&flagLabels != 0 {
		size += 4
	}
	return size
}

// appendRecord appends the record of key and at most MaxShort canonical entries.
func appendRecord(dst []byte, key string, entries []Entry) []byte {
	hdr := uint32(len(key)) << hdrKeyLen
	var perm [MaxShort]uint8
	order := perm[:len(entries)]
	for i := range order {
		// An insertion sort: lists are short, and often sorted already.
		j := i
		for ; j > 0 && canon.Compare(entries[i].Prefix, entries[order[j-1]].Prefix) < 0; j-- {
			order[j] = order[j-1]
		}
		order[j] = uint8(i)
	}
	top := netip.Prefix{}
	for _, i := range order {
		p := entries[i].Prefix
		switch {
		case p.Addr().Is4():
			hdr += 1 << hdrN4
		case p.Bits() > 64:
			hdr += 1<<hdrN6 + 1<<hdrNw
		default:
			hdr += 1 << hdrN6
		}
		if top.IsValid() && top.Contains(p.Addr()) || p.Addr().Is6() && p.Bits() == 0 {
			hdr |= flagScan
		} else {
			top = p
		}
	}
	l := layoutOf(hdr)
	n4, n6 := l.n4-l.pad4, l.n6-l.pad6
	dst = binary.LittleEndian.AppendUint32(dst, hdr)
	at := len(dst)
	dst = append(dst, make([]byte, l.size)...)
	body := dst[at:]
	copy(body, key)
	w := 0
	for k, i := range order {
		p := entries[i].Prefix
		a := p.Addr().As16()
		if k < n4 {
			last := k
			if k == n4-1 {
				last += l.pad4
			}
			for ; k <= last; k++ {
				binary.LittleEndian.PutUint32(body[l.at4+4*k:], binary.BigEndian.Uint32(a[12:]))
				body[l.shift4+k] = byte(32 - p.Bits())
			}
			continue
		}
		k -= n4
		last, shift := k, byte(wide)
		if k == n6-1 {
			last += l.pad6
		}
		if p.Bits() <= 64 {
			shift = byte(64 - p.Bits())
		}
		for ; k <= last; k++ {
			binary.LittleEndian.PutUint64(body[l.at6+8*k:], binary.BigEndian.Uint64(a[:8]))
			body[l.shift6+k] = shift
		}
		if shift != wide {
			continue
		}
		lo := body[l.lo+9*w:]
		binary.LittleEndian.PutUint64(lo, binary.BigEndian.Uint64(a[8:]))
		lo[8] = byte(128 - p.Bits())
		w++
	}
	putOrder(body[l.order:], order)
	return dst
}

// maxBody bounds the size of a body, with the offset of its labels.
const maxBody = 18*MaxShort + 5*3 + 9*3 + MaxKeyLen + MaxShort + 4

// prefixes decodes a record into dst, in the order in which the prefixes were set.
func prefixes(dst *[MaxShort]netip.Prefix, rec []byte) []netip.Prefix {
	l, body := layoutOf(headerOf(rec)), bodyOf(rec)
	var perm [MaxShort]uint8
	order := perm[:l.n]
	getOrder(order, body[l.order:])
	lo := body[l.lo:]
	n4 := l.n4 - l.pad4
	for k, i := range order {
		if k < n4 {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], binary.LittleEndian.Uint32(body[l.at4+4*k:]))
			dst[i] = netip.PrefixFrom(netip.AddrFrom4(a), 32-int(body[l.shift4+k]))
			continue
		}
		k -= n4
		var a [16]byte
		binary.BigEndian.PutUint64(a[:8], binary.LittleEndian.Uint64(body[l.at6+8*k:]))
		bits := 64 - int(body[l.shift6+k])
		if body[l.shift6+k] == wide {
			binary.BigEndian.PutUint64(a[8:], binary.LittleEndian.Uint64(lo))
			bits = 128 - int(lo[8])
			lo = lo[9:]
		}
		dst[i] = netip.PrefixFrom(netip.AddrFrom16(a), bits)
	}
	return dst[:l.n]
}
