package index

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/stretchr/testify/require"
)

// The cache itself is given back: no entry is left for a table that is gone, and its cleanups
// do not remove a table that took the place of one.
func TestCompileCacheIsEmptied(t *testing.T) {
	e := newEngine()
	tables := func() (n int) {
		e.Snapshot().cache.tables.Range(func(any, any) bool { n++; return true })
		return n
	}
	const keys = 500
	for round := range 3 {
		for k := range keys {
			require.NoError(t, e.Set(gen.BulkKey(k), hosts(MaxShort+1, k)))
		}
		require.GreaterOrEqual(t, tables(), keys)
		table := e.Snapshot().tableOf(gen.BulkKey(7))
		require.NoError(t, e.Set("again", hosts(MaxShort+1, 7)))
		require.Same(t, table, e.Snapshot().tableOf("again"), "round %d", round)
		for k := range keys {
			e.Delete(gen.BulkKey(k))
		}
		require.Eventually(t, func() bool { runtime.GC(); return tables() == 1 }, time.Minute, time.Millisecond,
			"round %d: only the table that is in force stays", round)
		e.Delete("again")
		require.Eventually(t, func() bool { runtime.GC(); return tables() == 0 }, time.Minute, time.Millisecond, "what nobody uses is given back")
	}
}

// Writers that set equal lists at once share a table or, if they compile at the same moment,
// have one each; later ones share again.
func TestCompileCacheConcurrently(t *testing.T) {
	e := newEngine()
	list := hosts(1000, 1)
	done := make(chan error)
	const writers = 8
	for w := range writers {
		go func() {
			var err error
			for i := 0; i < 50 && err == nil; i++ {
				if err = e.Set(fmt.Sprint(w, i%3), list); err == nil && i%10 == 9 {
					e.Delete(fmt.Sprint(w, i%3))
				}
			}
			done <- err
		}()
	}
	for range writers {
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			t.Fatal("a writer did not come back within a minute")
		}
	}
	require.NoError(t, e.Set("x", list))
	require.NoError(t, e.Set("y", list))
	require.Same(t, e.Snapshot().tableOf("x"), e.Snapshot().tableOf("y"))
	CheckInvariants(e.Snapshot())
}
