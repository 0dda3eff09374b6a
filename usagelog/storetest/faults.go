package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ipallow/ipallow/usagelog"
)

// checkOverlapping has writers that bring the same records at the same time,
// each in its own order, as after a Writer's directory was copied.
func checkOverlapping(t *testing.T, s usagelog.Store) {
	const writers, batch, tries = 4, 20, 100
	recs := records(1, 201)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(7, uint64(w)))
			mine := slices.Clone(recs)
			rnd.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			for part := range slices.Chunk(mine, batch) {
				err := s.Append(t.Context(), part)
				for n := 1; err != nil && !errors.Is(err, usagelog.ErrRejected) && n < tries; n++ {
					time.Sleep(time.Duration(rnd.IntN(5)) * time.Millisecond)
					err = s.Append(t.Context(), part)
				}
				if err != nil {
					t.Errorf("Append beside others of the same records: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	sameRecords(t, "after overlapping Appends", pages(t, s, usagelog.Query{}), newest(recs))
}

// A flapping store fails most calls, by an error that says nothing: before the
// other store has seen the records, after it has kept some or all of them, or
// by giving it a context that is already over.
type flapping struct {
	usagelog.Store
	percent int
	failed  int
	rnd     *rand.Rand // the Writer makes one call at a time
}

func (f *flapping) Append(ctx context.Context, recs []usagelog.Record) error {
	if f.rnd.IntN(100) >= f.percent {
		return f.Store.Append(ctx, recs)
	}
	f.failed++
	switch f.rnd.IntN(4) {
	case 0:
		f.Store.Append(ctx, recs[:f.rnd.IntN(len(recs)+1)])
	case 1:
		f.Store.Append(ctx, recs)
	case 2:
		over, cancel := context.WithCancel(ctx)
		cancel()
		f.Store.Append(over, recs)
	}
	return errors.New("storetest: connection reset by peer")
}

// checkFlapping puts a Writer before the store and lets most calls fail.
func checkFlapping(t *testing.T, s usagelog.Store) {
	const each = 120
	total := 0
	for _, percent := range []int{75, 90} {
		f := &flapping{Store: s, percent: percent, rnd: rand.New(rand.NewPCG(11, uint64(percent)))}
		w, err := usagelog.Open(t.TempDir(), f, &usagelog.Options{BatchRecords: 16})
		if err != nil {
			t.Fatal(err)
		}
		for n := range each {
			if !w.Record(record(total + n)) {
				t.Fatal("the queue of an idle Writer is full")
			}
		}
		total += each
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err = w.Close(ctx)
		cancel()
		stats := w.Stats()
		if err != nil || stats.Lost.Total() != 0 || stats.Stored != each {
			t.Fatalf("a store of which %d%% of the calls fail: %v, %d records of %d stored and %d lost; last error: %v",
				percent, err, stats.Stored, each, stats.Lost.Total(), stats.LastStoreError)
		}
		if f.failed == 0 {
			t.Fatal("no call failed: the check checks nothing")
		}
	}
	seen := make(map[string]int)
	for _, r := range pages(t, s, usagelog.Query{}) {
		seen[r.RequestID]++
	}
	for n := range total {
		if id := fmt.Sprintf("req-%d", n); seen[id] != 1 {
			t.Fatalf("record %s is there %d times after calls that failed, want once", id, seen[id])
		}
	}
}

// RunRetention checks, in a subtest, a store that deletes old records: one of
// them that is given again, as after a kill, is left out or deleted again, and
// newer ones are kept. open returns an empty store, and a function that makes
// it delete the records before a moment as its retention does.
func RunRetention(t *testing.T, open func(t *testing.T) (s usagelog.Store, expire func(before time.Time))) {
	t.Helper()
	t.Run("Retention", func(t *testing.T) {
		s, expire := open(t)
		recs := records(1, 101)
		cut := recs[60].Time
		mustAppend(t, s, recs...)
		sameRecords(t, "before anything is old", pages(t, s, usagelog.Query{}), newest(recs))
		for _, step := range []string{"after the old ones were deleted", "after they came again"} {
			expire(cut)
			sameRecords(t, step, pages(t, s, usagelog.Query{}), newest(recs[60:]))
			sameRecords(t, step+", Stream", collect(t, s, usagelog.Filter{}), newest(recs[60:]))
			for part := range slices.Chunk(recs, 30) { // old ones, new ones, and both in one batch
				mustAppend(t, s, part...)
			}
		}
	})
}
