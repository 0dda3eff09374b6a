//go:build !ipallow_safe && (amd64 || arm64 || ppc64le)

package index

import (
	"math/bits"
	"net/netip"
	"unsafe"
)

// A search finds the last entry that begins at or before the address. Its
// steps are arithmetic and no branches. There are two kinds, for up to five entries
// and for 8 to 20, and not one for each number of entries n, which
// differs from key to key, so that it is seldom mispredicted. (Of other numbers a
// branch chooses the first or the last five, or 20.) The first one
// compares all entries but the first at once. In the second one
// n is a multiple of four, 8 to 20, and the c-th group begins n/4-1 entries
// behind the one before it; the last one has four. The first entries of four
// groups, which are loaded at once wherever they are, say which group the entry
// is in, and three others of that group which one it is. A start plus ^a carries
// if it is behind a. (That is written out each time: in the place of a call, inlined or not, the
// compiler has an instruction that does nothing.)

// searchGrouped4 returns Allowed if one of n IPv4 entries contains a; n is 8, 12, 16 or
// 20, and step is n-4: how many bytes of starts there are from one group to the next.
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

// searchLongest4 is searchGrouped4 for an n over 20: the first or the last 20 entries decide.
func searchLongest4(shifts, starts unsafe.Pointer, n int, a uint32) Verdict {
	if over := n - 20; load32(starts, 4*over) <= a {
		shifts, starts = unsafe.Add(shifts, over), unsafe.Add(starts, 4*over)
	}
	return searchGrouped4(shifts, starts, 16, a)
}

// searchFew4 is searchGrouped4 for an n of 4 or 5.
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

// last6 says which of n entries, 1 to 5, is the last one that begins at or before an
// address, by n and by which of the entries n/4, n/2, n-1-n/4 and n-1, which are all but
// the first, begin behind it: four bits, the first one the highest.
var last6 = func() (t [6 << 4]uint8) {
	for n := 1; n <= 5; n++ {
		for behind := range 16 {
			for i, k := range []int{n / 4, n / 2, n - 1 - n/4, n - 1} {
				if behind>>(3-i)&1 == 0 {
					t[n<<4+behind] = uint8(k)
				}
			}
		}
	}
	return t
}()

// asWide is what searchGrouped6 and searchFew6 return for an entry longer than /64: matchWide
// decides.
const asWide Verdict = 0xff

// searchGrouped6 returns Allowed if one of n IPv6 entries contains an address with the
// upper half hi, or asWide; n is 8, 12, 16 or 20, and step is 2*(n-4): how many
// bytes of starts there are from one group to the next. The last start is a parameter
// for no other reason than that the caller loads it: 20 entries end in a line of
// which the search needs nothing, or finds out last that it does, and so it is asked
// for with the others. (Written into its caller, as a profile might have it, the
// function would have no such load.)
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

// searchLongest6 is searchGrouped6 for an n over 20.
func searchLongest6(shifts, starts unsafe.Pointer, n int, hi uint64) Verdict {
	if over := n - 20; load64(starts, 8*over) <= hi {
		shifts, starts = unsafe.Add(shifts, over), unsafe.Add(starts, 8*over)
	}
	return searchGrouped6(shifts, starts, 32, hi, 0)
}

// searchFew6 is searchGrouped6 for an n of 1 to 7.
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

// match6Wide decides where searchGrouped6 or searchFew6 returned asWide. The record rec has the
// rest of such entries.
func match6Wide(rec unsafe.Pointer, hi, lo uint64) Verdict {
	return matchWide(unsafe.Slice((*byte)(rec), recHeader+layoutOf(load32(rec, 0)).size), query{hi: hi, lo: lo, family: 6})
}

// matchRecord returns Allowed if addr matches an entry of the small record
// rec, which recPad bytes follow.
func matchRecord(rec []byte, addr netip.Addr) Verdict {
	if headerOf(rec)&flagScan != 0 {
		return matchScan(rec, addr)
	}
	return matchPlain(unsafe.Pointer(unsafe.SliceData(rec)), addr)
}

// matchPlain is matchRecord for a record that is not marked flagScan.
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

// containsFast4 is contains for IPv4 addresses, without checks of bounds: root has an
// element for each part and one more, and intervalPad points stand behind the last.
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
