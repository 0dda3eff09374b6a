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
// nothing on the way; and it ends when its context does.
func TestManyBlocks(t *testing.T) {
	s := mustOpen(t, Options{})
	model := usagelog.NewMemoryStore(0)
	g := newGenerator(3)
	require.NoError(t, s.change(t.Context(), func(w *writer) error {
		for n := range 2*pageBlocks + 50 {
			batch := g.batch(6)
			for i := range batch {
				batch[i].Time = begin.Add(time.Duration(n) * time.Microsecond) // ties in a block
				batch[i].Status, batch[i].Method = 200, "GET"
			}
			// The terms are there, and the record is not the one that is asked for.
			batch[0].Status, batch[1].Method = 418, "BREW"
			if n%200 == 7 {
				batch[2].Status, batch[2].Method = 418, "BREW"
			}
			if err := model.Append(t.Context(), batch); err != nil {
				return err
			}
			var entries []entry
			for i := range batch {
				rec := usagelog.ReadBinary(usagelog.AppendBinary(nil, &batch[i]))
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
	f := usagelog.Filter{Status: 418, Method: "BREW"}
	require.Equal(t, 3, same(t, model, s, f))
	page, err := s.Query(t.Context(), usagelog.Query{Filter: f, Limit: 2})
	require.NoError(t, err)
	require.Len(t, page.Records, 2)
	page, err = s.Query(t.Context(), usagelog.Query{Filter: f, Limit: 2, Cursor: page.Next})
	require.NoError(t, err)
	require.Len(t, page.Records, 1)
	require.Empty(t, page.Next)

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = s.Query(ctx, usagelog.Query{Filter: f})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = s.Summary(ctx, usagelog.Filter{From: begin, To: begin.Add(time.Hour), Method: "BREW"}, time.Hour)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
