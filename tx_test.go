package ipallow

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index"
	"github.com/stretchr/testify/require"
)

func TestUpdateIsAllOrNothing(t *testing.T) {
	list := entries("203.0.113.5/32")
	e := New(nil)
	require.NoError(t, e.Set("old", list))
	before := e.Snapshot()
	boom := errors.New("boom")
	for name, fn := range map[string]func(*Tx) error{
		"an error of its own":   func(tx *Tx) error { tx.Delete("old"); _ = tx.Set("new", list); return boom },
		"a Set that failed":     func(tx *Tx) error { tx.Delete("old"); return tx.Set("new", entries("10.0.0.1/32")) },
		"an error swallowed":    func(tx *Tx) error { tx.Delete("old"); _ = tx.Set("new", entries("10.0.0.1/32")); return nil },
		"swallowed, then set":   func(tx *Tx) error { _ = tx.Set("new", entries("10.0.0.1/32")); return tx.Set("new", list) },
		"swallowed, then gone":  func(tx *Tx) error { _ = tx.Set("new", entries("10.0.0.1/32")); tx.Delete("new"); return nil },
		"an empty key":          func(tx *Tx) error { tx.Delete("old"); _ = tx.Set("", list); return nil },
		"a key that's too long": func(tx *Tx) error { tx.Delete("old"); _ = tx.Set(strings.Repeat("k", MaxKeyLen+1), list); return nil },
	} {
		require.Error(t, e.Update(fn), name)
		require.Same(t, before, e.Snapshot(), name)
		require.Equal(t, Denied, e.Check("old", addr("8.8.8.8")), name)
		require.Equal(t, Unrestricted, e.Check("new", addr("8.8.8.8")), name)
	}
	require.ErrorIs(t, e.Update(func(*Tx) error { return boom }), boom)
}

func TestUpdateErrorNamesTheKey(t *testing.T) {
	e := New(nil)
	err := e.Update(func(tx *Tx) error {
		_ = tx.Set("a\n", entries("10.0.0.1/32"))
		_ = tx.Set("b", entries("8.0.0.0/8"))
		return nil
	})
	var k *KeyError
	require.ErrorAs(t, err, &k)
	require.Equal(t, "a\n", k.Key, "the first fault counts")
	var v *ValidationError
	require.ErrorAs(t, err, &v)
	var f *EntryError
	require.ErrorAs(t, err, &f)
	require.Equal(t, CodeNotPublic, f.Code)
	require.Contains(t, err.Error(), `key "a\n": `, "quoted")
	require.Equal(t, `key "x": EOF`, (&KeyError{Key: "x", Err: io.EOF}).Error())
	require.Less(t, len((&KeyError{Key: strings.Repeat("\x00", 1<<20), Err: io.EOF}).Error()), maxFaultText)
}

func TestUpdateLastCallCounts(t *testing.T) {
	one, two := entries("203.0.113.1/32"), entries("203.0.113.2/32 label")
	for name, c := range map[string]struct {
		fn   func(tx *Tx)
		want []Entry
	}{
		"set, set":         {func(tx *Tx) { _ = tx.Set("k", one); _ = tx.Set("k", two) }, two},
		"set, delete":      {func(tx *Tx) { _ = tx.Set("k", one); tx.Delete("k") }, nil},
		"set, empty":       {func(tx *Tx) { _ = tx.Set("k", one); _ = tx.Set("k", nil) }, nil},
		"delete, set":      {func(tx *Tx) { tx.Delete("k"); _ = tx.Set("k", two) }, two},
		"set, other, set":  {func(tx *Tx) { _ = tx.Set("k", one); _ = tx.Set("l", one); _ = tx.Set("k", two) }, two},
		"other, set, gone": {func(tx *Tx) { _ = tx.Set("l", one); _ = tx.Set("k", one); tx.Delete("k") }, nil},
	} {
		for _, had := range [][]Entry{nil, entries("198.51.100.0/24")} {
			e := New(nil)
			require.NoError(t, e.Set("k", had))
			require.NoError(t, e.Update(func(tx *Tx) error { c.fn(tx); return nil }), name)
			got, ok := e.Snapshot().Entries("k")
			require.Equal(t, c.want, got, name)
			require.Equal(t, c.want != nil, ok, name)
			checkInvariants(e.Snapshot())
		}
	}
}

func TestTxAfterReturn(t *testing.T) {
	e := New(nil)
	var kept *Tx
	require.NoError(t, e.Update(func(tx *Tx) error { kept = tx; return tx.Set("k", entries("203.0.113.5/32")) }))
	before := e.Snapshot()
	require.ErrorIs(t, kept.Set("k", entries("8.8.8.8/32")), ErrTxDone)
	kept.Delete("k")
	require.Same(t, before, e.Snapshot())
	require.Equal(t, Denied, e.Check("k", addr("8.8.8.8")))

	boom := errors.New("boom")
	require.ErrorIs(t, e.Update(func(tx *Tx) error { kept = tx; return boom }), boom)
	require.ErrorIs(t, kept.Set("k", nil), ErrTxDone, "also after a failure")
}

// A panic in the caller's function leaves the engine as it was, and usable.
func TestPanicInFunction(t *testing.T) {
	e := New(nil)
	require.NoError(t, e.Set("k", entries("203.0.113.5/32")))
	before := e.Snapshot()
	var kept *Tx
	require.PanicsWithValue(t, "boom", func() {
		_ = e.Update(func(tx *Tx) error { kept = tx; tx.Delete("k"); panic("boom") })
	})
	require.ErrorIs(t, kept.Set("k", nil), ErrTxDone)
	require.PanicsWithValue(t, "boom", func() {
		_ = e.ReplaceFunc(func(add func(string, []Entry)) error { add("l", nil); panic("boom") })
	})
	require.PanicsWithValue(t, "boom", func() {
		_ = e.Replace(func(func(string, []Entry) bool) { panic("boom") })
	})
	require.Same(t, before, e.Snapshot())
	require.NoError(t, e.Set("l", entries("203.0.113.5/32")), "no lock is left behind")
}

func TestNestedCallsInUpdate(t *testing.T) {
	e := New(nil)
	list := entries("203.0.113.5/32")
	require.NoError(t, e.Update(func(tx *Tx) error {
		require.NoError(t, tx.Set("outer", list))
		require.Equal(t, Unrestricted, e.Check("outer", addr("8.8.8.8")), "not before the step")
		require.NoError(t, e.Set("inner", list), "a step of its own")
		require.Equal(t, Denied, e.Check("inner", addr("8.8.8.8")))
		require.NoError(t, e.Update(func(in *Tx) error { return in.Set("deeper", list) }))
		require.NoError(t, e.Set("outer", entries("198.51.100.1/32")))
		tx.Delete("inner")
		_ = e.Explain("outer", addr("8.8.8.8"))
		return nil
	}))
	require.Equal(t, 2, e.Snapshot().Len())
	require.Equal(t, Allowed, e.Check("outer", addr("203.0.113.5")), "the outer step is made last")
	require.Equal(t, Unrestricted, e.Check("inner", addr("8.8.8.8")))
	require.Equal(t, Denied, e.Check("deeper", addr("8.8.8.8")))
}

// Updates of one key to thousands, into shards that hold other keys.
func TestUpdateOfManyKeys(t *testing.T) {
	e := New(nil)
	list := entries("203.0.113.5/32 l")
	for _, n := range []int{1, 2, 16, 17, 18, 400, 5000} {
		require.NoError(t, e.Update(func(tx *Tx) error {
			for i := range n {
				if err := tx.Set(gen.BulkKey(i), list); err != nil {
					return err
				}
			}
			return nil
		}))
		require.Equal(t, n, e.Snapshot().Len())
		checkInvariants(e.Snapshot())
	}
	require.NoError(t, e.Update(func(tx *Tx) error {
		for i := range 5000 {
			if i%100 != 0 {
				tx.Delete(gen.BulkKey(i))
			}
		}
		return nil
	}))
	checkInvariants(e.Snapshot())
	require.Equal(t, 50, e.Snapshot().Len())
	for i := range 5000 {
		want := Unrestricted
		if i%100 == 0 {
			want = Denied
		}
		require.Equal(t, want, e.Check(gen.BulkKey(i), addr("8.8.8.8")), i)
	}
}

func TestReplace(t *testing.T) {
	e := New(nil)
	require.NoError(t, e.Set("old", entries("203.0.113.5/32")))
	require.NoError(t, e.Replace(lists("new", entries("203.0.113.6/32 l"), "empty", []Entry{})))
	require.Equal(t, Unrestricted, e.Check("old", addr("8.8.8.8")), "what is not in the sequence is unrestricted")
	require.Equal(t, Unrestricted, e.Check("empty", addr("8.8.8.8")))
	require.Equal(t, Denied, e.Check("new", addr("8.8.8.8")))
	require.Equal(t, 1, e.Snapshot().Len())
	require.NoError(t, e.Replace(lists()))
	require.Zero(t, e.Snapshot().Len())
	require.ErrorIs(t, e.Replace(nil), ErrNoLists)
	require.ErrorIs(t, e.ReplaceFunc(nil), ErrNoFunc)
	require.ErrorIs(t, e.Update(nil), ErrNoFunc)

	// Its own lists are a sequence too.
	require.NoError(t, e.Set("a", entries("203.0.113.5/32 x")))
	require.NoError(t, e.Replace(e.Snapshot().All()))
	got, _ := e.Snapshot().Entries("a")
	require.Equal(t, entries("203.0.113.5/32 x"), got)
}

// The caller's slice may be the same for every key.
func TestReplaceKeepsNoSlice(t *testing.T) {
	for _, n := range []int{3, index.MaxShort + 1} {
		e := New(&Options{Policy: widest()})
		buf := make([]Entry, n)
		require.NoError(t, e.Replace(func(yield func(string, []Entry) bool) {
			for i := range 1000 {
				copy(buf, fromNaive(gen.Distinct(n)))
				buf[0] = Entry{prefix(fmt.Sprintf("9.0.%d.%d/32", i/256, i%256)), gen.BulkKey(i)}
				if !yield(gen.BulkKey(i), buf) {
					return
				}
			}
		}))
		clear(buf)
		for i := range 1000 {
			a := addr(fmt.Sprintf("9.0.%d.%d", i/256, i%256))
			x := e.Explain(gen.BulkKey(i), a)
			require.True(t, x.Matched, "%v", a)
			require.Equal(t, gen.BulkKey(i), x.Entry.Label)
			require.Equal(t, Denied, e.Check(gen.BulkKey(i), a.Next()))
		}
	}
}

func TestReplaceFuncFailingMidway(t *testing.T) {
	e := New(nil)
	require.NoError(t, e.Set("k", entries("203.0.113.5/32")))
	before := e.Snapshot()
	boom := errors.New("the connection broke")
	var late func(string, []Entry)
	require.ErrorIs(t, e.ReplaceFunc(func(add func(string, []Entry)) error {
		late = add
		for i := range 1000 {
			add(gen.BulkKey(i), entries("203.0.113.5/32"))
		}
		return boom
	}), boom)
	late("late", entries("203.0.113.5/32"))
	require.Same(t, before, e.Snapshot())
	require.Equal(t, Denied, e.Check("k", addr("8.8.8.8")))

	require.NoError(t, e.ReplaceFunc(func(add func(string, []Entry)) error {
		late = add
		add("k", entries("203.0.113.5/32"))
		return nil
	}))
	late("late", entries("203.0.113.5/32"))
	require.Equal(t, 1, e.Snapshot().Len(), "add is over with its function")
}

// All faulty keys are reported together, up to a hundred.
func TestReplaceReportsEveryKey(t *testing.T) {
	for _, n := range []int{1, 2, maxReplaceFaults, maxReplaceFaults + 1, maxReplaceFaults + 50} {
		e := New(nil)
		err := e.Replace(func(yield func(string, []Entry) bool) {
			for i := range n {
				yield(gen.BulkKey(i), entries("10.0.0.1/32"))
				yield("good"+gen.BulkKey(i), entries("203.0.113.5/32"))
			}
		})
		require.Error(t, err)
		shown := strings.Count(err.Error(), "key \"bulk")
		require.Equal(t, min(n, maxReplaceFaults), shown)
		if more := n - shown; more > 0 {
			require.Contains(t, err.Error(), fmt.Sprintf("%d more", more))
		}
		require.Zero(t, e.Snapshot().Len(), "the good ones are not stored either")
	}
}
