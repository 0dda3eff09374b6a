package ipallow

import (
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index"
	"github.com/stretchr/testify/require"
)

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
	long := fromNaive(gen.Distinct(index.MaxShort))
	require.NoError(t, e.Update(func(tx *Tx) error {
		for i := range keys {
			list := append(long[:index.MaxShort:index.MaxShort], Entry{Prefix: netip.PrefixFrom(own(i), 32)}, Entry{Prefix: netip.PrefixFrom(own6(i), 128)})
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
		return tx.Set("large", append(entries("203.0.113.5/32"), fromNaive(gen.Distinct(index.MaxShort))...))
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
