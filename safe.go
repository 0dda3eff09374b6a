//go:build ipallow_safe || !(amd64 || arm64 || ppc64le)

package ipallow

import (
	"encoding/binary"
	"net/netip"
)

// This is the safe twin of fast.go: the same hot path with slices.

type hotShard struct {
	table, blob  []byte
	mask, probes uint32
}

func (s *shard) hot() hotShard { return hotShard{s.table, s.blob, s.mask, s.probes} }

// same reports whether h is the copy of s.
func (h *hotShard) same(s *shard) bool {
	return &h.table[0] == &s.table[0] && len(h.table) == len(s.table) &&
		&h.blob[0] == &s.blob[0] && len(h.blob) == len(s.blob) &&
		h.mask == s.mask && h.probes == s.probes
}

// A hotDir is a directory's root, or nil.
type hotDir struct{ root []*node }

func newHotDir(root []*node) hotDir { return hotDir{root} }

func (d hotDir) open() bool { return d.root != nil }

func (d hotDir) same(root []*node) bool {
	return len(d.root) == len(root) && &d.root[0] == &root[0]
}

// newQuery is canonicalAddr for matching.
func newQuery(addr netip.Addr) query { return slowQuery(addr) }

// Check returns the verdict on a request made with key from addr. See
// [Engine.Check].
func (s *Snapshot) Check(key string, addr netip.Addr) Verdict {
	if s == nil || !s.dir.open() {
		return Denied
	}
	if len(key) == 0 || len(key) > MaxKeyLen {
		return Unrestricted
	}
	h := s.hash.string(key)
	p := h >> (s.shift & 63)
	nd := s.dir.root[p>>nodeBits]
	hot := &nd.hot[p%nodeSize]
	i := home(h, hot.table[(hot.mask+1)*slotSize+shiftAt(h, hot.mask)])
	for last := i + hot.probes; ; i++ {
		slot := binary.LittleEndian.Uint32(hot.table[(i&hot.mask)*slotSize:])
		if (slot^uint32(h))&^offsetMask == 0 && slot&offsetMask != 0 {
			rec := hot.blob[slot&offsetMask-1:]
			if string(keyOf(rec)) == key {
				return nd.shards[p%nodeSize].check(rec, addr)
			}
		}
		if i == last {
			return Unrestricted
		}
	}
}

// matchBody returns Allowed if addr matches an entry of the small record with
// the header hdr and the given body, which recPad bytes follow.
func matchBody(hdr *[recHeader]byte, body []byte, addr netip.Addr) Verdict {
	switch q := newQuery(addr); {
	case q.family == 4:
		return match4(body, int(hdr[recN4]), uint32(q.lo))
	case q.family == 0:
		return Denied
	case hdr[recFlags]&flagAll6 != 0:
		return Allowed
	default:
		return match6(body[size4*int(hdr[recN4]):], int(hdr[recN6]), q)
	}
}

func match4(e []byte, n int, a uint32) Verdict {
	var hit uint64
	for range n {
		w := binary.LittleEndian.Uint64(e)
		// The top bit is set if the shifted difference is 0, and only then.
		hit |= uint64(uint32(w)^a)>>(w>>32&63) - 1
		e = e[size4:]
	}
	return Verdict(hit >> 63)
}

func match6(e []byte, n int, q query) Verdict {
	e6 := e
	var hits uint64
	for range n {
		d := (binary.LittleEndian.Uint64(e) ^ q.hi) >> (e[8] & 63)
		// Bit 0 if this entry matches, bit 1 if it is a wide one that may.
		hits |= (^(d | -d) >> 63) << (e[8] >> 7)
		e = e[size6:]
	}
	if hits < 2 || hits&1 != 0 {
		return Verdict(hits & 1)
	}
	return matchWide(e6, e, n, q)
}
