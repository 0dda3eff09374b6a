package logstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/binrec"
	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

// Appends, pages, streams, summaries and retention at once: a reader sees each
// record that was confirmed before it began, once, in order, though blocks are
// merged under its eyes.
func TestConcurrently(t *testing.T) {
	var c clock
	c.set(begin)
	s := mustOpen(t, Options{Retention: 1000 * time.Hour, now: c.now})
	const writers, batches = 3, 60
	var confirmed [writers]atomic.Int64 // records
	var writing, reading sync.WaitGroup
	stop := make(chan struct{})
	for w := range writers {
		rnd := rand.New(rand.NewPCG(uint64(w), 1))
		writing.Go(func() {
			n := 0
			for range batches {
				recs := make([]usagelog.Record, 1+rnd.IntN(100))
				for i := range recs {
					id := usagelog.RecordID{0: byte(w + 1), 14: byte(n >> 8), 15: byte(n)}
					recs[i] = usagelog.Record{ID: id, Time: begin.Add(time.Duration(rnd.IntN(1e9))), RequestID: fmt.Sprint(w), KeyID: "key_a", Status: 200}
					n++
				}
				if err := s.Append(t.Context(), recs); err != nil {
					t.Errorf("Append: %v", err)
					return
				}
				confirmed[w].Store(int64(n))
			}
		})
	}
	reader := func(read func(each func(usagelog.Record)) error) {
		reading.Go(func() {
			for done := false; !done; {
				select {
				case <-stop:
					done = true // once more
				default:
				}
				var before [writers]int64
				for w := range confirmed {
					before[w] = confirmed[w].Load()
				}
				seen := make(map[usagelog.RecordID]bool)
				var last *usagelog.Record
				err := read(func(r usagelog.Record) {
					if last != nil && last.Position().Compare(r.Position()) <= 0 {
						t.Errorf("out of order: %v after %v", r, *last)
					}
					last = &r
					seen[r.ID] = true
				})
				if err != nil {
					t.Errorf("reading: %v", err)
					return
				}
				for w, n := range before {
					for i := range n {
						if id := (usagelog.RecordID{0: byte(w + 1), 14: byte(i >> 8), 15: byte(i)}); !seen[id] {
							t.Errorf("record %d of writer %d was confirmed, and is not seen", i, w)
							return
						}
					}
				}
			}
		})
	}
	reader(func(each func(usagelog.Record)) error {
		for r, err := range s.Stream(t.Context(), usagelog.Filter{}) {
			if err != nil {
				return err
			}
			each(r)
		}
		return nil
	})
	reader(func(each func(usagelog.Record)) error {
		q := usagelog.Query{Limit: 300, Filter: usagelog.Filter{KeyID: "key_a"}}
		for {
			page, err := s.Query(t.Context(), q)
			if err != nil {
				return err
			}
			for _, r := range page.Records {
				each(r)
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				return nil
			}
		}
	})
	reading.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			least := confirmed[0].Load()
			buckets, err := s.Summary(t.Context(), usagelog.Filter{From: begin, To: begin.Add(time.Second)}, time.Second)
			if err != nil || buckets[0].Served < least {
				t.Errorf("Summary: %v, %v; want %d or more", buckets, err, least)
				return
			}
			if err := s.expire(t.Context()); err != nil {
				t.Errorf("expire: %v", err)
				return
			}
		}
	})
	writing.Wait()
	close(stop)
	reading.Wait()
	checkBlocks(t, s)
	total := int64(0)
	for w := range confirmed {
		total += confirmed[w].Load()
	}
	require.EqualValues(t, total, s.Stats().Records)
}

// A query that must read many blocks takes several transactions, and misses
// nothing and repeats nothing on the way; and it ends when its context does.
func TestManyBlocks(t *testing.T) {
	for _, wide := range []bool{false, true} {
		s := mustOpen(t, Options{})
		model := usagelog.NewMemoryStore(0)
		manyBlocks(t, s, model, wide)
		f := usagelog.Filter{Status: 418, Method: "BREW"}
		require.Equal(t, 3, same(t, model, s, f))
		same(t, model, s, usagelog.Filter{})
		for _, f := range []usagelog.Filter{f, {Method: "BREW"}, {}} {
			for _, at := range all(t, model, usagelog.Filter{Status: 418, Method: "BREW"}) {
				q := usagelog.Query{Filter: f, Limit: 2, Cursor: at.Position().Cursor()}
				for range 2 {
					want, err := model.Query(t.Context(), q)
					require.NoError(t, err)
					got, err := s.Query(t.Context(), q)
					require.NoError(t, err)
					require.Equal(t, want, got, "wide: %v, %+v", wide, q)
					q.Cursor = want.Next
				}
			}
		}
		if wide {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		f = usagelog.Filter{From: begin, To: begin.Add(time.Hour), RequestID: "none"} // which only the records tell
		_, err := s.Query(ctx, usagelog.Query{Filter: f})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = s.Summary(ctx, f, time.Hour)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Zero(t, s.Stats().DamagedBlocks, "what a context cuts short is not damaged")
	}
}

// manyBlocks fills both stores with blocks of six records: wide ones, of which
// each reaches back to the beginning, or narrow ones.
func manyBlocks(t *testing.T, s *Store, model usagelog.Store, wide bool) {
	t.Helper()
	g := logtraffic.NewGenerator(3)
	require.NoError(t, s.change(t.Context(), func(w *writer) error {
		for n := range 2*pageBlocks + 50 {
			batch := g.Batch(6)
			for i := range batch {
				batch[i].Time = begin.Add(time.Duration(n) * time.Microsecond) // ties in a block
				batch[i].Status, batch[i].Method = 200, "GET"
			}
			if wide {
				batch[4].Time = begin.Add(time.Duration(n) * time.Nanosecond)
				batch[5].Time = begin.Add(-time.Duration(n*7919%1000) * time.Nanosecond)
			}
			// The terms are there, and the record is not the one that is asked for.
			batch[0].Status, batch[1].Method = 418, "BREW"
			if n%200 == 7 {
				batch[2+n%400/200*3].Status, batch[2+n%400/200*3].Method = 418, "BREW"
			}
			if err := model.Append(t.Context(), batch); err != nil {
				return err
			}
			var entries []entry
			for i := range batch {
				rec := binrec.Read(binrec.Append(nil, &batch[i]))
				entries = append(entries, entry{rec.UnixNano(), rec})
			}
			sortEntries(entries)
			if err := w.write(0, entries); err != nil { // as it is: not merged
				return err
			}
		}
		return nil
	}))
	require.Greater(t, s.Stats().Blocks, int64(2*pageBlocks))
}
