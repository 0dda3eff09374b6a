package logstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

// Few records at a time make small blocks, which are merged: never many of
// them, and none of them written often.
func TestMerge(t *testing.T) {
	s := mustOpen(t, Options{})
	model := usagelog.NewMemoryStore(0)
	g := logtraffic.NewGenerator(20)
	most := int64(0)
	for i := range 500 {
		recs := g.Batch(1)
		if i == 0 {
			recs = g.Batch(1700)
		}
		require.NoError(t, s.Append(t.Context(), recs))
		require.NoError(t, model.Append(t.Context(), recs))
		most = max(most, s.Stats().Blocks)
		if i%50 == 49 {
			checkBlocks(t, s)
		}
	}
	require.Equal(t, 1, count(t, s, "SELECT count(*) FROM blocks WHERE class = 3"))
	require.LessOrEqual(t, most, int64(15+7+15+1))
	same(t, model, s, usagelog.Filter{})
	// A block's ID is never used again, so the last one tells how many were
	// written: one for each Append and no more.
	require.Equal(t, 500, count(t, s, "SELECT seq FROM sqlite_sequence WHERE name = 'blocks'"))
}

func TestClassOf(t *testing.T) {
	for n, want := range map[int]int{1: 0, 15: 0, 16: 1, 127: 1, 128: 2, 2047: 2, 2048: 3, 5000: 3} {
		require.Equal(t, want, classOf(n), "%d records", n)
	}
	require.Equal(t, 3, classes, "as the index blocks_class has it")
}

// An enormous batch becomes several blocks.
func TestLargeBatch(t *testing.T) {
	s := mustOpen(t, Options{})
	recs := logtraffic.NewGenerator(20).Batch(3*batchRecords + 10)
	require.NoError(t, s.Append(t.Context(), recs))
	require.EqualValues(t, 4, s.Stats().Blocks)
	checkBlocks(t, s)
	require.Equal(t, newest(recs), all(t, s, usagelog.Filter{}))
}

// Requests that took long do not make the blocks of all others cover hours.
func TestLateRecords(t *testing.T) {
	s := mustOpen(t, Options{})
	g := logtraffic.NewGenerator(20)
	g.Step = 100 * time.Millisecond
	var recs []usagelog.Record
	for range 40 {
		b := g.Batch(600) // a minute
		for i := 0; i < len(b); i += 50 {
			b[i].Time = b[i].Time.Add(-[]time.Duration{2 * time.Minute, 30 * time.Minute, 5 * time.Hour, 100 * time.Hour}[i/50%4])
		}
		recs = append(recs, b...)
		require.NoError(t, s.Append(t.Context(), b))
	}
	require.Equal(t, newest(recs), all(t, s, usagelog.Filter{}))
	widest := count(t, s, "SELECT max(newest - oldest) FROM blocks WHERE lane = 0")
	require.Less(t, time.Duration(widest), 10*time.Minute)
	require.Greater(t, time.Duration(count(t, s, "SELECT max(newest - oldest) FROM blocks")), 10*time.Minute, "and others do")
	checkBlocks(t, s)
}

// The queries take the index that they are written for.
func TestQueryPlans(t *testing.T) {
	s := mustOpen(t, Options{})
	for query, want := range map[string]string{
		candidatesText: "SEARCH blocks USING INDEX blocks_newest (newest>?)",
		classText:      "SEARCH blocks USING COVERING INDEX blocks_class (lane=? AND class=?)",
		"SELECT id, records, newest FROM blocks INDEXED BY blocks_lane WHERE lane = 8 * ?1 + 2 ORDER BY newest LIMIT 8": "SEARCH blocks USING COVERING INDEX blocks_lane (lane=?)",
	} {
		rows, err := s.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, 1, 1)
		require.NoError(t, err)
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var detail string
			require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
			plan = append(plan, detail)
		}
		require.NoError(t, rows.Err())
		require.Equal(t, []string{want}, plan, "one step, and no sorting: %s", query)
	}
}
