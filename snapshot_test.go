package ipallow

import (
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/stretchr/testify/require"
)

// Which representation a list gets: a record up to maxSmall entries, a table
// from one more.
func TestRepresentation(t *testing.T) {
	e := New(&Options{Policy: widest()})
	for _, c := range []struct {
		n     int
		large bool
	}{{1, false}, {20, false}, {maxSmall - 1, false}, {maxSmall, false}, {maxSmall + 1, true}, {1000, true}} {
		list := fromNaive(gen.Distinct(c.n))
		require.NoError(t, e.Set("k", list))
		require.Equal(t, c.large, e.Snapshot().isLarge("k"), "%d entries", c.n)
		require.Equal(t, c.large, Compile(list).large != nil, "%d entries", c.n)
		require.Equal(t, c.n, Compile(list).Len())
		require.Equal(t, c.n, e.Explain("k", addr("1.2.3.4")).Entries)
		got, _ := e.Snapshot().Entries("k")
		require.Equal(t, list, got)
	}
	require.LessOrEqual(t, DefaultPolicy().MaxEntries, maxSmall, "what the default policy allows is a record")
}

// From a record to a table, back, and away: the last list counts, and no
// table is left behind.
func TestChangeOfRepresentation(t *testing.T) {
	e := New(&Options{Policy: widest()})
	for i, n := range []int{1, maxSmall + 1, maxSmall, maxSmall + 2, 0, maxSmall + 1, 3} {
		require.NoError(t, e.Set("k", fromNaive(gen.Distinct(n))))
		checkInvariants(e.Snapshot())
		got, ok := e.Snapshot().Entries("k")
		require.Equal(t, n > 0, ok, "step %d", i)
		require.Len(t, got, n)
		for s := range e.Snapshot().index.all {
			require.True(t, s.more == nil || len(s.more.large) == 1)
		}
	}
}

// Equal large lists share one table, however many keys have them; their
// labels stay apart.
func TestCompileCache(t *testing.T) {
	list := fromNaive(gen.Distinct(maxSmall + 1))
	labelled := append([]Entry(nil), list...)
	labelled[0].Label = "mine"
	other := append([]Entry(nil), list...)
	other[0], other[1] = other[1], other[0]

	e := New(&Options{Policy: widest()})
	require.NoError(t, e.Set("a", list))
	require.NoError(t, e.Update(func(tx *Tx) error { return tx.Set("labelled", labelled) }))
	require.NoError(t, e.Set("other", other))
	require.NoError(t, e.Set("b", list))
	s := e.Snapshot()
	require.Same(t, s.tableOf("a"), s.tableOf("b"))
	require.Same(t, s.tableOf("a"), s.tableOf("labelled"), "labels are no part of the table")
	require.NotSame(t, s.tableOf("a"), s.tableOf("other"), "the order is")
	a := list[0].Prefix.Addr()
	require.Equal(t, Entry{list[0].Prefix, "mine"}, s.Explain("labelled", a).Entry)
	require.Equal(t, Entry{list[0].Prefix, ""}, s.Explain("a", a).Entry)
	require.Equal(t, 1, s.Explain("other", a).Index)
	for _, k := range []string{"a", "b", "labelled", "other"} {
		want := map[string][]Entry{"a": list, "b": list, "labelled": labelled, "other": other}[k]
		got, _ := s.Entries(k)
		require.Equal(t, want, got, k)
	}

	// A list of the same hash is another list.
	c := newCompileCache()
	sum := c.sum(prefixesOf(list))
	wrong := newLarge(prefixesOf(other))
	c.tables.Store(sum, weak.Make(wrong))
	require.Equal(t, prefixesOf(list), c.get(prefixesOf(list)).prefixes)
	runtime.KeepAlive(wrong)

	// A reload of a thousand keys holds the list once.
	e = New(&Options{Policy: widest()})
	require.NoError(t, e.Replace(func(yield func(string, []Entry) bool) {
		for i := range 1000 {
			yield(gen.BulkKey(i), list)
		}
	}))
	table := e.Snapshot().tableOf(gen.BulkKey(0))
	require.NoError(t, e.Replace(e.Snapshot().All()))
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

// Long lists of so many keys that they are in shards of their own: each is
// found through its own shard.
func TestLongListsOfManyKeys(t *testing.T) {
	t.Parallel()
	e := New(&Options{Policy: widest()})
	const keys = 2000
	own := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}) }
	own6 := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 14: byte(i >> 8), 15: byte(i)})
	}
	long := fromNaive(gen.Distinct(maxSmall))
	require.NoError(t, e.Update(func(tx *Tx) error {
		for i := range keys {
			list := append(long[:maxSmall:maxSmall], Entry{Prefix: netip.PrefixFrom(own(i), 32)}, Entry{Prefix: netip.PrefixFrom(own6(i), 128)})
			if err := tx.Set(fmt.Sprintf("a key of some length %04d", i), list); err != nil {
				return err
			}
		}
		return nil
	}))
	for i := range keys {
		key := fmt.Sprintf("a key of some length %04d", i)
		require.Equal(t, Allowed, e.Check(key, own(i)), key)
		require.Equal(t, Denied, e.Check(key, own(i+1)), key)
		require.Equal(t, Allowed, e.Check(key, own6(i)), key)
		require.Equal(t, Denied, e.Check(key, own6(i+1)), key)
	}
}

// A snapshot answers for ever as it did when it was taken.
func TestSnapshotKeepsItsAnswers(t *testing.T) {
	e := New(&Options{Policy: widest()})
	in, out := addr("203.0.113.5"), addr("203.0.113.6")
	require.NoError(t, e.Update(func(tx *Tx) error {
		for i := range 2000 {
			if err := tx.Set(gen.BulkKey(i), entries("203.0.113.5/32 label")); err != nil {
				return err
			}
		}
		return tx.Set("large", append(entries("203.0.113.5/32"), fromNaive(gen.Distinct(maxSmall))...))
	}))
	s := e.Snapshot()
	rev := s.Revision()
	keeps := func(after string) {
		t.Helper()
		checkInvariants(s)
		require.Equal(t, 2001, s.Len(), after)
		require.Equal(t, rev, s.Revision(), after)
		for i := range 2000 {
			if s.Check(gen.BulkKey(i), in) != Allowed || s.Check(gen.BulkKey(i), out) != Denied {
				t.Fatalf("after %s, the snapshot has another answer for %q", after, gen.BulkKey(i))
			}
		}
		require.Equal(t, Allowed, s.Check("large", in), after)
		require.Equal(t, Denied, s.Check("large", out), after)
		require.Equal(t, Unrestricted, s.Check("new", out), after)
		require.Equal(t, "label", s.Explain(gen.BulkKey(7), in).Entry.Label, after)
		n := 0
		for range s.All() {
			n++
		}
		require.Equal(t, 2001, n, after)
	}
	keeps("nothing")
	require.NoError(t, e.Set(gen.BulkKey(0), entries("203.0.113.6/32")))
	require.NoError(t, e.Set("large", nil))
	keeps("Set")
	e.Delete(gen.BulkKey(1))
	keeps("Delete")
	require.NoError(t, e.Update(func(tx *Tx) error {
		for i := range 2000 {
			tx.Delete(gen.BulkKey(i))
		}
		return tx.Set("new", entries("203.0.113.9/32"))
	}))
	keeps("Update")
	require.NoError(t, e.Replace(lists("new", entries("203.0.113.9/32"))))
	keeps("Replace")
	require.NoError(t, e.Replace(s.All()))
	keeps("a Replace by its own lists")
	require.Equal(t, 2001, e.Snapshot().Len())
}

func TestAllStops(t *testing.T) {
	e := New(nil)
	for i := range 1000 {
		require.NoError(t, e.Set(gen.BulkKey(i), entries("203.0.113.5/32")))
	}
	n := 0
	for range e.Snapshot().All() {
		if n++; n == 10 {
			break
		}
	}
	require.Equal(t, 10, n)
	seen := map[string]bool{}
	for k := range e.Snapshot().All() {
		require.False(t, seen[k], "%q comes twice", k)
		seen[k] = true
	}
	require.Len(t, seen, 1000)
}

// A shard that is rewritten again and again holds its records and no more.
func TestRewritingDoesNotGrow(t *testing.T) {
	t.Parallel()
	e := New(nil)
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
	checkInvariants(e.Snapshot())
	require.Equal(t, 300, e.Snapshot().Len())
	require.EqualValues(t, 1+300+10_000, e.Snapshot().Revision())
}

// A list takes the place of one of about the same length: the snapshot before
// keeps that one, shorter ones leave nothing of it, and no other key changes.
func TestChangeInPlace(t *testing.T) {
	t.Parallel()
	list := func(n, at int) []Entry {
		l := make([]Entry, n)
		for i := range l {
			l[i] = entries(fmt.Sprintf("203.%d.%d.0/24", at%200, i))[0]
			if i%3 == 2 {
				l[i] = entries(fmt.Sprintf("2001:db8:%x:%x::/64", at, i))[0]
			}
		}
		return l
	}
	const keys = 500
	e, want := New(nil), map[string][]Entry{}
	for i := range keys {
		want[gen.BulkKey(i)] = list(1+i%7, i)
	}
	require.NoError(t, e.Replace(maps.All(want)))
	same := func(s *Snapshot, want map[string][]Entry) {
		t.Helper()
		checkInvariants(s)
		require.Equal(t, len(want), s.Len())
		for key, list := range want {
			got, ok := s.Entries(key)
			require.True(t, ok)
			require.Equal(t, list, got)
			require.Equal(t, Allowed, s.Check(key, list[len(list)-1].Prefix.Addr()))
			require.Equal(t, Denied, s.Check(key, addr("198.51.100.1")))
			require.Equal(t, Denied, s.Check(key, addr("2001:db9::1")))
		}
	}
	for step := range 300 {
		before, was := e.Snapshot(), maps.Clone(want)
		key := gen.BulkKey(step * 7 % keys)
		want[key] = list(1+(step*5)%7, 1000+step)
		require.NoError(t, e.Set(key, want[key]))
		if step%10 == 0 {
			same(before, was)
			same(e.Snapshot(), want)
		} else {
			got, _ := before.Entries(key)
			require.Equal(t, was[key], got)
			checkInvariants(e.Snapshot())
		}
	}
	same(e.Snapshot(), want)
}

func heap() int {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Memory follows the keys: what is deleted, one by one or together, is given
// back, tables and labels too.
func TestMemoryIsGivenBack(t *testing.T) {
	const keys = 20_000
	large := fromNaive(gen.Distinct(300))
	for name, remove := range map[string]func(*Engine) error{
		"Delete": func(e *Engine) error {
			for i := range keys {
				e.Delete(gen.BulkKey(i))
			}
			return nil
		},
		"Update": func(e *Engine) error {
			return e.Update(func(tx *Tx) error {
				for i := range keys {
					tx.Delete(gen.BulkKey(i))
				}
				return nil
			})
		},
		"Set": func(e *Engine) error {
			return e.Update(func(tx *Tx) error {
				for i := range keys {
					if err := tx.Set(gen.BulkKey(i), nil); err != nil {
						return err
					}
				}
				return nil
			})
		},
		"Replace": func(e *Engine) error { return e.Replace(lists()) },
	} {
		e := New(&Options{Policy: widest()})
		empty := heap()
		require.NoError(t, e.Replace(func(yield func(string, []Entry) bool) {
			for i := range keys {
				list := entries("203.0.113.0/24 a label of some length", "2001:db8::/48")
				if i%200 == 0 {
					list = large
				}
				yield(gen.BulkKey(i), list)
			}
		}))
		full := heap()
		require.Greater(t, full-empty, keys*50, "%s: the keys are in memory", name)
		require.NoError(t, remove(e))
		left := heap() - empty
		require.Less(t, left, (full-empty)/20, "%s: %d bytes of %d are left", name, left, full-empty)
		require.Zero(t, e.Snapshot().Len())
		runtime.KeepAlive(e)
	}
}

// Replace puts the shards of a node into one block. Changes take them out, and
// the block does not stay for the few that nobody changes.
func TestBlocksAreGivenBack(t *testing.T) {
	const keys = 100_000
	e := New(nil)
	empty := heap()
	list := entries("203.0.113.0/24", "2001:db8::/48")
	require.NoError(t, e.Replace(func(yield func(string, []Entry) bool) {
		for i := range keys {
			yield(gen.BulkKey(i), list)
		}
	}))
	full := heap() - empty
	packed := func() (all, shards int) {
		for s := range e.Snapshot().index.all {
			if shards++; s.packed {
				all++
			}
		}
		return all, shards
	}
	all, shards := packed()
	require.Greater(t, shards, 300)
	require.Equal(t, shards, all)
	perBlock := nodeSize << (e.Snapshot().index.bits - nodeBits - e.Snapshot().index.root[0].blockDepth)
	require.GreaterOrEqual(t, perBlock, 2*nodeSize, "a block of several nodes")
	held := e.Snapshot()
	most := 0
	for i := range 4 * shards {
		require.NoError(t, e.Set(gen.BulkKey(i*17), entries("198.51.100.0/24", "2001:db8::/48")))
		if i%16 > 0 {
			continue
		}
		left := map[uint64]int{} // by the first node of a block
		for p := range uint64(1) << e.Snapshot().index.bits {
			if s := e.Snapshot().index.at(p); s.packed {
				first, _ := e.Snapshot().index.sharing(p >> nodeBits)
				left[first]++
			}
		}
		for _, places := range left {
			require.GreaterOrEqual(t, places, perBlock/2)
		}
		if i%(shards/8) == 0 {
			checkInvariants(e.Snapshot())
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
	plain, labelled := New(nil), New(nil)
	for i := range 100 {
		require.NoError(t, plain.Set(gen.BulkKey(i), entries("203.0.113.5/32")))
		require.NoError(t, labelled.Set(gen.BulkKey(i), entries("203.0.113.5/32 "+strings.Repeat("a", 100))))
	}
	blob := func(e *Engine) (n int) {
		for s := range e.Snapshot().index.all {
			n += len(s.mem)
		}
		return n
	}
	// 4 bytes a record, which may make each cell a step larger, and the
	// allocator's next size.
	require.LessOrEqual(t, blob(labelled), blob(plain)*5/4+unitStep*shardCells)
}
