//go:build !ipallow_safe && (amd64 || arm64 || ppc64le)

package index

import (
	"net/netip"
	"runtime"
	"unsafe"
)

// Check returns the verdict on a request made with key from addr. Its steps have the numbers of the
// drawing in the package's document.
func (x *Index) Check(key string, addr netip.Addr) Verdict {
	n := len(key)
	if x == nil || x.dir.root == nil || uint(n-16) > maxFastKey-16 {
		return x.checkOther(key, addr)
	}
	k := unsafe.Pointer(unsafe.StringData(key))

	// (1) The hash: hasher.bytes, inlined.
	seeds := &x.hash.seeds
	h := fold(load64(k, 0)^seeds[0], load64(k, 8)^seeds[1]) ^ fold(load64(k, n-16)^seeds[2], load64(k, n-8)^seeds[3])
	if n > 32 {
		h ^= fold(load64(k, 16)^seeds[4], load64(k, 24)^seeds[5])
	}
	h = (h ^ uint64(n)) & x.hash.mask

	// (2) The slot, and its node.
	p := h >> (x.shift & 63)
	nd := *(*unsafe.Pointer)(unsafe.Add(x.dir.root, p>>nodeBits*uint64(unsafe.Sizeof(x.dir.root))))

	// (3) The header of the slot's shard. head is as far from nd as that is from the first one.
	head := unsafe.Add(nd, uintptr(p%nodeSize)*unsafe.Sizeof(header{}))
	base := *(*unsafe.Pointer)(unsafe.Add(nd, uintptr(load8(head, atBase))*unsafe.Sizeof(memory{})))

	// (4) The pilot gives the cell, and the cell's tag says whether the key can have a record.
	cell := cellAt(h, load8(unsafe.Add(head, pilotAt(h)), atPilots), load16(head, atCells))
	tag := uint32(load16(unsafe.Add(base, uint64(load32(head, atTags))+cell*2), 0))
	if (tag^(uint32(h)|1))&tagMask != 0 {
		if load16(head, atUnit) != 0 {
			return Unrestricted
		}
		return x.checkSlow(key, addr)
	}

	// (5) The record, and the key in it. Branches are always predicted here, and fewer instructions
	// than one XOR of all words.
	rec := unsafe.Add(base, uint64(load32(head, atOffset))+cell*uint64(load16(head, atUnit)))
	if load16(rec, hdrKeyLen/8) != uint16(n) {
		return x.checkSlow(key, addr)
	}
	last, recEnd := unsafe.Add(k, n-1), unsafe.Add(rec, recHeader+n)
	if loadInt(rec, recHeader) != loadInt(k, 0) || loadInt(rec, recHeader+8) != loadInt(k, 8) ||
		loadInt(recEnd, -16) != loadInt(last, -15) || loadInt(recEnd, -8) != loadInt(last, -7) ||
		n > 32 && (loadInt(rec, recHeader+16) != loadInt(k, 16) || loadInt(rec, recHeader+24) != loadInt(k, 24)) {
		return x.checkSlow(key, addr)
	}

	// (6) The search. The numbers of entries come from the tag, so that all cache lines of a long
	// record are requested at once. IPv4 is found in its IPv4-mapped form.
	n4, n6 := int(tag>>tagN4&hdrCount), int(tag>>tagN6)
	hi, lo := addrWords(&addr)
	if hi == 0 && lo>>32 == 0xffff {
		if n4 != 0 {
			// As in layoutOf, with branches, so that searchFew4 can load the starts before the
			// tag has come.
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

	// A long list. The slot is computed from head, since p is in no register any more. The first
	// list is the usual one, and is loaded without waiting for the record.
	slot := (uintptr(head) - uintptr(nd)) / unsafe.Sizeof(header{})
	lists := (*node)(nd).more[slot].long
	l := lists[0].longList
	if i := load32(recEnd, 0); i != 0 {
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

// Offsets of the fields of a node's first header.
const (
	atHeaders = int(unsafe.Offsetof(node{}.headers))
	atOffset  = atHeaders + int(unsafe.Offsetof(header{}.offset))
	atTags    = atHeaders + int(unsafe.Offsetof(header{}.tagsAt))
	atCells   = atHeaders + int(unsafe.Offsetof(header{}.cells))
	atUnit    = atHeaders + int(unsafe.Offsetof(header{}.unit))
	atBase    = atHeaders + int(unsafe.Offsetof(header{}.base))
	atPilots  = atHeaders + int(unsafe.Offsetof(header{}.pilots))
)

// maxFastKey is the longest key on the fast path; the shortest has 16 bytes. Two loops for longer
// keys would cost all others some registers.
const maxFastKey = 48

// checkOther is Check for keys of other lengths, and where the index is empty or not loaded.
func (x *Index) checkOther(key string, addr netip.Addr) Verdict {
	n := len(key)
	if x == nil || x.dir.root == nil || !ValidKey(n) {
		return x.checkSlow(key, addr)
	}
	h := x.hash.string(key)
	t, tag, rec := x.locate(h)
	if (uint32(load16(tag, 0))^(uint32(h)|1))&tagMask != 0 {
		if t.unit != 0 {
			return Unrestricted
		}
		return x.checkSlow(key, addr)
	}
	if hdr := load32(rec, 0); int(hdr>>hdrKeyLen) != n || isLong(hdr) || unsafe.String((*byte)(unsafe.Add(rec, recHeader)), n) != key {
		return x.checkSlow(key, addr)
	}
	return matchPlain(rec, addr)
}

// locate returns the header of the shard of hash h, the tag of its cell, and where the record in
// that cell would begin.
func (x *Index) locate(h uint64) (t *header, tag, rec unsafe.Pointer) {
	p := h >> (x.shift & 63)
	nd := *(**node)(unsafe.Add(x.dir.root, p>>nodeBits*uint64(unsafe.Sizeof(x.dir.root))))
	t = &nd.headers[p%nodeSize]
	base := baseOf(unsafe.Pointer(nd), t)
	cell := cellAt(h, t.pilots[pilotAt(h)], t.cells)
	return t, unsafe.Add(base, uint64(t.tagsAt)+cell*2), unsafe.Add(base, uint64(t.offset)+cell*uint64(t.unit))
}

// Prefetch loads the tag of each key and a byte of each cache line of its cell. The loads do not
// depend on each other, so their cache misses overlap (memory-level parallelism), and the Checks
// that follow find the lines in the cache.
func (x *Index) Prefetch(keys *[BatchGroup]string) {
	if x == nil || x.dir.root == nil {
		return
	}
	loaded := uint8(0)
	for _, key := range keys {
		h := uint64(0) // Check denies a key that is too long, and reads nothing
		if ValidKey(len(key)) {
			h = x.hash.string(key)
		}
		t, tag, rec := x.locate(h)
		loaded += load8(tag, 0) + load8(rec, recHeader)
		for at := 2 * lineSize; at <= int(t.unit); at += lineSize {
			loaded += load8(rec, at-lineSize+recHeader)
		}
	}
	runtime.KeepAlive(loaded) // or the compiler would leave the loads out
}
