//go:build !ipallow_safe && (amd64 || arm64 || ppc64le)

package index

import (
	"math/bits"
	"net/netip"
	"unsafe"
)

// A search finds the last entry that begins at or before the address, by arithmetic and without
// branches. A start plus ^address carries if the start is after the address, so the carries count
// the entries that are too late. (Add64 and Sub64 are written out: inlined calls leave NOPs.)
//
// There are two kinds of search and not one for each number of entries, which would be
// mispredicted:
//
//   - Few: all starts but the first are compared at once.
//   - Grouped: n is 8, 12, 16 or 20, in five groups that overlap. Group c begins n/4-1 entries
//     after group c-1, and the last one has four entries. The first starts of four groups, loaded
//     at once wherever they are, say in which group the entry is; three more starts, which entry.
//
// The two searches of each family, here and in matchPlain, are alike on purpose: one function for
// Check and Contains would cost Check 20 to 39% more instructions (docs/experiments.md).

// searchGrouped4 returns Allowed if one of n IPv4 entries contains a. step is n-4: the bytes from
// the first start of a group to that of the next.
func searchGrouped4(shifts, starts unsafe.Pointer, step int, a uint32) Verdict {
	not := ^uint64(a)
	_, c := bits.Add64(uint64(load32(starts, step)), not, 0)
	g, _ := bits.Sub64(4, 0, c)
	_, c = bits.Add64(uint64(load32(starts, 2*step)), not, 0)
	g, _ = bits.Sub64(g, 0, c)
	_, c = bits.Add64(uint64(load32(starts, 3*step)), not, 0)
	g, _ = bits.Sub64(g, 0, c)
	_, c = bits.Add64(uint64(load32(starts, 4*step)), not, 0)
	g, _ = bits.Sub64(g, 0, c)
	at := g * uint64(step)
	shifts, starts = unsafe.Add(shifts, at>>2), unsafe.Add(starts, at)
	_, c = bits.Add64(uint64(load32(starts, 4)), not, 0)
	k, _ := bits.Sub64(3, 0, c)
	_, c = bits.Add64(uint64(load32(starts, 8)), not, 0)
	k, _ = bits.Sub64(k, 0, c)
	_, c = bits.Add64(uint64(load32(starts, 12)), not, 0)
	k, _ = bits.Sub64(k, 0, c)
	v := Denied
	if uint64(load32(starts, int(4*k))^a)>>(load8(shifts, int(k))&63) == 0 {
		v = Allowed
	}
	return v
}

// searchLongest4 searches more than 20 IPv4 entries: the first 20, or the last 20 if one of these
// may match.
func searchLongest4(shifts, starts unsafe.Pointer, n int, a uint32) Verdict {
	if over := n - 20; load32(starts, 4*over) <= a {
		shifts, starts = unsafe.Add(shifts, over), unsafe.Add(starts, 4*over)
	}
	return searchGrouped4(shifts, starts, 16, a)
}

// searchFew4 returns Allowed if one of n IPv4 entries, 4 or 5, contains a.
func searchFew4(shifts, starts unsafe.Pointer, n int, a uint32) Verdict {
	not := ^uint64(a)
	_, c := bits.Add64(uint64(load32(starts, 16)), not, 0)
	k, fifth := uint64(n-1), c&uint64(n-4) // there may be four
	_, c = bits.Add64(uint64(load32(starts, 4)), not, 0)
	k, _ = bits.Sub64(k, 0, c)
	_, c = bits.Add64(uint64(load32(starts, 8)), not, 0)
	k, _ = bits.Sub64(k, 0, c)
	_, c = bits.Add64(uint64(load32(starts, 12)), not, 0)
	k, _ = bits.Sub64(k, 0, c)
	k -= fifth
	v := Denied
	if uint64(load32(starts, int(4*k))^a)>>(load8(shifts, int(k))&63) == 0 {
		v = Allowed
	}
	return v
}

// last6 has the result of searchFew6's comparisons. Its index is n<<4 and four bits: which of the
// entries n/4, n/2, n-1-n/4 and n-1 begin after the address, the first one in the highest bit.
// These are all entries but the first, for n from 1 to 5.
var last6 = func() (t [6 << 4]uint8) {
	for n := 1; n <= 5; n++ {
		for after := range 16 {
			for i, k := range []int{n / 4, n / 2, n - 1 - n/4, n - 1} {
				if after>>(3-i)&1 == 0 {
					t[n<<4+after] = uint8(k)
				}
			}
		}
	}
	return t
}()

// asWide is returned for an entry longer than /64, of which the starts have only half: matchWide
// decides.
const asWide Verdict = 0xff

// searchGrouped6 returns Allowed if one of n IPv6 entries contains an address with the upper half
// hi, or asWide. step is 2*(n-4): the bytes from the first start of a group to that of the next.
//
// The last parameter is the last start. It is not used: loading it in the caller requests the
// record's last cache line together with the others, of which the search may need the shift. It
// must not be inlined, or the load would be removed.
//
//go:noinline
func searchGrouped6(shifts, starts unsafe.Pointer, step int, hi, _ uint64) Verdict {
	not := ^hi
	_, c := bits.Add64(load64(starts, step), not, 0)
	g, _ := bits.Sub64(4, 0, c)
	_, c = bits.Add64(load64(starts, 2*step), not, 0)
	g, _ = bits.Sub64(g, 0, c)
	_, c = bits.Add64(load64(starts, 3*step), not, 0)
	g, _ = bits.Sub64(g, 0, c)
	_, c = bits.Add64(load64(starts, 4*step), not, 0)
	g, _ = bits.Sub64(g, 0, c)
	at := g * uint64(step)
	shifts, starts = unsafe.Add(shifts, at>>3), unsafe.Add(starts, at)
	_, c = bits.Add64(load64(starts, 8), not, 0)
	k, _ := bits.Sub64(3, 0, c)
	_, c = bits.Add64(load64(starts, 16), not, 0)
	k, _ = bits.Sub64(k, 0, c)
	_, c = bits.Add64(load64(starts, 24), not, 0)
	k, _ = bits.Sub64(k, 0, c)
	d, shift := hi^load64(starts, int(8*k)), load8(shifts, int(k))
	v := Denied
	if d>>(shift&63) == 0 {
		v = Allowed
	}
	if shift == wide {
		v = asWide
	}
	return v
}

// searchLongest6 searches more than 20 IPv6 entries as searchLongest4 does.
func searchLongest6(shifts, starts unsafe.Pointer, n int, hi uint64) Verdict {
	if over := n - 20; load64(starts, 8*over) <= hi {
		shifts, starts = unsafe.Add(shifts, over), unsafe.Add(starts, 8*over)
	}
	return searchGrouped6(shifts, starts, 32, hi, 0)
}

// searchFew6 returns Allowed if one of n IPv6 entries, 1 to 7, contains an address with the upper
// half hi, or asWide. Of 6 or 7 entries it searches the first 5, or the last 5 if one of these may
// match.
func searchFew6(shifts, starts unsafe.Pointer, n int, hi uint64) Verdict {
	if n > 5 {
		if over := n - 5; load64(starts, 8*over) <= hi {
			shifts, starts = unsafe.Add(shifts, over), unsafe.Add(starts, 8*over)
		}
		n = 5
	}
	not, quarter := ^hi, n>>2
	_, c := bits.Add64(load64(starts, 8*quarter), not, 0)
	at, _ := bits.Add64(uint64(n), uint64(n), c)
	_, c = bits.Add64(load64(starts, 8*(n>>1)), not, 0)
	at, _ = bits.Add64(at, at, c)
	_, c = bits.Add64(load64(starts, 8*(n-1-quarter)), not, 0)
	at, _ = bits.Add64(at, at, c)
	_, c = bits.Add64(load64(starts, 8*(n-1)), not, 0)
	at, _ = bits.Add64(at, at, c)
	k := int(load8(unsafe.Pointer(&last6), int(at)))
	d, shift := hi^load64(starts, 8*k), load8(shifts, k)
	v := Denied
	if d>>(shift&63) == 0 {
		v = Allowed
	}
	if shift == wide {
		v = asWide
	}
	return v
}

// match6Wide is matchWide for the record at rec.
func match6Wide(rec unsafe.Pointer, hi, lo uint64) Verdict {
	return matchWide(unsafe.Slice((*byte)(rec), recHeader+layoutOf(load32(rec, 0)).size), query{hi: hi, lo: lo, family: 6})
}

// matchRecord returns Allowed if an entry of rec contains addr. recPad bytes follow rec.
func matchRecord(rec []byte, addr netip.Addr) Verdict {
	if headerOf(rec)&flagScan != 0 {
		return matchScan(rec, addr)
	}
	return matchPlain(unsafe.Pointer(unsafe.SliceData(rec)), addr)
}

// matchPlain is matchRecord for a record without flagScan. Without it Contains takes twice the
// time.
func matchPlain(rec unsafe.Pointer, addr netip.Addr) Verdict {
	hdr := load32(rec, 0)
	n4, n6 := count4(hdr), count6(hdr)
	// As in layoutOf. One function for both costs Contains up to 1.04 of its time
	// (BenchmarkRepresentation).
	starts := unsafe.Add(rec, recHeader+keyLen(hdr))
	shifts := unsafe.Add(starts, 4*n4+8*n6)
	if n4 >= grouped4 || n6 >= grouped6 {
		starts, shifts = unsafe.Add(starts, n4+n6), starts
	}
	switch q := newQuery(addr); {
	case q.family == 4 && n4 > 20:
		return searchLongest4(shifts, starts, n4, uint32(q.lo))
	case q.family == 4 && n4 >= grouped4:
		return searchGrouped4(shifts, starts, n4-4, uint32(q.lo))
	case q.family == 4 && n4 > 0:
		return searchFew4(shifts, starts, n4, uint32(q.lo))
	case q.family == 6 && n6 > 0:
		shifts, starts = unsafe.Add(shifts, n4), unsafe.Add(starts, 4*n4)
		var v Verdict
		switch {
		case n6 > 20:
			v = searchLongest6(shifts, starts, n6, q.hi)
		case n6 >= grouped6:
			v = searchGrouped6(shifts, starts, 2*n6-8, q.hi, 0)
		default:
			v = searchFew6(shifts, starts, n6, q.hi)
		}
		if v == asWide {
			return match6Wide(rec, q.hi, q.lo)
		}
		return v
	}
	return Denied
}

// containsFast4 is intervals.contains without bounds checks: root has one element more than parts,
// and intervalPad points follow the last. The generic one would cost long IPv4 lists 17%.
func containsFast4(s *intervals[uint32], a uint32) Verdict {
	if a-s.first > s.width || a == ^uint32(0) {
		return s.edge(a)
	}
	root := unsafe.Add(unsafe.Pointer(unsafe.SliceData(s.root)), uint64((a-s.first)>>(s.shift&31))*4)
	k := int(load32(root, 0))
	points := unsafe.Pointer(unsafe.SliceData(s.points))
	for n := int(load32(root, 4)) - k; n > intervalPad; {
		half := n >> 1
		k += half & int((int64(load32(points, 4*(k+half-1)))+^int64(a))>>63)
		n -= half
	}
	points = unsafe.Add(points, 4*k)
	not := ^int64(a) // a point plus this is negative if it is at or before a
	before := uint64(int64(load32(points, 0))+not)>>63 + uint64(int64(load32(points, 4))+not)>>63 +
		uint64(int64(load32(points, 8))+not)>>63 + uint64(int64(load32(points, 12))+not)>>63
	return Verdict((uint64(k) + before) & 1)
}
