package logstore

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/usagelog"
	"github.com/ipallow/ipallow/usagelog/storetest"
)

// mustOpen opens a store in a new file that the end of the test closes.
func mustOpen(t testing.TB, opt Options) *Store {
	t.Helper()
	if opt.Path == "" {
		opt.Path = filepath.Join(t.TempDir(), "usage.db")
	}
	s, err := Open(t.Context(), opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) usagelog.Store { return mustOpen(t, Options{}) })
	storetest.RunRetention(t, func(t *testing.T) (usagelog.Store, func(time.Time)) {
		const keep = 24 * time.Hour
		var c clock
		c.set(time.Unix(0, 0))
		s := mustOpen(t, Options{Retention: keep, now: c.now})
		return s, func(before time.Time) { c.set(before.Add(keep)) }
	})
}

// checkBlocks checks what the rows say of the blocks, and that there are no
// more small ones than merging leaves.
func checkBlocks(t *testing.T, s *Store) {
	t.Helper()
	ctx := context.Background()
	rows, err := s.read.QueryContext(ctx, "SELECT id, lane, class, records, newest, oldest, served, blocked, requests, bytes, length(data), (SELECT count(*) FROM columns WHERE columns.id / 8 = blocks.id) FROM blocks LEFT JOIN frames USING (id)")
	require.NoError(t, err)
	defer rows.Close()
	frames, err := s.read.PrepareContext(ctx, "SELECT data FROM frames WHERE id = ?")
	require.NoError(t, err)
	defer frames.Close()
	small := make(map[[2]int]int)
	for rows.Next() {
		var id, newest, oldest, served, blocked, requests, size, length int64
		var lane, class, records int
		var columns int
		require.NoError(t, rows.Scan(&id, &lane, &class, &records, &newest, &oldest, &served, &blocked, &requests, &size, &length, &columns))
		b, damaged, err := s.load(ctx, frames, id, records)
		require.NoError(t, err)
		require.False(t, damaged)
		require.Equal(t, records, b.len())
		require.Equal(t, newest, b.at(0).UnixNano())
		require.Equal(t, oldest, b.at(b.len()-1).UnixNano())
		require.Equal(t, size, length)
		require.Equal(t, classOf(records), class)
		want := 0
		if class == classes {
			want = timeColumn + 1
		}
		require.Equal(t, want, columns, "columns are for blocks that are not merged any more")
		var c counts
		for i := range b.len() {
			c.add(b.at(i))
			if i > 0 && !(&cursor{ns: b.at(i - 1).UnixNano(), rec: b.at(i - 1)}).before(&cursor{ns: b.at(i).UnixNano(), rec: b.at(i)}) {
				t.Fatalf("record %d of block %d is out of order", i, id)
			}
		}
		require.Equal(t, counts{served, blocked, requests - served - blocked}, c)
		if class < classes {
			small[[2]int{lane, class}] += records
		}
	}
	require.NoError(t, rows.Err())
	for at, records := range small {
		require.Less(t, records, classLimits[at[1]], "records in small blocks of lane %d and class %d", at[0], at[1])
	}
}
