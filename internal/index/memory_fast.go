//go:build !ipallow_safe && (amd64 || arm64 || ppc64le)

package index

import (
	"net/netip"
	"unsafe"
)

// The files *_fast.go have the fast path, and all of the package's unsafe code. They are for
// little-endian processors that can load from unaligned addresses; check_portable.go is for all
// others, and for the build tag ipallow_safe. Every test runs with both.
//
// Without unsafe Check takes half as long again (docs/experiments.md), for three reasons. Slices
// are wider than pointers, so the directory is twice as large. Each load has a bounds check. And
// netip.Addr.As16 is a store-forwarding stall: 8-byte stores followed by a 16-byte load.
//
// Why the loads are safe:
//   - base[header.base]+offset is where the records of the shard begin: unit*cells bytes and recPad
//     more, never written after the shard was built. base+tagsAt is where its tags begin, 2 bytes a
//     cell. cellAt is less than cells; in a linear shard it is 0, and there is one tag, of 0.
//   - If the lowest bits of a tag are those of tagOf, a record begins in that cell and has n4 and
//     n6 as the tag says. Its header says how long the other parts are. The builder wrote both, and
//     CheckInvariants verifies them. The recPad bytes after the last record may be read.
//   - The directory has 1<<(64-shift) slots in nodes of nodeSize.
//   - A netip.Addr is two words of address and one of zone and family. addrIsWords verifies it, and
//     where it is false Check takes the slow path.

// A memory is a run of bytes without its length, or none.
type memory struct{ mem unsafe.Pointer }

func newMemory(b []byte) memory { return memory{unsafe.Pointer(unsafe.SliceData(b))} }

func (m memory) none() bool { return m.mem == nil }

// bytes returns size bytes from offset on.
func (m memory) bytes(offset, size uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(m.mem, offset)), size)
}

// same reports whether m and o are the same bytes.
func (m memory) same(o memory) bool { return m == o }

// baseOf returns the buffer of the header h in the node nd. node.put and CheckInvariants keep
// h.base less than len(node.base).
func baseOf(nd unsafe.Pointer, t *header) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Add(nd, uintptr(t.base)*unsafe.Sizeof(memory{})))
}

// A rootPtr points to the first element of a directory's root. It is nil where Check must take the
// slow path: before the first load, or if addrIsWords is false.
type rootPtr struct{ root unsafe.Pointer }

func newRootPtr(root []*node) rootPtr {
	if !addrIsWords {
		return rootPtr{}
	}
	return rootPtr{unsafe.Pointer(unsafe.SliceData(root))}
}

func (d rootPtr) same(root []*node) bool { return d == newRootPtr(root) }

// CopiesLabels says whether a label that Lookup returns is a copy.
const CopiesLabels = false

// textOf returns b, which is never written again, as a string without copying it.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// addrIsWords says that a netip.Addr begins with the halves of its address, IPv4 as IPv4-mapped.
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

// addrWords loads the two halves separately. An array of two would be one load of 16 bytes after
// two stores of 8, a store-forwarding stall.
func addrWords(a *netip.Addr) (hi, lo uint64) {
	return *(*uint64)(unsafe.Pointer(a)), *(*uint64)(unsafe.Add(unsafe.Pointer(a), 8))
}

// newQuery returns the query for an address in any form.
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

// loadInt is load64 for comparisons. Because of its type the compiler does not reuse a load of
// load64: it compares with memory, and keeps no word of the key on the stack since the hash.
func loadInt(p unsafe.Pointer, i int) int64 { return *(*int64)(unsafe.Add(p, i)) }

func load32(p unsafe.Pointer, i int) uint32 { return *(*uint32)(unsafe.Add(p, i)) }
func load16(p unsafe.Pointer, i int) uint16 { return *(*uint16)(unsafe.Add(p, i)) }
func load8(p unsafe.Pointer, i int) uint8   { return *(*uint8)(unsafe.Add(p, i)) }
