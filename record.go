package ipallow

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// A record is a key and its list in one run of bytes, without a pointer:
//
//	offset  0    2    3    4    5    6
//	        klen  n4   n6   n6w  flg  key[klen]
//	        start4[n4]   4 bytes each, little endian
//	        shift4[n4]   1 byte each: 32 less the prefix length
//	        start6[n6]   8 bytes each: the upper half, of prefixes up to /64
//	        shift6[n6]   1 byte each: 64 less the prefix length
//	        hi[n6w]      8 bytes each  } of prefixes longer than /64
//	        lo[n6w]      8 bytes each  }
//	        shiftw[n6w]  1 byte each: 128 less the prefix length
//	        order        2 bits an entry, if more than one kind is present
//	        labels       4 bytes, if flagLabels: an offset into shard.cold
//
// or, if flagLarge is set, n4, n6 and n6w are 0 and behind the key stand 4
// bytes, an index into shard.large. Nothing is sorted: within a kind entries
// keep the order of the list, and order says how the kinds interleave, so
// that the list can be read back as it was set.
//
// An address a matches an entry if (a^start)>>shift is 0. All entries of a
// kind are tried without a branch between them: at up to 20 entries a
// mispredicted branch costs more than the entries behind it.
//
// A starting design with (start, width) pairs of 8 and 32 bytes an entry is
// as fast in cache, but has 8 bytes where this has 5, 32 where this has 9 or
// 17, and bytes are cache lines.
const (
	recKeyLen = 0 // 2 bytes
	recN4     = 2
	recN6     = 3
	recN6w    = 4
	recFlags  = 5
	recHeader = 6 // size of the header

	flagLarge  = 1 << 0
	flagLabels = 1 << 1
)

// The kinds of entries, as order stores them.
const (
	kind4  = 0 // IPv4
	kind6  = 1 // IPv6, up to /64
	kind6w = 2 // IPv6, longer than /64
)

// maxSmall is the longest list that is kept as a record; a longer one is a
// bart table. It is measured by BenchmarkRepresentation.
const maxSmall = 40

func kindOf(p netip.Prefix) int {
	switch {
	case p.Addr().Is4():
		return kind4
	case p.Bits() <= 64:
		return kind6
	}
	return kind6w
}

// A query is a client address as the records want it.
type query struct {
	hi, lo uint64
	family uint8 // 0 (no address, matches nothing), 4 or 6
}

// newQuery is canonicalAddr for matching. netip.Addr.As16 gives an IPv4
// address its IPv4-mapped form, so one comparison decides the family of all
// three forms, and it does not know the zone.
func newQuery(addr netip.Addr) query {
	if !addr.IsValid() {
		return query{}
	}
	b := addr.As16()
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	if hi == 0 && lo>>32 == 0xffff {
		return query{lo: lo & 0xffffffff, family: 4}
	}
	return query{hi: hi, lo: lo, family: 6}
}

// appendBody appends what stands behind the key in a small record for the
// canonical entries, which are at most maxSmall, and returns their header
// with a key length of 0.
func appendBody(dst []byte, entries []Entry) (hdr [recHeader]byte, body []byte) {
	var n [3]int
	for i := range entries {
		n[kindOf(entries[i].Prefix)]++
	}
	hdr[recN4], hdr[recN6], hdr[recN6w] = byte(n[kind4]), byte(n[kind6]), byte(n[kind6w])
	var l layout
	l.set(hdr[:])
	at := len(dst)
	for range l.size {
		dst = append(dst, 0)
	}
	b := dst[at:]
	n = [3]int{}
	for i := range entries {
		p := entries[i].Prefix
		k := kindOf(p)
		j := n[k]
		n[k]++
		switch a := p.Addr().As16(); k {
		case kind4:
			binary.LittleEndian.PutUint32(b[l.start4+4*j:], binary.BigEndian.Uint32(a[12:]))
			b[l.shift4+j] = byte(32 - p.Bits())
		case kind6:
			binary.LittleEndian.PutUint64(b[l.start6+8*j:], binary.BigEndian.Uint64(a[:8]))
			b[l.shift6+j] = byte(64 - p.Bits())
		default:
			binary.LittleEndian.PutUint64(b[l.hi+8*j:], binary.BigEndian.Uint64(a[:8]))
			binary.LittleEndian.PutUint64(b[l.lo+8*j:], binary.BigEndian.Uint64(a[8:]))
			b[l.shiftw+j] = byte(128 - p.Bits())
		}
		if l.ordered {
			b[l.order+i/4] |= byte(k) << (i % 4 * 2)
		}
	}
	return hdr, dst
}

// A layout is where the parts of a small record's body begin, from the
// body's first byte. Only the slow paths make one.
type layout struct {
	n, n4, n6, n6w int
	start4, shift4 int
	start6, shift6 int
	hi, lo, shiftw int
	order, size    int
	ordered        bool
}

func (l *layout) set(hdr []byte) {
	l.n4, l.n6, l.n6w = int(hdr[recN4]), int(hdr[recN6]), int(hdr[recN6w])
	l.n = l.n4 + l.n6 + l.n6w
	l.start4 = 0
	l.shift4 = 4 * l.n4
	l.start6 = l.shift4 + l.n4
	l.shift6 = l.start6 + 8*l.n6
	l.hi = l.shift6 + l.n6
	l.lo = l.hi + 8*l.n6w
	l.shiftw = l.lo + 8*l.n6w
	l.order = l.shiftw + l.n6w
	l.size = l.order
	l.ordered = l.n4 != l.n && l.n6 != l.n && l.n6w != l.n
	if l.ordered {
		l.size += (l.n + 3) / 4
	}
}

// matchBody reports whether q matches an entry of the small record with the
// header hdr and the given body.
func matchBody(hdr *[recHeader]byte, body []byte, q *query) bool {
	n4 := int(hdr[recN4])
	switch q.family {
	case 4:
		return match4(body, n4, uint32(q.lo))
	case 6:
		return match6(body[5*n4:], int(hdr[recN6]), int(hdr[recN6w]), q)
	}
	return false
}

func match4(b []byte, n int, a uint32) bool {
	starts, shifts := b[:4*n], b[4*n:5*n]
	var hit uint64
	for _, s := range shifts {
		x := uint64(a^binary.LittleEndian.Uint32(starts)) >> (s & 63)
		hit |= x - 1 // the top bit is set if x is 0, and only then
		starts = starts[4:]
	}
	return hit>>63 != 0
}

func match6(b []byte, n, nw int, q *query) bool {
	starts, shifts := b[:8*n], b[8*n:9*n]
	miss := uint64(1)
	for _, s := range shifts {
		x := (q.hi ^ binary.LittleEndian.Uint64(starts)) >> s
		miss &= (x | -x) >> 63 // 0 if x is 0, else 1
		starts = starts[8:]
	}
	b = b[9*n:]
	his, los, shifts := b[:8*nw], b[8*nw:16*nw], b[16*nw:17*nw]
	for _, s := range shifts {
		x := q.hi ^ binary.LittleEndian.Uint64(his) | (q.lo^binary.LittleEndian.Uint64(los))>>(s&63)
		miss &= (x | -x) >> 63
		his, los = his[8:], los[8:]
	}
	return miss == 0
}

// entryAt decodes entry i of a small record, of which body is the part
// behind the key. seen counts the entries of each kind before it, and is
// brought forward.
func (l *layout) entryAt(body []byte, i int, seen *[3]int) netip.Prefix {
	k := kind4
	switch {
	case l.ordered:
		k = int(body[l.order+i/4] >> (i % 4 * 2) & 3)
	case l.n6 > 0:
		k = kind6
	case l.n6w > 0:
		k = kind6w
	}
	j := seen[k]
	seen[k]++
	switch k {
	case kind4:
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], binary.LittleEndian.Uint32(body[l.start4+4*j:]))
		return netip.PrefixFrom(netip.AddrFrom4(a), 32-int(body[l.shift4+j]))
	case kind6:
		var a [16]byte
		binary.BigEndian.PutUint64(a[:8], binary.LittleEndian.Uint64(body[l.start6+8*j:]))
		return netip.PrefixFrom(netip.AddrFrom16(a), 64-int(body[l.shift6+j]))
	}
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], binary.LittleEndian.Uint64(body[l.hi+8*j:]))
	binary.BigEndian.PutUint64(a[8:], binary.LittleEndian.Uint64(body[l.lo+8*j:]))
	return netip.PrefixFrom(netip.AddrFrom16(a), 128-int(body[l.shiftw+j]))
}

// lookupSmall returns the index and the prefix of the most specific entry
// that contains addr, which is canonical, or an index of -1. Of equal
// entries it is the first.
func lookupSmall(hdr, body []byte, addr netip.Addr) (int, netip.Prefix) {
	var l layout
	l.set(hdr)
	var seen [3]int
	best, index := netip.Prefix{}, -1
	for i := range l.n {
		p := l.entryAt(body, i, &seen)
		if p.Contains(addr) && (index < 0 || p.Bits() > best.Bits()) {
			best, index = p, i
		}
	}
	return index, best
}

// tableSize is the number of slots for n keys: a power of two, filled to at
// most three quarters.
func tableSize(n int) int {
	return 1 << bits.Len(uint(max(n*4/3, 3)))
}
