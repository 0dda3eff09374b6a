package logstore

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

// A clock is what time a store believes it is.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time      { return time.Unix(0, c.ns.Load()) }
func (c *clock) set(t time.Time)     { c.ns.Store(t.UnixNano()) }
func (c *clock) add(d time.Duration) { c.ns.Add(int64(d)) }

// hourly returns n records an hour apart, the first at begin.
func hourly(n int) []usagelog.Record {
	recs := logtraffic.NewGenerator(5).Batch(n)
	for i := range recs {
		recs[i].Time = begin.Add(time.Duration(i) * time.Hour)
	}
	return recs
}

func count(t testing.TB, s *Store, query string) (n int) {
	t.Helper()
	require.NoError(t, s.read.QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

func TestRetention(t *testing.T) {
	var c clock
	c.set(begin.Add(99 * time.Hour))
	path := filepath.Join(t.TempDir(), "usage.db")
	s := mustOpen(t, Options{Path: path, Retention: 100 * time.Hour, now: c.now})
	recs := hourly(100)
	for i := range recs { // in blocks of one, which are merged
		require.NoError(t, s.Append(t.Context(), recs[i:i+1]))
	}
	require.Len(t, all(t, s, usagelog.Filter{}), 100)
	require.Equal(t, 1, count(t, s, "SELECT count(*) FROM taken"))

	// What is too old is not shown from that moment on, by any method.
	c.add(50*time.Hour + time.Minute) // the first 50 are older than 100 hours
	kept := recs[50:]
	check := func() {
		t.Helper()
		got := all(t, s, usagelog.Filter{})
		require.Equal(t, newest(kept), got)
		page, err := s.Query(t.Context(), usagelog.Query{Filter: usagelog.Filter{From: begin}, Limit: 1000})
		require.NoError(t, err)
		require.Len(t, page.Records, len(kept))
		buckets, err := s.Summary(t.Context(), usagelog.Filter{From: begin, To: begin.Add(1000 * time.Hour)}, 1000*time.Hour)
		require.NoError(t, err)
		require.EqualValues(t, len(kept), buckets[0].Served+buckets[0].Blocked+buckets[0].Other)
		n := 0
		for _, key := range []string{recs[0].KeyID, recs[1].KeyID, recs[2].KeyID} {
			seen, err := s.Seen(t.Context(), key, time.Time{})
			require.NoError(t, err)
			for _, a := range seen {
				if a.Served > 0 {
					require.False(t, a.Last.Before(kept[0].Time))
					n++
				}
			}
		}
		require.Positive(t, n)
	}
	check()
	require.EqualValues(t, 100, s.Stats().Records)

	// It is deleted in the background: whole blocks, and the part of a block
	// that is older by more than a sixteenth of the retention.
	require.NoError(t, s.expire(t.Context()))
	check()
	st := s.Stats()
	require.Less(t, st.Records, int64(60))
	require.False(t, st.Oldest.Before(kept[0].Time.Add(-100*time.Hour/16)), "%v", st.Oldest)
	checkBlocks(t, s)
	require.Equal(t, 1, count(t, s, "SELECT count(*) FROM taken"), "IDs of records that are kept")

	// A record that was deleted, or would be, does not come back.
	require.NoError(t, s.Append(t.Context(), recs))
	check()
	require.Equal(t, st, s.Stats())

	c.add(1000 * time.Hour)
	require.NoError(t, s.expire(t.Context()))
	kept = nil
	require.Empty(t, all(t, s, usagelog.Filter{}))
	require.Equal(t, Stats{}, s.Stats())
	for _, table := range []string{"blocks", "frames", "taken"} {
		require.Zero(t, count(t, s, "SELECT count(*) FROM "+table), table)
	}
	require.NoError(t, s.Append(t.Context(), recs))
	require.Equal(t, Stats{}, s.Stats())
}

// A longer retention later does not let a record in twice: what is kept though
// it is not shown any more is shown again, and its ID is still known.
func TestLongerRetention(t *testing.T) {
	var c clock
	c.set(begin.Add(100 * time.Hour))
	path := filepath.Join(t.TempDir(), "usage.db")
	s, err := Open(t.Context(), Options{Path: path, now: c.now})
	require.NoError(t, err)
	recs := hourly(100)
	require.NoError(t, s.Append(t.Context(), recs))
	require.NoError(t, s.Close())

	s, err = Open(t.Context(), Options{Path: path, now: c.now, Retention: 48 * time.Hour})
	require.NoError(t, err)
	require.NoError(t, s.expire(t.Context()))
	require.Len(t, all(t, s, usagelog.Filter{}), 48)
	records := s.Stats().Records
	require.NoError(t, s.Close())

	s = mustOpen(t, Options{Path: path, now: c.now})
	require.Len(t, all(t, s, usagelog.Filter{}), int(records))
	require.NoError(t, s.Append(t.Context(), recs))
	require.Len(t, all(t, s, usagelog.Filter{}), int(records), "their IDs are in one run with those that are kept")
}

// The same with a run of its own for each record: a run is forgotten when all
// its records are deleted, and not when they are merely too old.
func TestRunsOfWhatIsStillThere(t *testing.T) {
	var c clock
	c.set(begin)
	path := filepath.Join(t.TempDir(), "usage.db")
	s, err := Open(t.Context(), Options{Path: path, now: c.now, Retention: 160 * time.Hour})
	require.NoError(t, err)
	var recs []usagelog.Record
	for n := range uint64(20) {
		r := numbered(n, 1)
		r.Time = begin.Add(time.Duration(n) * time.Minute)
		recs = append(recs, r)
		require.NoError(t, s.Append(t.Context(), []usagelog.Record{r}))
	}
	c.add(160*time.Hour + 5*time.Minute) // within a sixteenth of the retention
	require.NoError(t, s.expire(t.Context()))
	require.Len(t, all(t, s, usagelog.Filter{}), 15)
	require.EqualValues(t, 20, s.Stats().Records)
	require.NoError(t, s.change(t.Context(), func(w *writer) error { return w.forgetBefore(s.cutoff()) }))
	require.NoError(t, s.Close())

	s = mustOpen(t, Options{Path: path, now: c.now})
	require.NoError(t, s.Append(t.Context(), recs))
	require.Equal(t, newest(recs), all(t, s, usagelog.Filter{}))
}

// A block that covers more than the retention deletes at a time is written
// anew, without what is too old.
func TestTrim(t *testing.T) {
	var c clock
	c.set(begin)
	s := mustOpen(t, Options{Retention: 160 * time.Hour, now: c.now})
	var recs []usagelog.Record
	for n := range uint64(14) { // one block: 14 is not merged
		r := numbered(1, n+1)
		r.Time = begin.Add(time.Duration(n) * time.Hour)
		recs = append(recs, r)
		require.NoError(t, s.Append(t.Context(), []usagelog.Record{r}))
	}
	require.NoError(t, s.Append(t.Context(), []usagelog.Record{numbered(2, 1), numbered(2, 2)})) // and then it is
	require.Equal(t, 1, count(t, s, "SELECT count(*) FROM blocks"))
	c.set(begin.Add(169 * time.Hour))
	require.NoError(t, s.expire(t.Context()))
	require.EqualValues(t, 16, s.Stats().Records, "9 hours are less than a sixteenth")
	c.set(begin.Add(171 * time.Hour))
	require.NoError(t, s.expire(t.Context()))
	require.Equal(t, newest(recs[11:]), all(t, s, usagelog.Filter{}))
	st := s.Stats()
	require.EqualValues(t, 3, st.Records)
	require.Equal(t, recs[11].Time, st.Oldest)
	checkBlocks(t, s)
}

// Retention begins with Open, by itself.
func TestRetentionInTheBackground(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	s, err := Open(t.Context(), Options{Path: path})
	require.NoError(t, err)
	g := logtraffic.NewGenerator(5)
	old, young := g.Batch(3000), g.Batch(100)
	now := time.Now().UTC()
	for i := range old {
		old[i].Time = now.Add(-2*time.Hour + time.Duration(i)*time.Microsecond)
	}
	for i := range young {
		young[i].Time = now
	}
	require.NoError(t, s.Append(t.Context(), old))
	require.NoError(t, s.Append(t.Context(), young))
	require.EqualValues(t, 3100, s.Stats().Records)
	require.NoError(t, s.Close())

	s = mustOpen(t, Options{Path: path, Retention: time.Hour})
	require.Len(t, all(t, s, usagelog.Filter{}), 100)
	require.Eventually(t, func() bool { return s.Stats().Records == 100 }, time.Minute, 5*time.Millisecond, "the old records go")
}

// An Append waits for the deletion of a few blocks, not of all.
func TestRetentionInSteps(t *testing.T) {
	var c clock
	c.set(begin)
	s := mustOpen(t, Options{Retention: time.Hour, now: c.now})
	g := logtraffic.NewGenerator(5)
	for range 2*expireBlocks + 3 {
		require.NoError(t, s.Append(t.Context(), g.Batch(blockRecords)))
	}
	c.add(2 * time.Hour)
	step := s.expireSteps(s.cutoff())[0]
	for _, want := range []int{expireBlocks, expireBlocks, 3, 0} {
		n, err := s.expireOnce(t.Context(), step)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	require.Zero(t, s.Stats().Records)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.expire(ctx), context.Canceled)
}

// A block that was merged between being found and its turn is no error, and is not
// taken for damaged.
func TestRetentionOfAMergedBlock(t *testing.T) {
	s := mustOpen(t, Options{})
	require.NoError(t, s.Append(t.Context(), logtraffic.NewGenerator(5).Batch(10)))
	require.NoError(t, s.change(t.Context(), func(w *writer) error {
		require.ErrorIs(t, w.trim(77, 0), sql.ErrNoRows)
		require.ErrorIs(t, w.removeBlock(77), sql.ErrNoRows)
		return nil
	}))
	require.Zero(t, s.Stats().DamagedBlocks)
	checkBlocks(t, s)
}
