//go:build !ipallow_safe && (amd64 || arm64 || ppc64le)

package index

import (
	"net/netip"
	"runtime"
	"unsafe"
)

// Check returns the verdict on a request made with key from addr.
func (s *Index) Check(key string, addr netip.Addr) Verdict {
	n := len(key)
	if s == nil || s.dir.root == nil || uint(n-16) > maxFastKey-16 {
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
	line := unsafe.Add(nd, uintptr(p%nodeSize)*unsafe.Sizeof(header{}))
	base := *(*unsafe.Pointer)(unsafe.Add(nd, uintptr(load8(line, atBase))*unsafe.Sizeof(memory{})))
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
			// As in layoutOf. Branches, so that searchFew4 loads the starts before the tag
			// is there.
			if n4 >= grouped4 {
				if n4 > 20 {
					return searchLongest4(recEnd, unsafe.Add(recEnd, n4+n6), n4, uint32(lo))
				}
				return searchGrouped4(recEnd, unsafe.Add(recEnd, n4+n6), n4-4, uint32(lo))
			}
			if tag&tagGrouped == 0 {
				return searchFew4(unsafe.Add(recEnd, 4*n4+8*n6), recEnd, n4, uint32(lo))
			}
			return searchFew4(recEnd, unsafe.Add(recEnd, n4+n6), n4, uint32(lo))
		}
	} else if n6 != 0 {
		if !addr.IsValid() {
			return Denied
		}
		var v Verdict
		switch {
		case n6 > 20:
			v = searchLongest6(unsafe.Add(recEnd, n4), unsafe.Add(recEnd, 5*n4+n6), n6, hi)
		case n6 >= grouped6:
			starts := unsafe.Add(recEnd, 5*n4+n6)
			v = searchGrouped6(unsafe.Add(recEnd, n4), starts, 2*n6-8, hi, load64(unsafe.Add(starts, 8*n6), -8))
		case tag&tagGrouped == 0:
			v = searchFew6(unsafe.Add(recEnd, 5*n4+8*n6), unsafe.Add(recEnd, 4*n4), n6, hi)
		default:
			v = searchFew6(unsafe.Add(recEnd, n4), unsafe.Add(recEnd, 5*n4+n6), n6, hi)
		}
		if v == asWide {
			return match6Wide(rec, hi, lo)
		}
		return v
	}
	if !isLong(load32(rec, 0)) {
		return Denied
	}
	// From line, so that p is not kept until here for all the others.
	place := (uintptr(line) - uintptr(nd)) / unsafe.Sizeof(header{})
	lists := (*node)(nd).more[place].long
	l := lists[0].longList
	if i := load32(recEnd, 0); i != 0 { // seldom, and where it is not, nothing below waits for the record
		l = lists[i].longList
	}
	if hi == 0 && lo>>32 == 0xffff {
		return containsFast4(&l.in4, uint32(lo))
	}
	if addr.IsValid() && l.contains6(hi, lo) {
		return Allowed
	}
	return Denied
}

// Where the tables of a node's first place are in the node.
const (
	atHeaders = int(unsafe.Offsetof(node{}.headers))
	atOffset  = atHeaders + int(unsafe.Offsetof(header{}.offset))
	atTags    = atHeaders + int(unsafe.Offsetof(header{}.tagsAt))
	atCells   = atHeaders + int(unsafe.Offsetof(header{}.cells))
	atUnit    = atHeaders + int(unsafe.Offsetof(header{}.unit))
	atBase    = atHeaders + int(unsafe.Offsetof(header{}.base))
	atPilots  = atHeaders + int(unsafe.Offsetof(header{}.pilots))
)

// maxFastKey is the longest key that Check has its short way for. Longer ones are
// rare, and the two loops for them would cost all others some registers.
const maxFastKey = 48

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
	if hdr := load32(rec, 0); int(hdr>>hdrKeyLen) != n || isLong(hdr) || unsafe.String((*byte)(unsafe.Add(rec, recHeader)), n) != key {
		return s.checkSlow(key, addr)
	}
	return matchPlain(rec, addr)
}

// locate returns the tables for the hash h, and where the tag of its cell is
// and a record would begin in that cell.
func (s *Index) locate(h uint64) (t *header, tag, rec unsafe.Pointer) {
	p := h >> (s.shift & 63)
	nd := *(**node)(unsafe.Add(s.dir.root, p>>nodeBits*uint64(unsafe.Sizeof(s.dir.root))))
	t = &nd.headers[p%nodeSize]
	base := baseOf(unsafe.Pointer(nd), t)
	cell := cellAt(h, t.pilots[pilotAt(h)], t.cells)
	return t, unsafe.Add(base, uint64(t.tagsAt)+cell*2), unsafe.Add(base, uint64(t.offset)+cell*uint64(t.unit))
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
