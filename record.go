package ipallow

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// A record is a key and its list in one run of bytes, without a pointer:
//
//	offset  0     2   3   4   5      6
//	        klen  n4  n6  nw  flags  key[klen]
//	        e4[n4]   5 bytes each: the address, 32 less the prefix length
//	        e6[n6]   9 bytes each: the upper half of the address, 64 less the
//	                 prefix length; or 128 if the prefix is longer than /64
//	        lo[nw]   9 bytes each, for those of e6 that are longer than /64:
//	                 the lower half of the address, 128 less the prefix length
//	        order    1 bit an entry (1: IPv6), if both families are present
//	        labels   4 bytes, if flagLabels: an offset into shard.cold
//
// or, if flagLarge is set, n4, n6 and nw are 0 and behind the key stand 4
// bytes, an index into shard.large. Numbers are little endian. Nothing is
// sorted: within a family entries keep the order of the list, and order says
// how the families interleave, so that the list can be read back as it was
// set.
//
// An address matches an entry if (address^entry)>>shift is 0. All entries of
// a family are tried without a branch between them: at up to 20 entries a
// mispredicted branch costs more than the entries behind it. Longer IPv6
// prefixes stand among the others with their upper half alone, so that their
// number, which differs from key to key, decides no branch either; only an
// address that agrees with one in the upper half goes on to the lower halves.
//
// Pairs of (start, width) would be as fast in cache, but take 8 bytes where
// this takes 5, and 32 where this takes 9 or 18, and bytes are cache lines.
const (
	recKeyLen = 0 // 2 bytes
	recN4     = 2
	recN6     = 3
	recNw     = 4
	recFlags  = 5
	recHeader = 6 // size of the header

	flagLarge  = 1 << 0 // the list is a bart table
	flagLabels = 1 << 1 // there are labels
	flagAll6   = 1 << 2 // ::/0 is in the list, whose shift of 64 is no shift

	size4 = 5
	size6 = 9
	sizeW = 9

	// wide in the place of a shift of e6 says that the rest is in lo.
	wide = 0x80

	// recPad is how many bytes behind a record may be read with it: an IPv4
	// entry is loaded as 8 bytes.
	recPad = 3
)

// maxSmall is the longest list that is kept as a record; a longer one is a
// bart table. BenchmarkRepresentation measures it.
const maxSmall = 40

// A query is a client address as the records want it.
type query struct {
	hi, lo uint64
	family uint8 // 0 (no address, matches nothing), 4 or 6
}

// appendBody appends what stands behind the key in a small record for the
// canonical entries, which are at most maxSmall, and returns their header
// with a key length of 0.
func appendBody(dst []byte, entries []Entry) (hdr [recHeader]byte, body []byte) {
	for i := range entries {
		switch p := entries[i].Prefix; {
		case p.Addr().Is4():
			hdr[recN4]++
		case p.Bits() > 64:
			hdr[recN6]++
			hdr[recNw]++
		default:
			hdr[recN6]++
			if p.Bits() == 0 {
				hdr[recFlags] |= flagAll6
			}
		}
	}
	var l layout
	l.set(hdr[:])
	at := len(dst)
	for range l.size {
		dst = append(dst, 0)
	}
	e4, e6, lo, order := dst[at:], dst[at+l.at6:], dst[at+l.atLo:], dst[at+l.order:]
	for i := range entries {
		p := entries[i].Prefix
		a := p.Addr().As16()
		if p.Addr().Is4() {
			binary.LittleEndian.PutUint32(e4, binary.BigEndian.Uint32(a[12:]))
			e4[4] = byte(32 - p.Bits())
			e4 = e4[size4:]
			continue
		}
		binary.LittleEndian.PutUint64(e6, binary.BigEndian.Uint64(a[:8]))
		if p.Bits() <= 64 {
			e6[8] = byte(64 - p.Bits())
		} else {
			e6[8] = wide
			binary.LittleEndian.PutUint64(lo, binary.BigEndian.Uint64(a[8:]))
			lo[8] = byte(128 - p.Bits())
			lo = lo[sizeW:]
		}
		e6 = e6[size6:]
		if l.mixed {
			order[i/8] |= 1 << (i % 8)
		}
	}
	return hdr, dst
}

// A layout is where the parts of a small record's body begin, from the
// body's first byte. Only the slow paths make one.
type layout struct {
	n, n4, n6, nw          int
	at6, atLo, order, size int
	mixed                  bool
}

func (l *layout) set(hdr []byte) {
	l.n4, l.n6, l.nw = int(hdr[recN4]), int(hdr[recN6]), int(hdr[recNw])
	l.n = l.n4 + l.n6
	l.at6 = size4 * l.n4
	l.atLo = l.at6 + size6*l.n6
	l.order = l.atLo + sizeW*l.nw
	l.size = l.order
	if l.mixed = l.n4 > 0 && l.n6 > 0; l.mixed {
		l.size += (l.n + 7) / 8
	}
}

// prefixes yields the prefixes of the small record with the given header and
// body, in the order in which they were set.
func prefixes(hdr, body []byte) iter.Seq2[int, netip.Prefix] {
	return func(yield func(int, netip.Prefix) bool) {
		var l layout
		l.set(hdr)
		e4, e6, lo, order := body, body[l.at6:], body[l.atLo:], body[l.order:]
		for i := range l.n {
			var p netip.Prefix
			if l.n6 == 0 || l.mixed && order[i/8]>>(i%8)&1 == 0 {
				var a [4]byte
				binary.BigEndian.PutUint32(a[:], binary.LittleEndian.Uint32(e4))
				p = netip.PrefixFrom(netip.AddrFrom4(a), 32-int(e4[4]))
				e4 = e4[size4:]
			} else {
				var a [16]byte
				binary.BigEndian.PutUint64(a[:8], binary.LittleEndian.Uint64(e6))
				bits := 64 - int(e6[8])
				if e6[8] == wide {
					binary.BigEndian.PutUint64(a[8:], binary.LittleEndian.Uint64(lo))
					bits = 128 - int(lo[8])
					lo = lo[sizeW:]
				}
				p = netip.PrefixFrom(netip.AddrFrom16(a), bits)
				e6 = e6[size6:]
			}
			if !yield(i, p) {
				return
			}
		}
	}
}

// lookupSmall returns the index and the prefix of the most specific entry
// that contains addr, which is canonical, or an index of -1. Of equal
// entries it is the first.
func lookupSmall(hdr, body []byte, addr netip.Addr) (int, netip.Prefix) {
	best, index := netip.Prefix{}, -1
	for i, p := range prefixes(hdr, body) {
		if p.Contains(addr) && (index < 0 || p.Bits() > best.Bits()) {
			best, index = p, i
		}
	}
	return index, best
}

// queryOf is the query for an address of two halves, in IPv4-mapped form if
// it is IPv4: one comparison decides the family of all three forms.
func queryOf(hi, lo uint64) query {
	if hi == 0 && lo>>32 == 0xffff {
		return query{lo: lo & 0xffffffff, family: 4}
	}
	return query{hi: hi, lo: lo, family: 6}
}

// slowQuery is newQuery without knowing how a netip.Addr is laid out.
func slowQuery(addr netip.Addr) query {
	if !addr.IsValid() {
		return query{}
	}
	b := addr.As16()
	return queryOf(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]))
}

// matchWide returns Allowed if one of the entries of e6, n of them, is longer
// than /64 and contains the address; lo holds their lower halves.
func matchWide(e6, lo []byte, n int, q query) Verdict {
	v := Denied
	for range n {
		if e6[8] == wide {
			if binary.LittleEndian.Uint64(e6) == q.hi && (binary.LittleEndian.Uint64(lo)^q.lo)>>lo[8] == 0 {
				v = Allowed
			}
			lo = lo[sizeW:]
		}
		e6 = e6[size6:]
	}
	return v
}
