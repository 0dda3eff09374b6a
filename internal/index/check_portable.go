//go:build ipallow_safe || !(amd64 || arm64 || ppc64le)

package index

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// This is the hot path of the files *_fast.go with slices and without unsafe.

// A memory is a run of bytes, or none.
type memory struct{ mem []byte }

func newMemory(b []byte) memory { return memory{b} }

func (m memory) none() bool { return m.mem == nil }

// bytes is size of its bytes, from offset on.
func (m memory) bytes(offset, size uint32) []byte {
	return m.mem[offset:][:size:size]
}

// same reports whether m and o are the same bytes.
func (m memory) same(o memory) bool {
	return len(m.mem) == len(o.mem) && (len(m.mem) == 0 || &m.mem[0] == &o.mem[0])
}

// CopiesLabels says whether a label that Lookup returns is a copy.
const CopiesLabels = true

func textOf(b []byte) string { return string(b) }

// A rootPtr is a directory's root, or nil.
type rootPtr struct{ root []*node }

func newRootPtr(root []*node) rootPtr { return rootPtr{root} }

func (d rootPtr) same(root []*node) bool {
	return len(d.root) == len(root) && &d.root[0] == &root[0]
}

// newQuery is canon.Addr for matching.
func newQuery(addr netip.Addr) query { return slowQuery(addr) }

// Check returns the verdict on a request made with key from addr.
func (x *Index) Check(key string, addr netip.Addr) Verdict {
	if x == nil || x.dir.root == nil || !ValidKey(len(key)) {
		return x.checkSlow(key, addr)
	}
	h := x.hash.string(key)
	p := h >> (x.shift & 63)
	nd := x.dir.root[p>>nodeBits]
	t := &nd.headers[p%nodeSize]
	cell := cellAt(h, t.pilots[pilotAt(h)], t.cells)
	base := nd.base[t.base].mem
	found := (uint32(binary.LittleEndian.Uint16(base[uint64(t.tagsAt)+2*cell:]))^tagOf(h))&tagMask == 0
	if !found && t.unit != 0 {
		return Unrestricted
	}
	rec := base[uint64(t.offset)+cell*uint64(t.unit):]
	if !found || string(keyOf(rec)) != key || isLong(headerOf(rec)) {
		return x.checkSlow(key, addr)
	}
	return matchRecord(rec, addr)
}

// Prefetch does nothing here.
func (x *Index) Prefetch(*[BatchGroup]string) {}

// matchRecord returns Allowed if addr matches an entry of the small record
// rec, which recPad bytes follow.
func matchRecord(rec []byte, addr netip.Addr) Verdict {
	if headerOf(rec)&flagScan != 0 {
		return matchScan(rec, addr)
	}
	switch q := newQuery(addr); q.family {
	case 4:
		return match4(rec, uint32(q.lo))
	case 6:
		return match6(rec, q)
	}
	return Denied
}

func match4(rec []byte, a uint32) Verdict {
	l, body := layoutOf(headerOf(rec)), bodyOf(rec)
	n := l.n4
	if n == 0 {
		return Denied
	}
	starts, shifts := body[l.at4:][:4*n], body[l.shift4:][:n]
	k := 0
	for n > 1 {
		half := n >> 1
		// All ones if the entry begins at or before a.
		k += half & int((uint64(a)-uint64(binary.LittleEndian.Uint32(starts[4*(k+half):])))>>63-1)
		n -= half
	}
	d := uint64(binary.LittleEndian.Uint32(starts[4*k:])^a) >> shifts[k]
	return Verdict((d - 1) >> 63)
}

func match6(rec []byte, q query) Verdict {
	l, body := layoutOf(headerOf(rec)), bodyOf(rec)
	n := l.n6
	if n == 0 {
		return Denied
	}
	starts, shifts := body[l.at6:][:8*n], body[l.shift6:][:n]
	k := 0
	for n > 1 {
		half := n >> 1
		_, after := bits.Sub64(q.hi, binary.LittleEndian.Uint64(starts[8*(k+half):]), 0)
		k += half & int(after-1)
		n -= half
	}
	d := q.hi ^ binary.LittleEndian.Uint64(starts[8*k:])
	if shifts[k] == wide {
		return matchWide(rec, q)
	}
	d >>= shifts[k]
	return Verdict(^(d | -d) >> 63)
}
