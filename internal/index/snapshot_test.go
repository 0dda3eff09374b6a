package index

import (
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/stretchr/testify/require"
)

// Which representation a list gets: a record up to MaxShort entries, a table
// from one more.
func TestRepresentation(t *testing.T) {
	e := newEngine()
	for _, c := range []struct {
		n    int
		long bool
	}{{1, false}, {20, false}, {MaxShort - 1, false}, {MaxShort, false}, {MaxShort + 1, true}, {1000, true}} {
		list := fromNaive(gen.Distinct(c.n))
		table := Compile(list)
		require.NoError(t, e.Set("k", list))
		require.Equal(t, c.long, e.Snapshot().isLong("k"), "%d entries", c.n)
		require.Equal(t, c.long, table.long != nil, "%d entries", c.n)
		require.Equal(t, c.n, table.Len())
		stored, ok := e.Snapshot().Find("k")
		require.True(t, ok)
		require.Equal(t, c.n, stored.Len())
		got, _ := e.Snapshot().entries("k")
		require.Equal(t, list, got)
	}
}

// From a record to a table, back, and away: the last list counts, and no
// table is left behind.
func TestChangeOfRepresentation(t *testing.T) {
	e := newEngine()
	for i, n := range []int{1, MaxShort + 1, MaxShort, MaxShort + 2, 0, MaxShort + 1, 3} {
		require.NoError(t, e.Set("k", fromNaive(gen.Distinct(n))))
		CheckInvariants(e.Snapshot())
		got, ok := e.Snapshot().entries("k")
		require.Equal(t, n > 0, ok, "step %d", i)
		require.Len(t, got, n)
		for s := range e.Snapshot().directory.all {
			require.True(t, s.more == nil || len(s.more.long) == 1)
		}
	}
}

// Equal long lists share one table, however many keys have them; their
// labels stay apart.
func TestCompileCache(t *testing.T) {
	list := fromNaive(gen.Distinct(MaxShort + 1))
	labelled := append([]Entry(nil), list...)
	labelled[0].Label = "mine"
	other := append([]Entry(nil), list...)
	other[0], other[1] = other[1], other[0]

	e := newEngine()
	require.NoError(t, e.Set("a", list))
	require.NoError(t, e.Update(func(tx *tx) error { return tx.Set("labelled", labelled) }))
	require.NoError(t, e.Set("other", other))
	require.NoError(t, e.Set("b", list))
	s := e.Snapshot()
	require.Same(t, s.tableOf("a"), s.tableOf("b"))
	require.Same(t, s.tableOf("a"), s.tableOf("labelled"), "labels are no part of the table")
	require.NotSame(t, s.tableOf("a"), s.tableOf("other"), "the order is")
	at := 0
	lookup := func(key string) (e Entry) {
		l, _ := s.Find(key)
		e, at = l.Lookup(list[0].Prefix.Addr())
		return e
	}
	require.Equal(t, Entry{list[0].Prefix, "mine"}, lookup("labelled"))
	require.Equal(t, Entry{list[0].Prefix, ""}, lookup("a"))
	lookup("other")
	require.Equal(t, 1, at)
	for _, k := range []string{"a", "b", "labelled", "other"} {
		want := map[string][]Entry{"a": list, "b": list, "labelled": labelled, "other": other}[k]
		got, _ := s.entries(k)
		require.Equal(t, want, got, k)
	}

	// A list of the same hash is another list.
	c := newCompileCache()
	sum := c.sum(prefixesOf(list))
	wrong := newLongList(prefixesOf(other))
	c.tables.Store(sum, weak.Make(wrong))
	require.Equal(t, prefixesOf(list), c.get(prefixesOf(list)).prefixes)
	runtime.KeepAlive(wrong)

	// A reload of a thousand keys holds the list once.
	e = newEngine()
	require.NoError(t, e.Replace(func(yield func(string, []Entry) bool) {
		for i := range 1000 {
			yield(gen.BulkKey(i), list)
		}
	}))
	table := e.Snapshot().tableOf(gen.BulkKey(0))
	require.NoError(t, e.Replace(e.Snapshot().lists))
	for i := range 1000 {
		require.Same(t, table, e.Snapshot().tableOf(gen.BulkKey(i)))
	}
}

func prefixesOf(list []Entry) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(list))
	for i, e := range list {
		prefixes[i] = e.Prefix
	}
	return prefixes
}

// A shard that is rewritten again and again holds its records and no more.
func TestRewritingDoesNotGrow(t *testing.T) {
	t.Parallel()
	e := newEngine()
	for i := range 300 {
		require.NoError(t, e.Set(gen.BulkKey(i), entries("203.0.113.5/32 a label")))
	}
	_, shards, bytes := e.Snapshot().shape()
	one, two := entries("203.0.113.6/32 b label"), entries("203.0.113.7/32 c label")
	for i := range 10_000 {
		list := one
		if i%2 == 1 {
			list = two
		}
		require.NoError(t, e.Set(gen.BulkKey(7), list))
	}
	_, shards2, bytes2 := e.Snapshot().shape()
	require.Equal(t, shards, shards2)
	require.Equal(t, bytes, bytes2)
	CheckInvariants(e.Snapshot())
	require.Equal(t, 300, e.Snapshot().Len())
	require.EqualValues(t, 1+300+10_000, e.Snapshot().Revision())
}

// Replace puts the shards of a node into one block. Changes take them out, and
// the block does not stay for the few that nobody changes.
func TestBlocksAreGivenBack(t *testing.T) {
	const keys = 100_000
	e := newEngine()
	empty := heap()
	list := entries("203.0.113.0/24", "2001:db8::/48")
	require.NoError(t, e.Replace(func(yield func(string, []Entry) bool) {
		for i := range keys {
			yield(gen.BulkKey(i), list)
		}
	}))
	full := heap() - empty
	packed := func() (all, shards int) {
		for s := range e.Snapshot().directory.all {
			if shards++; s.packed {
				all++
			}
		}
		return all, shards
	}
	all, shards := packed()
	require.Greater(t, shards, 300)
	require.Equal(t, shards, all)
	perBlock := nodeSize << (e.Snapshot().directory.bits - nodeBits - e.Snapshot().directory.root[0].blockDepth)
	require.GreaterOrEqual(t, perBlock, 2*nodeSize, "a block of several nodes")
	held := e.Snapshot()
	most := 0
	for i := range 4 * shards {
		require.NoError(t, e.Set(gen.BulkKey(i*17), entries("198.51.100.0/24", "2001:db8::/48")))
		if i%16 > 0 {
			continue
		}
		left := map[uint64]int{} // by the first node of a block
		for p := range uint64(1) << e.Snapshot().directory.bits {
			if s := e.Snapshot().directory.at(p); s.packed {
				first, _ := e.Snapshot().directory.sharing(p >> nodeBits)
				left[first]++
			}
		}
		for _, places := range left {
			require.GreaterOrEqual(t, places, perBlock/2)
		}
		if i%(shards/8) == 0 {
			CheckInvariants(e.Snapshot())
			if i < shards {
				continue // held still has its blocks, and so have all
			}
			held = nil
			most = max(most, heap()-empty)
		}
	}
	require.Nil(t, held)
	require.Less(t, most, full*17/10, "at most half of each block is of no use, and shards have some slack")
	all, _ = packed()
	require.Less(t, all, shards/10)
	for i := range keys {
		want := Allowed
		if i%17 == 0 && i/17 < 4*shards {
			want = Denied
		}
		require.Equal(t, want, e.Check(gen.BulkKey(i), addr("203.0.113.5")))
	}
}

// The labels of a list are not read by Check, so they do not stand between
// the records that it reads.
func TestLabelsStandApart(t *testing.T) {
	plain, labelled := newEngine(), newEngine()
	for i := range 100 {
		require.NoError(t, plain.Set(gen.BulkKey(i), entries("203.0.113.5/32")))
		require.NoError(t, labelled.Set(gen.BulkKey(i), entries("203.0.113.5/32 "+strings.Repeat("a", 100))))
	}
	blob := func(e *engine) (n int) {
		for s := range e.Snapshot().directory.all {
			n += len(s.mem)
		}
		return n
	}
	// 4 bytes a record, which may make each cell a step larger, and the
	// allocator's next size.
	require.LessOrEqual(t, blob(labelled), blob(plain)*5/4+unitStep*shardCells)
}
