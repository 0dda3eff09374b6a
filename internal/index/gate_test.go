package index

import (
	"runtime"
	"testing"
	"unsafe"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/stretchr/testify/require"
)

// The bytes that 100,000 keys of 33 characters take in blobs, tables and the
// directory, by the numbers of the shards and not by the allocator's, so that
// the figures are exact. A change by more than 5% is a change of design: put
// the new figure here and into docs/performance.md, with its reason.
func TestBytesPerKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		entries int
		family  string
		want    float64
	}{
		{5, "4", 72},
		{5, "mixed", 96},
		{5, "6", 107},
		{20, "4", 208},
		{20, "6", 277},
	} {
		if testing.Short() && tt.family == "mixed" {
			break // one figure says whether anything changed
		}
		w := gen.Shape{Keys: 1e5, Entries: tt.entries, Family: tt.family, Result: "mixed", Queries: 1, Seed: 1}.New()
		e := newEngine()
		require.NoError(t, e.Replace(listsOf(w)))
		x := e.Snapshot().directory
		bytes := len(x.root) * int(unsafe.Sizeof(*x.root[0]))
		for s := range x.all {
			bytes += s.size()
		}
		require.InEpsilon(t, tt.want, float64(bytes)/1e5, 0.05, "%d entries of family %s", tt.entries, tt.family)
	}
}

// Lists of 21 to 28 entries, which only a policy wider than the default allows, have searches of
// their own. This is what they are worth: as long lists they would take over ten times the memory.
func TestLongListsCostMore(t *testing.T) {
	const keys = 2000
	perKey := func(n int) float64 {
		e, before := newEngine(), heap()
		require.NoError(t, e.Replace(func(yield func(string, []Entry) bool) {
			for i := range keys {
				if !yield(gen.BulkKey(i), hosts(n, i)) {
					return
				}
			}
		}))
		held := heap() - before
		runtime.KeepAlive(e)
		return float64(held) / keys
	}
	record, long := perKey(MaxShort), perKey(MaxShort+1)
	t.Logf("%d entries take %.0f bytes a key, and %d take %.0f", MaxShort, record, MaxShort+1, long)
	require.Greater(t, long, 8*record)
}
