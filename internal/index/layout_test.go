package index

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// The byte offsets in the drawing of the package's document, where words have 64 bits, and that
// the headers begin with cache lines: after the 8 bytes in which the runtime has the type.
func TestLayout(t *testing.T) {
	var h header
	require.Equal(t, [...]uintptr{0, 4, 8, 10, 12, 16, 64}, [...]uintptr{
		unsafe.Offsetof(h.offset), unsafe.Offsetof(h.tagsAt), unsafe.Offsetof(h.cells), unsafe.Offsetof(h.unit),
		unsafe.Offsetof(h.base), unsafe.Offsetof(h.pilots), unsafe.Sizeof(h),
	})
	var n node
	if unsafe.Sizeof(n.base[0]) == 8 {
		require.Equal(t, [...]uintptr{0, 136, 312, 1336, 1528, 1536}, [...]uintptr{
			unsafe.Offsetof(n.base), unsafe.Offsetof(n.more), unsafe.Offsetof(n.headers), unsafe.Offsetof(n.rest),
			unsafe.Offsetof(n.own), unsafe.Sizeof(n),
		})
		require.Zero(t, (8+unsafe.Offsetof(n.headers))%lineSize)
	}
	require.Zero(t, uintptr(ahead+hdrKeyLen/8)%lineSize, "what Check reads of a record begins with a cache line")

	// A key of 33 characters and five IPv4 entries take one line; 20 entries, three.
	five := appendRecord(nil, string(make([]byte, 33)), hosts(5, 1))
	require.Len(t, five, 63)
	require.Equal(t, 33, layoutOf(headerOf(five)).at4, "the starts follow the key")
	twenty := appendRecord(nil, string(make([]byte, 33)), hosts(20, 1))
	require.Len(t, twenty, 145)
	require.Equal(t, 33, layoutOf(headerOf(twenty)).shift4, "the shifts follow the key")
}
