//go:build !ipallow_safe && (amd64 || arm64 || ppc64le)

package index

import (
	"net/netip"
	"unsafe"
)

// The files *_fast.go are those with unsafe in them, and all of the hot path, for
// processors that are little endian and load from any address. Its safe twin
// is check_portable.go, for all others and under the build tag ipallow_safe; every test
// runs against buf. Without unsafe, Check costs half as much again, for three reasons
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

// A memory is a run of bytes without its length, or none.
type memory struct{ mem unsafe.Pointer }

func newMemory(b []byte) memory { return memory{unsafe.Pointer(unsafe.SliceData(b))} }

func (m memory) none() bool { return m.mem == nil }

// bytes is size of its bytes, from offset on.
func (m memory) bytes(offset, size uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(m.mem, offset)), size)
}

// same reports whether m and o are the same bytes.
func (m memory) same(o memory) bool { return m == o }

// baseOf is the base of the tables t in the node nd. put and CheckInvariants
// see to it that t.base is less than len(node.base).
func baseOf(nd unsafe.Pointer, t *header) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Add(nd, uintptr(t.base)*unsafe.Sizeof(memory{})))
}

// A rootPtr is the first element of a directory's root. It is nil where Check
// must take the long way: before the first load, or if a netip.Addr is not
// what this file knows.
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
