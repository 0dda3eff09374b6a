package logstore

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

func TestSummaryArguments(t *testing.T) {
	s := mustOpen(t, Options{})
	year1, year9999 := time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	bad := ipallow.Unrestricted + 1
	for name, c := range map[string]struct {
		f     usagelog.Filter
		width time.Duration
	}{
		"no from":       {usagelog.Filter{To: begin}, time.Hour},
		"no to":         {usagelog.Filter{From: begin}, time.Hour},
		"no time":       {usagelog.Filter{From: begin, To: begin}, time.Hour},
		"backwards":     {usagelog.Filter{From: begin, To: begin.Add(-1)}, time.Hour},
		"no width":      {usagelog.Filter{From: begin, To: begin.Add(1)}, 0},
		"negative":      {usagelog.Filter{From: begin, To: begin.Add(1)}, -1},
		"2001 buckets":  {usagelog.Filter{From: begin, To: begin.Add(2000*time.Hour + 1)}, time.Hour},
		"all time":      {usagelog.Filter{From: year1, To: year9999}, math.MaxInt64},
		"status":        {usagelog.Filter{From: begin, To: begin.Add(1), Status: 7}, 1},
		"verdict":       {usagelog.Filter{From: begin, To: begin.Add(1), Verdict: &bad}, 1},
		"enormous span": {usagelog.Filter{From: begin, To: year9999}, 1},
	} {
		_, err := s.Summary(t.Context(), c.f, c.width)
		require.ErrorIs(t, err, usagelog.ErrQuery, name)
	}
}

func TestSummaryBounds(t *testing.T) {
	s := mustOpen(t, Options{})
	at := func(n byte, when time.Time) usagelog.Record {
		return usagelog.Record{ID: usagelog.RecordID{15: n}, Time: when, Status: 200}
	}
	last := time.Unix(0, math.MaxInt64).UTC()
	require.NoError(t, s.Append(t.Context(), []usagelog.Record{
		at(1, begin.Add(-1)), at(2, begin), at(3, begin.Add(time.Hour-1)), at(4, begin.Add(time.Hour)), at(5, begin.Add(2*time.Hour)),
		at(6, time.Unix(0, 0).UTC()), at(7, last),
	}))
	buckets, err := s.Summary(t.Context(), usagelog.Filter{From: begin, To: begin.Add(2 * time.Hour)}, time.Hour)
	require.NoError(t, err)
	require.Equal(t, []Bucket{{begin, 2, 0, 0}, {begin.Add(time.Hour), 1, 0, 0}}, buckets)

	buckets, err = s.Summary(t.Context(), usagelog.Filter{From: begin, To: begin.Add(2000 * time.Hour)}, time.Hour)
	require.NoError(t, err)
	require.Len(t, buckets, MaxBuckets)
	require.EqualValues(t, 1, buckets[2].Served)
	require.Equal(t, begin.Add(1999*time.Hour), buckets[1999].Start)

	// The last bucket ends where To says.
	buckets, err = s.Summary(t.Context(), usagelog.Filter{From: begin, To: begin.Add(time.Hour - 1)}, 100*time.Hour)
	require.NoError(t, err)
	require.Equal(t, []Bucket{{begin, 1, 0, 0}}, buckets)

	buckets, err = s.Summary(t.Context(), usagelog.Filter{From: time.Unix(-1, 0), To: time.Unix(1, 0)}, time.Second)
	require.NoError(t, err)
	require.EqualValues(t, 0, buckets[0].Served)
	require.EqualValues(t, 1, buckets[1].Served)
	buckets, err = s.Summary(t.Context(), usagelog.Filter{From: last.Add(-time.Hour), To: last.Add(time.Hour)}, time.Hour)
	require.NoError(t, err)
	require.EqualValues(t, 1, buckets[1].Served)
}

// A block that ends where the time asked for ends, or begins where it begins,
// is counted whole only if all of it is meant.
func TestSummaryAtTheEdgeOfABlock(t *testing.T) {
	s := mustOpen(t, Options{})
	recs := logtraffic.NewGenerator(3).Batch(blockRecords)
	for i := range recs {
		recs[i].Time, recs[i].KeyID = begin.Add(time.Duration(i)), "key_a"
	}
	require.NoError(t, s.Append(t.Context(), recs))
	require.Equal(t, 1, count(t, s, "SELECT count(*) FROM blocks WHERE class = 3"))
	for _, c := range []struct{ from, to, want int }{
		{0, blockRecords, blockRecords}, {0, blockRecords - 1, blockRecords - 1}, {1, blockRecords, blockRecords - 1}, {5, 6, 1},
	} {
		for _, key := range []string{"", "key_a"} {
			f := usagelog.Filter{KeyID: key, From: begin.Add(time.Duration(c.from)), To: begin.Add(time.Duration(c.to))}
			b, err := s.Summary(t.Context(), f, time.Hour)
			require.NoError(t, err)
			require.EqualValues(t, c.want, b[0].Served+b[0].Blocked+b[0].Other, "%+v", f)
		}
	}
	seen, err := s.Seen(t.Context(), "key_a", begin.Add(blockRecords/2))
	require.NoError(t, err)
	n, served := int64(0), int64(0)
	for _, a := range seen {
		n += a.Served
	}
	for _, r := range recs[blockRecords/2:] {
		if r.Verdict.OK() || r.Status != 401 && r.Status != 403 {
			served++
		}
	}
	require.Equal(t, served, n)
}

func TestSeenArguments(t *testing.T) {
	s := mustOpen(t, Options{})
	require.NoError(t, s.Append(t.Context(), logtraffic.NewGenerator(1).Batch(10)))
	for _, key := range []string{"", "unknown", "'"} {
		list, err := s.Seen(t.Context(), key, time.Time{})
		require.NoError(t, err)
		require.Empty(t, list)
	}
	for _, keys := range [][]string{nil, {""}, {"unknown", "'"}} {
		blocked, err := s.Blocked(t.Context(), keys, time.Time{})
		require.NoError(t, err)
		require.Empty(t, blocked)
	}
}

// Bounds and cursors at the ends of time, and pages larger than any.
func TestExtremePages(t *testing.T) {
	s := mustOpen(t, Options{})
	model := usagelog.NewMemoryStore(0)
	var most usagelog.RecordID
	for i := range most {
		most[i] = 0xff
	}
	var recs []usagelog.Record
	for _, when := range []time.Time{time.Unix(0, 0).UTC(), begin, time.Unix(0, math.MaxInt64).UTC()} {
		for _, id := range []usagelog.RecordID{{15: 1}, {0: 0x80}, most} {
			recs = append(recs, usagelog.Record{ID: id, Time: when, Status: 200})
		}
		for i := range recs { // an ID of its own for each
			recs[i].ID[7] = byte(i)
		}
	}
	require.NoError(t, model.Append(t.Context(), recs))
	require.NoError(t, s.Append(t.Context(), recs))
	for _, at := range recs {
		for _, id := range []usagelog.RecordID{{}, at.ID, most} {
			for _, limit := range []int{1, 2, math.MaxInt} {
				q := usagelog.Query{Cursor: usagelog.Position{Time: at.Time, ID: id}.Cursor(), Limit: limit}
				want, err := model.Query(t.Context(), q)
				require.NoError(t, err)
				got, err := s.Query(t.Context(), q)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		}
		for _, d := range []time.Duration{-1, 0, 1} {
			same(t, model, s, usagelog.Filter{From: at.Time.Add(d)})
			same(t, model, s, usagelog.Filter{To: at.Time.Add(d)})
		}
	}
	for _, cursor := range []string{"x", "'; DROP TABLE blocks; --", string(make([]byte, 1<<20))} {
		_, err := s.Query(t.Context(), usagelog.Query{Cursor: cursor})
		require.ErrorIs(t, err, usagelog.ErrQuery)
	}
}
