package logstore

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/usagelog"
)

func numbered(epoch, n uint64) usagelog.Record {
	var id usagelog.RecordID
	binary.BigEndian.PutUint64(id[:8], epoch)
	binary.BigEndian.PutUint64(id[8:], n)
	return usagelog.Record{ID: id, Time: begin.Add(time.Duration(n % 1000)), Status: 200}
}

// IDs from small ranges, in any order and often again, also around the
// ends and the middle of what 64 bits hold: none is lost, none is there twice,
// and what is remembered is as few runs as there are.
func TestTaken(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := mustOpen(t, Options{})
		model := usagelog.NewMemoryStore(0)
		bases := []uint64{1, math.MaxUint64 - 39, 1<<63 - 20} // 40 numbers each
		epochs := []uint64{0, 1, math.MaxUint64}
		have := make(map[usagelog.RecordID]bool)
		for range 60 {
			var batch []usagelog.Record
			for range 1 + rnd.IntN(8) {
				from, n := uint64(rnd.IntN(40)), uint64(1+rnd.IntN(3))
				epoch, base := epochs[rnd.IntN(3)], bases[rnd.IntN(3)]
				for i := from; i < min(from+n, 40); i++ {
					r := numbered(epoch, base+i)
					batch = append(batch, r)
					have[r.ID] = true
				}
			}
			require.NoError(t, model.Append(t.Context(), batch))
			require.NoError(t, s.Append(t.Context(), batch))
			require.EqualValues(t, len(have), s.Stats().Records)
		}
		same(t, model, s, usagelog.Filter{})
		runs := 0
		for id := range have {
			epoch, n := splitID(id)
			before := numbered(epoch, n-1).ID
			if n == 0 || !have[before] {
				runs++
			}
		}
		require.Equal(t, runs, count(t, s, "SELECT count(*) FROM taken"))
		require.Less(t, len(have), 9*40, "all of them: the test shows nothing of gaps")
	}
}

// A run is remembered as long as its newest record is kept, whichever came last.
func TestTakenRunsAreAsNewAsTheirNewest(t *testing.T) {
	var c clock
	c.set(begin)
	s := mustOpen(t, Options{Retention: 100 * time.Hour, now: c.now})
	young, old := numbered(1, 2), numbered(1, 3)
	old.Time = begin.Add(-90 * time.Hour)
	first := numbered(1, 1)
	first.Time = old.Time
	for _, r := range []usagelog.Record{young, old, first} {
		require.NoError(t, s.Append(t.Context(), []usagelog.Record{r}))
	}
	c.add(20 * time.Hour)
	require.NoError(t, s.expire(t.Context()))
	require.NoError(t, s.Append(t.Context(), []usagelog.Record{young, old, first}))
	require.Equal(t, []usagelog.Record{young}, all(t, s, usagelog.Filter{}))
}
