package index

import (
	"encoding/binary"
	"net/netip"

	"github.com/ipallow/ipallow/internal/canon"
)

// A record is a key and its list in one run of bytes, without a pointer:
//
//	offset  0       4
//	        header  key[klen]
//	        start4[n4]  4 bytes each: an IPv4 address
//	        start6[n6]  8 bytes each: the upper half of an IPv6 address
//	        shift4[n4]  1 byte each: 32 less the prefix length
//	        shift6[n6]  1 byte each: 64 less the prefix length; or wide, if
//	                    the prefix is longer than /64
//	        lo[nw]      9 bytes each, for the wide ones: the lower half of the
//	                    address, and 128 less the prefix length
//	        order       the order in which the entries were set (see order.go)
//	        labels      4 bytes, if flagLabels: an offset into shard.labels
//
// or, for a long list, behind the key stand 4 bytes, an index into
// shardExtra.long. What stands behind the header is the record's body. Numbers
// are little endian. The header's upper 16 bits are klen, and flagScan if it
// is set, so that Check compares them with the length of its key; the lower 16
// are the numbers of entries: IPv4 and IPv6 ones and, of these, wide ones, in 5
// bits each, and flagLabels. That of a long list has 0, 0 and 1, which no other
// has. If there are fewer than minEntries4 IPv4 entries, n4 is minEntries4 all
// the same; from grouped4 or grouped6 entries on, n4 or n6 is a multiple of four.
// The last entry of the family stands there again then (but not with flagScan).
//
// What Check reads stands side by side, from the key's length to the last start or
// shift: where cells are whole cache lines, it begins with a line. See ahead. In most
// records the IPv4 addresses follow the key, so that loading them waits for
// nothing but the place of the record. If n4 or n6 is grouped4 or grouped6 and more, the shifts stand before the
// starts: Check looks at all parts of the list then, and at one shift last, in a line
// that it has already.
//
// The entries of a family are sorted by address. If none covers another,
// only the last one that begins at or before an address can contain it, and
// that is found without
// a branch that depends on the address, since no predictor can know it. It
// contains the address if (address^start)>>shift is 0. Lists in which an
// entry covers another are rare, and Policy warns of them; they are marked
// flagScan and searched one by one.
//
// To try all entries in turn, without sorting, is as fast in cache up to
// some 6 entries, and at 20 costs 160 more instructions. They are worth 16 ns
// in themselves, and more than 100 where the record is not in the cache:
// the processor looks some hundreds of instructions ahead, and so as many fewer
// requests can wait for memory at the same time.
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

	// wide in the place of a shift says that the rest is in lo.
	wide = 0x80

	// recPad is how many bytes there are behind the records of a shard, so that a
	// header and the beginning of a key can be loaded where there is no record, too.
	recPad = 16
)

// MaxShort is the longest list that is kept as a record; a longer one is a
// bart table. It is the largest multiple of four that a tag has bits for;
// BenchmarkRepresentation measures it.
const MaxShort = 28

// minEntries4 is how many IPv4 entries a record has if it has any, so that
// a search needs no check of its bounds.
const minEntries4 = 4

// grouped4 and grouped6 are from how many entries of a family on their number
// in a record is a multiple of four, so that where the groups begin that Check
// searches takes no division.
const (
	grouped4 = 6
	grouped6 = 8
)

// A layout is where the parts of a small record's body begin, from the
// body's first byte. Only the slow paths make one.
type layout struct {
	n, n4, pad4, n6, pad6, nw                 int // n is without the padding
	shift4, shift6, at4, at6, lo, order, size int
}

// keyLen is the length of the key of the record with the header hdr.
func keyLen(hdr uint32) int { return int(hdr >> hdrKeyLen & (1<<11 - 1)) }

// isLong reports whether a header is that of a long list.
func isLong(hdr uint32) bool { return hdr>>hdrN6&(1<<10-1) == hdrLong>>hdrN6 }

// count4 is n4, with the padding.
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

// count6 is n6, with the padding.
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

// longOf is the index of the list of a record of a long one.
func longOf(rec []byte) uint32 {
	return binary.LittleEndian.Uint32(rec[recHeader+keyLen(headerOf(rec)):])
}

// recEntries is the number of entries of a small record.
func recEntries(rec []byte) int {
	hdr := headerOf(rec)
	return layoutOf(hdr).n
}

// recSize is the size of the record that begins at b[0].
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

// appendRecord appends the small record of key and the canonical entries,
// which are at most MaxShort.
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

// maxBody is the size of the longest body, with an offset of labels.
const maxBody = 18*MaxShort + 5*3 + 9*3 + MaxKeyLen + MaxShort + 4

// prefixes decodes the small record rec into dst, in the order in which the
// prefixes were set.
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
