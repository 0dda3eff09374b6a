package usagelog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFlappingStore has a store whose calls fail more often than not, by an
// error that says nothing. No record is at fault, so none is lost.
func TestFlappingStore(t *testing.T) {
	t.Parallel()
	type pattern func() func(call int) bool
	every := func(n int) pattern { // the same calls succeed in each period
		return func() func(int) bool { return func(call int) bool { return call%n != 0 } }
	}
	random := func(percent int) pattern {
		return func() func(int) bool {
			rnd := rand.New(rand.NewPCG(1, uint64(percent)))
			return func(int) bool { return rnd.IntN(100) < percent }
		}
	}
	bursts := func(length int) pattern { // down, then up, for as many calls each
		return func() func(int) bool { return func(call int) bool { return call/length%2 == 0 } }
	}
	for _, c := range []struct {
		name  string
		fails pattern
	}{
		{"one of two in turn", every(2)},
		{"three of four in turn", every(4)},
		{"nine of ten in turn", every(10)},
		{"half at random", random(50)},
		{"three of four at random", random(75)},
		{"nine of ten at random", random(90)},
		{"bursts of 3", bursts(3)},
		{"bursts of 20", bursts(20)},
	} {
		for _, partly := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/partly=%t", c.name, partly), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { // pauses cost no time
					var store *faultyStore
					call, failed, fails := 0, 0, c.fails()
					store = newFaultyStore(func(ctx context.Context, recs []Record) error {
						call++
						if !fails(call) {
							return nil
						}
						failed++
						if partly { // the answer is lost and not the records
							store.MemoryStore.Append(ctx, recs[:len(recs)/2])
						}
						return errors.New("connection refused")
					})
					w := mustOpen(t, t.TempDir(), store, &Options{BatchRecords: 64})
					const records = 3000
					for n := range records {
						require.True(t, w.Record(sample(n)))
					}
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
					defer cancel()
					require.NoError(t, w.Drain(ctx), "%+v", w.Stats())
					require.NoError(t, w.Close(ctx))
					s := w.Stats()
					balanced(t, s)
					require.Zero(t, s.Lost.Total(), "%d of %d calls failed: %+v", failed, call, s)
					require.Greater(t, failed, 10)
					require.Len(t, stored(t, store), records)
					require.Equal(t, records, store.Len())
				})
			})
		}
	}
}

// TestPoisonKind has a kind of record that the store never takes and does not
// name, one in eight. Each is lost, and nothing else.
func TestPoisonKind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		poison := func(r *Record) bool { return r.ClientAddr.As4()[3]%8 == 3 }
		store := newFaultyStore(func(_ context.Context, recs []Record) error {
			for i := range recs {
				if poison(&recs[i]) {
					return errors.New("constraint failed")
				}
			}
			return nil
		})
		w := mustOpen(t, t.TempDir(), store, nil)
		const records = 1600
		for n := range records {
			require.True(t, w.Record(sample(n)))
		}
		n := 0 // good ones that follow, without which nothing is known
		for ; w.Stats().Lost[Rejected] < records/8; n++ {
			require.True(t, w.Record(sample(8*n)))
			time.Sleep(10 * time.Millisecond)
			require.Less(t, n, 60_000, "%+v", w.Stats())
		}
		require.NoError(t, w.Drain(within(t)))
		s := w.Stats()
		balanced(t, s)
		require.EqualValues(t, records/8, s.Lost.Total(), "only what was at fault")
	})
}

// TestPoisonInAFlappingStore loses the record that is at fault and no other.
func TestPoisonInAFlappingStore(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{10, 50, 75} {
		t.Run(fmt.Sprintf("fails=%d%%", percent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(3, 4))
				store := newFaultyStore(func(_ context.Context, recs []Record) error {
					for i := range recs {
						if recs[i].RequestID == "req-100" {
							return errors.New("constraint failed")
						}
					}
					if rnd.IntN(100) < percent {
						return errors.New("connection refused")
					}
					return nil
				})
				w := mustOpen(t, t.TempDir(), store, nil)
				n := 0
				for ; w.Stats().Lost[Rejected] == 0; n++ {
					require.True(t, w.Record(sample(n)))
					time.Sleep(10 * time.Millisecond)
					require.Less(t, n, 60_000, "%+v", w.Stats())
				}
				require.NoError(t, w.Drain(within(t)))
				balanced(t, w.Stats())
				have := stored(t, store)
				require.Len(t, have, n-1)
				require.NotContains(t, have, "req-100")
			})
		})
	}
}
