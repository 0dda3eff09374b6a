//go:build !ipallow_safe && (amd64 || arm64 || ppc64le)

package index

import (
	"math/bits"
	"net/netip"
	"runtime"
	"unsafe"
)

// This is the one file with unsafe in it, and all of the hot path, for
// processors that are little endian and load from any address. Its safe twin
// is safe.go, for all others and under the build tag ipallow_safe; every test
// runs against both. Without unsafe, Check costs half as much again, for three reasons
// that docs/performance.md gives figures for: slices are wider than pointers,
// so the directory is twice as large; every load has a bounds check; and
// netip.Addr.As16 goes through memory in a way that stalls the processor
// until all loads before it have come back, cache misses included.
//
// What makes the loads safe:
//   - A place's base and offset are where the records of its shard begin, which are
//     never written after it was built: unit times cells bytes, and recPad more.
//     base and tagsAt are where their tags begin, two bytes a cell.
//     cellAt is under the number of cells; with none it is 0, and there is
//     one tag, of 0.
//   - A tag whose lowest bits are those of tagOf is that of a record, which
//     begins at its cell and has n4 and n6 as the tag says, and a record's
//     header says how long its other parts are, which shardBuilder wrote and
//     CheckInvariants verifies. recPad bytes behind the last record may be read
//     too.
//   - The directory has 1<<(64-shift) places in nodes of nodeSize.
//   - netip.Addr is two words of address and one of family and zone, in that
//     order. init verifies it, and falls back to As16 if it ever changes.

// A hotMem is a run of bytes without its length, or none.
type hotMem struct{ mem unsafe.Pointer }

func newHotMem(b []byte) hotMem { return hotMem{unsafe.Pointer(unsafe.SliceData(b))} }

func (m hotMem) none() bool { return m.mem == nil }

// bytes is size of its bytes, from offset on.
func (m hotMem) bytes(offset, size uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(m.mem, offset)), size)
}

// same reports whether m and o are the same bytes.
func (m hotMem) same(o hotMem) bool { return m == o }

// baseOf is the base of the tables t in the node nd. put and CheckInvariants
// see to it that t.base is less than len(node.base).
func baseOf(nd unsafe.Pointer, t *tables) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Add(nd, uintptr(t.base)*unsafe.Sizeof(hotMem{})))
}

// CopiesLabels says whether a label that Lookup returns is a copy.
const CopiesLabels = false

// textOf returns b, which is never written again, as a string without copying it.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// A hotDir is the first element of a directory's root. It is nil where Check
// must take the long way: before the first load, or if a netip.Addr is not
// what this file knows.
type hotDir struct{ root unsafe.Pointer }

func newHotDir(root []*node) hotDir {
	if !addrIsWords {
		return hotDir{}
	}
	return hotDir{unsafe.Pointer(unsafe.SliceData(root))}
}

func (d hotDir) same(root []*node) bool { return d == newHotDir(root) }

// addrIsWords says that a netip.Addr begins with the two halves of its
// address, IPv4 ones in IPv4-mapped form.
var addrIsWords = func() bool {
	words := func(s string) [2]uint64 {
		a := netip.MustParseAddr(s)
		hi, lo := addrWords(&a)
		return [2]uint64{hi, lo}
	}
	return unsafe.Sizeof(netip.Addr{}) >= 16 &&
		words("192.0.2.1") == [2]uint64{0, 0xffff_c000_0201} &&
		words("::ffff:192.0.2.1") == [2]uint64{0, 0xffff_c000_0201} &&
		words("2001:db8:1:2:3:4:5:6") == [2]uint64{0x2001_0db8_0001_0002, 0x0003_0004_0005_0006} &&
		words("fe80::1%eth0") == [2]uint64{0xfe80 << 48, 1}
}()

// addrWords loads the halves one by one: as an array of two they would be one
// load of 16 bytes from two stores of 8, which stalls.
func addrWords(a *netip.Addr) (hi, lo uint64) {
	return *(*uint64)(unsafe.Pointer(a)), *(*uint64)(unsafe.Add(unsafe.Pointer(a), 8))
}

// newQuery is canon.Addr for matching.
func newQuery(addr netip.Addr) query {
	if !addr.IsValid() {
		return query{}
	}
	if !addrIsWords {
		return slowQuery(addr)
	}
	return queryOf(addrWords(&addr))
}

func load64(p unsafe.Pointer, i int) uint64 { return *(*uint64)(unsafe.Add(p, i)) }

// loadInt is load64 for comparing. The compiler does not take a load of this type for one
// of the other: it compares with memory and keeps no words of the key on the
// stack from the hash on.
func loadInt(p unsafe.Pointer, i int) int64 { return *(*int64)(unsafe.Add(p, i)) }

func load32(p unsafe.Pointer, i int) uint32 { return *(*uint32)(unsafe.Add(p, i)) }
func load16(p unsafe.Pointer, i int) uint16 { return *(*uint16)(unsafe.Add(p, i)) }
func load8(p unsafe.Pointer, i int) uint8   { return *(*uint8)(unsafe.Add(p, i)) }

// Check returns the verdict on a request made with key from addr.
func (s *Index) Check(key string, addr netip.Addr) Verdict {
	n := len(key)
	if s == nil || s.dir.root == nil || uint(n-16) > maxShort-16 {
		return s.checkOther(key, addr)
	}
	k := unsafe.Pointer(unsafe.StringData(key))

	// hasher.bytes, written out.
	seeds := &s.hash.seeds
	h := fold(load64(k, 0)^seeds[0], load64(k, 8)^seeds[1]) ^ fold(load64(k, n-16)^seeds[2], load64(k, n-8)^seeds[3])
	if n > 32 {
		h ^= fold(load64(k, 16)^seeds[4], load64(k, 24)^seeds[5])
	}
	h = (h ^ uint64(n)) & s.hash.mask

	p := h >> (s.shift & 63)
	nd := *(*unsafe.Pointer)(unsafe.Add(s.dir.root, p>>nodeBits*uint64(unsafe.Sizeof(s.dir.root))))
	// line is as far from nd as the tables of the place from those of the first.
	line := unsafe.Add(nd, uintptr(p%nodeSize)*unsafe.Sizeof(tables{}))
	base := *(*unsafe.Pointer)(unsafe.Add(nd, uintptr(load8(line, atBase))*unsafe.Sizeof(hotMem{})))
	cell := cellAt(h, load8(unsafe.Add(line, pilotAt(h)), atPilots), load16(line, atCells))
	tag := uint32(load16(unsafe.Add(base, uint64(load32(line, atTags))+cell*2), 0))
	if (tag^(uint32(h)|1))&tagMask != 0 {
		if load16(line, atUnit) != 0 {
			return Unrestricted
		}
		return s.checkSlow(key, addr)
	}
	rec := unsafe.Add(base, uint64(load32(line, atOffset))+cell*uint64(load16(line, atUnit)))
	if load16(rec, hdrKeyLen/8) != uint16(n) {
		return s.checkSlow(key, addr)
	}
	// Branches and not one sum of differences: they are always predicted, and
	// so fewer instructions.
	last, recEnd := unsafe.Add(k, n-1), unsafe.Add(rec, recHeader+n)
	if loadInt(rec, recHeader) != loadInt(k, 0) || loadInt(rec, recHeader+8) != loadInt(k, 8) ||
		loadInt(recEnd, -16) != loadInt(last, -15) || loadInt(recEnd, -8) != loadInt(last, -7) ||
		n > 32 && (loadInt(rec, recHeader+16) != loadInt(k, 16) || loadInt(rec, recHeader+24) != loadInt(k, 24)) {
		return s.checkSlow(key, addr)
	}
	n4, n6 := int(tag>>tagN4&hdrCount), int(tag>>tagN6)
	hi, lo := addrWords(&addr)
	if hi == 0 && lo>>32 == 0xffff {
		if n4 != 0 {
			// As in layoutOf. Branches, so that few4 loads the starts before the tag
			// is there.
			if n4 >= grouped4 {
				if n4 > 20 {
					return most4(recEnd, unsafe.Add(recEnd, n4+n6), n4, uint32(lo))
				}
				return many4(recEnd, unsafe.Add(recEnd, n4+n6), n4-4, uint32(lo))
			}
			if tag&tagGrouped == 0 {
				return few4(unsafe.Add(recEnd, 4*n4+8*n6), recEnd, n4, uint32(lo))
			}
			return few4(recEnd, unsafe.Add(recEnd, n4+n6), n4, uint32(lo))
		}
	} else if n6 != 0 {
		if !addr.IsValid() {
			return Denied
		}
		var v Verdict
		switch {
		case n6 > 20:
			v = most6(unsafe.Add(recEnd, n4), unsafe.Add(recEnd, 5*n4+n6), n6, hi)
		case n6 >= grouped6:
			starts := unsafe.Add(recEnd, 5*n4+n6)
			v = many6(unsafe.Add(recEnd, n4), starts, 2*n6-8, hi, load64(unsafe.Add(starts, 8*n6), -8))
		case tag&tagGrouped == 0:
			v = few6(unsafe.Add(recEnd, 5*n4+8*n6), unsafe.Add(recEnd, 4*n4), n6, hi)
		default:
			v = few6(unsafe.Add(recEnd, n4), unsafe.Add(recEnd, 5*n4+n6), n6, hi)
		}
		if v == asWide {
			return match6Wide(rec, hi, lo)
		}
		return v
	}
	if !isLarge(load32(rec, 0)) {
		return Denied
	}
	// From line, so that p is not kept until here for all the others.
	place := (uintptr(line) - uintptr(nd)) / unsafe.Sizeof(tables{})
	lists := (*node)(nd).more[place].large
	l := lists[0].large
	if i := load32(recEnd, 0); i != 0 { // seldom, and where it is not, nothing below waits for the record
		l = lists[i].large
	}
	if hi == 0 && lo>>32 == 0xffff {
		return check4(&l.in4, uint32(lo))
	}
	if addr.IsValid() && l.contains6(hi, lo) {
		return Allowed
	}
	return Denied
}

// Where the tables of a node's first place are in the node.
const (
	atTables = int(unsafe.Offsetof(node{}.tables))
	atOffset = atTables + int(unsafe.Offsetof(tables{}.offset))
	atTags   = atTables + int(unsafe.Offsetof(tables{}.tagsAt))
	atCells  = atTables + int(unsafe.Offsetof(tables{}.cells))
	atUnit   = atTables + int(unsafe.Offsetof(tables{}.unit))
	atBase   = atTables + int(unsafe.Offsetof(tables{}.base))
	atPilots = atTables + int(unsafe.Offsetof(tables{}.pilots))
)

// maxShort is the longest key that Check has its short way for. Longer ones are
// rare, and the two loops for them would cost all others some registers.
const maxShort = 48

// checkOther is Check for keys that are too short or too long for its short
// way, and where it has none.
func (s *Index) checkOther(key string, addr netip.Addr) Verdict {
	n := len(key)
	if s == nil || s.dir.root == nil || !ValidKey(n) {
		return s.checkSlow(key, addr)
	}
	h := s.hash.string(key)
	t, tag, rec := s.locate(h)
	if (uint32(load16(tag, 0))^(uint32(h)|1))&tagMask != 0 {
		if t.unit != 0 {
			return Unrestricted
		}
		return s.checkSlow(key, addr)
	}
	if hdr := load32(rec, 0); int(hdr>>hdrKeyLen) != n || isLarge(hdr) || unsafe.String((*byte)(unsafe.Add(rec, recHeader)), n) != key {
		return s.checkSlow(key, addr)
	}
	return matchPlain(rec, addr)
}

// locate returns the tables for the hash h, and where the tag of its cell is
// and a record would begin in that cell.
func (s *Index) locate(h uint64) (t *tables, tag, rec unsafe.Pointer) {
	p := h >> (s.shift & 63)
	nd := *(**node)(unsafe.Add(s.dir.root, p>>nodeBits*uint64(unsafe.Sizeof(s.dir.root))))
	t = &nd.tables[p%nodeSize]
	base := baseOf(unsafe.Pointer(nd), t)
	cell := cellAt(h, t.pilots[pilotAt(h)], t.cells)
	return t, unsafe.Add(base, uint64(t.tagsAt)+cell*2), unsafe.Add(base, uint64(t.offset)+cell*uint64(t.unit))
}

// check4 is contains for IPv4 addresses, without checks of bounds: root has an
// element for each part and one more, and spanPad points stand behind the last.
func check4(s *spans[uint32], a uint32) Verdict {
	if a-s.first > s.width || a == ^uint32(0) {
		return s.edge(a)
	}
	root := unsafe.Add(unsafe.Pointer(unsafe.SliceData(s.root)), uint64((a-s.first)>>(s.shift&31))*4)
	k := int(load32(root, 0))
	points := unsafe.Pointer(unsafe.SliceData(s.points))
	for n := int(load32(root, 4)) - k; n > spanPad; {
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

// Prefetch loads the tag of each key and a byte from each line of its cell, so that the
// processor waits for all of them together and not for one after another in Check.
func (s *Index) Prefetch(keys *[BatchGroup]string) {
	if s == nil || s.dir.root == nil {
		return
	}
	loaded := uint8(0)
	for _, key := range keys {
		h := uint64(0) // Check denies what is no key, and looks nowhere
		if ValidKey(len(key)) {
			h = s.hash.string(key)
		}
		t, tag, rec := s.locate(h)
		loaded += load8(tag, 0) + load8(rec, recHeader)
		for at := 2 * lineSize; at <= int(t.unit); at += lineSize {
			loaded += load8(rec, at-lineSize+recHeader)
		}
	}
	runtime.KeepAlive(loaded) // or the compiler would leave the loads out
}

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

// many4 returns Allowed if one of n IPv4 entries contains a; n is 8, 12, 16 or
// 20, and step is n-4: how many bytes of starts there are from one group to the next.
func many4(shifts, starts unsafe.Pointer, step int, a uint32) Verdict {
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

// most4 is many4 for an n over 20: the first or the last 20 entries decide.
func most4(shifts, starts unsafe.Pointer, n int, a uint32) Verdict {
	if over := n - 20; load32(starts, 4*over) <= a {
		shifts, starts = unsafe.Add(shifts, over), unsafe.Add(starts, 4*over)
	}
	return many4(shifts, starts, 16, a)
}

// few4 is many4 for an n of 4 or 5.
func few4(shifts, starts unsafe.Pointer, n int, a uint32) Verdict {
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

// asWide is what many6 and few6 return for an entry longer than /64: matchWide
// decides.
const asWide Verdict = 0xff

// many6 returns Allowed if one of n IPv6 entries contains an address with the
// upper half hi, or asWide; n is 8, 12, 16 or 20, and step is 2*(n-4): how many
// bytes of starts there are from one group to the next. The last start is a parameter
// for no other reason than that the caller loads it: 20 entries end in a line of
// which the search needs nothing, or finds out last that it does, and so it is asked
// for with the others. (Written into its caller, as a profile might have it, the
// function would have no such load.)
//
//go:noinline
func many6(shifts, starts unsafe.Pointer, step int, hi, _ uint64) Verdict {
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

// most6 is many6 for an n over 20.
func most6(shifts, starts unsafe.Pointer, n int, hi uint64) Verdict {
	if over := n - 20; load64(starts, 8*over) <= hi {
		shifts, starts = unsafe.Add(shifts, over), unsafe.Add(starts, 8*over)
	}
	return many6(shifts, starts, 32, hi, 0)
}

// few6 is many6 for an n of 1 to 7.
func few6(shifts, starts unsafe.Pointer, n int, hi uint64) Verdict {
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

// match6Wide decides where many6 or few6 returned asWide. The record rec has the
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
		return most4(shifts, starts, n4, uint32(q.lo))
	case q.family == 4 && n4 >= grouped4:
		return many4(shifts, starts, n4-4, uint32(q.lo))
	case q.family == 4 && n4 > 0:
		return few4(shifts, starts, n4, uint32(q.lo))
	case q.family == 6 && n6 > 0:
		shifts, starts = unsafe.Add(shifts, n4), unsafe.Add(starts, 4*n4)
		var v Verdict
		switch {
		case n6 > 20:
			v = most6(shifts, starts, n6, q.hi)
		case n6 >= grouped6:
			v = many6(shifts, starts, 2*n6-8, q.hi, 0)
		default:
			v = few6(shifts, starts, n6, q.hi)
		}
		if v == asWide {
			return match6Wide(rec, q.hi, q.lo)
		}
		return v
	}
	return Denied
}
