//go:build !ipallow_safe && (amd64 || arm64 || ppc64le)

package ipallow

import (
	"net/netip"
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
//   - A hotShard has the table, blob, mask and probes of one shard, which is
//     never written after it was built. Slots and shifts are found under the
//     mask that the table was made for.
//   - A slot has the offset of a record in the same shard's blob, and a
//     record's header says how long its parts are, which shardBuilder wrote
//     and checkInvariants verifies. recPad bytes behind the last record may
//     be read too.
//   - The directory has 1<<(64-shift) places in nodes of nodeSize.
//   - netip.Addr is two words of address and one of family and zone, in that
//     order. init verifies it, and falls back to As16 if it ever changes.

type hotShard struct {
	table, blob  unsafe.Pointer
	mask, probes uint32
}

func (s *shard) hot() hotShard {
	return hotShard{
		table:  unsafe.Pointer(unsafe.SliceData(s.table)),
		blob:   unsafe.Pointer(unsafe.SliceData(s.blob)),
		mask:   s.mask,
		probes: s.probes,
	}
}

// same reports whether h is the copy of s.
func (h *hotShard) same(s *shard) bool { return *h == s.hot() }

// A hotDir is the first element of a directory's root, or nil.
type hotDir struct{ root unsafe.Pointer }

func newHotDir(root []*node) hotDir { return hotDir{unsafe.Pointer(unsafe.SliceData(root))} }

func (d hotDir) open() bool { return d.root != nil }

func (d hotDir) same(root []*node) bool { return d == newHotDir(root) }

// addrIsWords says that a netip.Addr begins with the two halves of its
// address, IPv4 ones in IPv4-mapped form.
var addrIsWords = func() bool {
	words := func(s string) [2]uint64 { a := netip.MustParseAddr(s); return addrWords(&a) }
	return unsafe.Sizeof(netip.Addr{}) >= 16 &&
		words("192.0.2.1") == [2]uint64{0, 0xffff_c000_0201} &&
		words("::ffff:192.0.2.1") == [2]uint64{0, 0xffff_c000_0201} &&
		words("2001:db8:1:2:3:4:5:6") == [2]uint64{0x2001_0db8_0001_0002, 0x0003_0004_0005_0006} &&
		words("fe80::1%eth0") == [2]uint64{0xfe80 << 48, 1}
}()

func addrWords(a *netip.Addr) [2]uint64 { return *(*[2]uint64)(unsafe.Pointer(a)) }

// newQuery is canonicalAddr for matching.
func newQuery(addr netip.Addr) query {
	if !addr.IsValid() {
		return query{}
	}
	if !addrIsWords {
		return slowQuery(addr)
	}
	w := addrWords(&addr)
	return queryOf(w[0], w[1])
}

func load64(p unsafe.Pointer, i int) uint64 { return *(*uint64)(unsafe.Add(p, i)) }
func load32(p unsafe.Pointer, i int) uint32 { return *(*uint32)(unsafe.Add(p, i)) }
func load8(p unsafe.Pointer, i int) uint8   { return *(*uint8)(unsafe.Add(p, i)) }

// Check returns the verdict on a request made with key from addr. See
// [Engine.Check].
func (s *Snapshot) Check(key string, addr netip.Addr) Verdict {
	if s == nil || s.dir.root == nil {
		return Denied
	}
	n := len(key)
	k := unsafe.Pointer(unsafe.StringData(key))
	if uint(n-8) > MaxKeyLen-8 {
		if n == 0 || n > MaxKeyLen {
			return Unrestricted
		}
		return s.checkShort(key, addr)
	}

	// hasher.bytes, written out.
	x := s.hash.seed0
	for i := 0; i < n-16; i += 16 {
		x = fold(load64(k, i)^s.hash.seed1, load64(k, i+8)^x)
	}
	h := fold(fold(load64(k, max(n-16, 0))^s.hash.seed1, load64(k, n-8)^x)^uint64(n), s.hash.seed0^s.hash.seed1) & s.hash.mask

	p := h >> (s.shift & 63)
	nd := *(**node)(unsafe.Add(s.dir.root, p>>nodeBits*uint64(unsafe.Sizeof(s.dir.root))))
	hot := &nd.hot[p%nodeSize]
	i := home(h, load8(hot.table, int((uintptr(hot.mask)+1)*slotSize+uintptr(shiftAt(h, hot.mask)))))
	for probes := hot.probes; ; i++ {
		slot := load32(hot.table, int(i&hot.mask)*slotSize)
		if (slot^uint32(h))&^offsetMask == 0 && slot&offsetMask != 0 {
			rec := unsafe.Add(hot.blob, slot&offsetMask-1)
			hdr := load64(rec, 0)
			if int(hdr&0xffff) == n && sameKey(unsafe.Add(rec, recHeader), k, n) {
				body := unsafe.Add(rec, recHeader+n)
				if hdr>>(8*recFlags)&(flagLarge|flagAll6) != 0 || !addrIsWords {
					sh := nd.shards[p%nodeSize]
					return sh.check(sh.blob[slot&offsetMask-1:], addr)
				}
				w := addrWords(&addr)
				if w[0] == 0 && w[1]>>32 == 0xffff {
					return match4(body, int(hdr>>(8*recN4)&0xff), uint32(w[1]))
				}
				return match6(body, hdr, addr)
			}
		}
		if probes == 0 {
			return Unrestricted
		}
		probes--
	}
}

// checkShort is Check for keys of 1 to 7 bytes.
func (s *Snapshot) checkShort(key string, addr netip.Addr) Verdict {
	sh, rec := s.find(key)
	if rec == nil {
		return Unrestricted
	}
	return sh.check(rec, addr)
}

// sameKey compares n bytes, at least 8.
func sameKey(p, q unsafe.Pointer, n int) bool {
	d := load64(p, n-8) ^ load64(q, n-8)
	for i := 0; i < n-8; i += 8 {
		d |= load64(p, i) ^ load64(q, i)
	}
	return d == 0
}

// The result is computed and not branched on: whether an address is in a
// list is what no branch predictor can know.

func match4(e unsafe.Pointer, n int, a uint32) Verdict {
	var hit uint64
	for ; n > 0; n-- {
		w := load64(e, 0)
		// The top bit is set if the shifted difference is 0, and only then.
		hit |= uint64(uint32(w)^a)>>(w>>32&63) - 1
		e = unsafe.Add(e, size4)
	}
	return Verdict(hit >> 63)
}

func match6(e unsafe.Pointer, hdr uint64, addr netip.Addr) Verdict {
	q := newQuery(addr)
	if q.family == 0 {
		return Denied
	}
	e = unsafe.Add(e, int(hdr>>(8*recN4)&0xff)*size4)
	e6, n6, nw := e, int(hdr>>(8*recN6)&0xff), int(hdr>>(8*recNw)&0xff)
	var hits uint64
	for n := n6; n > 0; n-- {
		shift := load8(e, 8)
		d := (load64(e, 0) ^ q.hi) >> (shift & 63)
		// Bit 0 if this entry matches, bit 1 if it is a wide one that may.
		hits |= (^(d | -d) >> 63) << (shift >> 7)
		e = unsafe.Add(e, size6)
	}
	if hits < 2 || hits&1 != 0 {
		return Verdict(hits & 1)
	}
	return matchWide(unsafe.Slice((*byte)(e6), n6*size6), unsafe.Slice((*byte)(e), nw*sizeW), n6, q)
}

// matchBody returns Allowed if q matches an entry of the small record with
// the header hdr and the given body, which recPad bytes follow.
func matchBody(hdr *[recHeader]byte, body []byte, addr netip.Addr) Verdict {
	p := unsafe.Pointer(unsafe.SliceData(body))
	if q := newQuery(addr); q.family == 4 {
		return match4(p, int(hdr[recN4]), uint32(q.lo))
	}
	if hdr[recFlags]&flagAll6 != 0 && addr.IsValid() {
		return Allowed
	}
	h := uint64(hdr[recN4])<<(8*recN4) | uint64(hdr[recN6])<<(8*recN6) | uint64(hdr[recNw])<<(8*recNw)
	return match6(p, h, addr)
}
