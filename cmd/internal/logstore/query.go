package logstore

import (
	"context"
	"iter"
	"math"
	"time"

	"github.com/ipallow/ipallow/usagelog"
)

// Query implements usagelog.Store. It reads the blocks that cover the time of
// the page, or with a filter those that have a record for it. With a filter it waits
// its turn, and returns ErrBusy if that is too long.
func (s *Store) Query(ctx context.Context, q usagelog.Query) (usagelog.Page, error) {
	limit, after, err := q.Plan()
	if err != nil {
		return usagelog.Page{}, err
	}
	r := s.newReader(q.Filter, after)
	var page usagelog.Page
	read := func() error {
		var err error
		// One more than asked for, to know whether there is another page.
		for more := true; more && len(page.Records) <= limit && err == nil; {
			page.Records, more, err = r.page(ctx, limit+1, page.Records)
		}
		return err
	}
	if r.plan == nil {
		err = read()
	} else {
		err = s.heavy.do(ctx, read)
	}
	if err != nil {
		return usagelog.Page{}, s.explain(ctx, err)
	}
	if len(page.Records) > limit {
		page.Records = page.Records[:limit]
		page.Next = page.Records[limit-1].Position().Cursor()
	}
	return page, nil
}

// streamRecords is how many records a Stream holds at a time.
const streamRecords = 4096

// Stream implements usagelog.Store. Its first error is ErrBusy when too many run.
func (s *Store) Stream(ctx context.Context, f usagelog.Filter) iter.Seq2[usagelog.Record, error] {
	return func(yield func(usagelog.Record, error) bool) {
		_, after, err := usagelog.Query{Filter: f}.Plan()
		if err != nil {
			yield(usagelog.Record{}, err)
			return
		}
		if err := s.exports.enter(ctx); err != nil {
			yield(usagelog.Record{}, s.explain(ctx, err))
			return
		}
		defer s.exports.leave()
		r := s.newReader(f, after)
		var recs []usagelog.Record
		for more := true; more; {
			// A turn for each part: nobody waits for a slow client.
			err := s.heavy.do(ctx, func() (err error) {
				recs, more, err = r.page(ctx, streamRecords, recs[:0])
				return err
			})
			if err != nil {
				yield(usagelog.Record{}, s.explain(ctx, err))
				return
			}
			for i := range recs {
				if !yield(recs[i], nil) {
					return
				}
			}
		}
	}
}

// A reader reads the records for a filter page by page, each page in a
// transaction of its own. Between two pages blocks may be merged, but no
// record changes its position.
type reader struct {
	s     *Store
	f     usagelog.Filter
	terms []term
	plan  *plan // nil: the filter asks for times alone
	from  int64 // no record for the filter is older
	to    bound // all records to come stand behind it

	heap []cursor // the newest on top

	// Of blocks that a page before has read, by ID: those that have more
	// records for the filter, and the times of the oldest record of those that
	// have none and come up again because they reach further back.
	kept map[int64]*block
	done map[int64]int64
}

// A bound is a position, or the zero bound before everything.
type bound struct {
	set bool
	ns  int64
	id  usagelog.RecordID
}

// newReader returns a reader of the records for f behind a position.
func (s *Store) newReader(f usagelog.Filter, after *usagelog.Position) *reader {
	if cutoff := s.cutoff(); cutoff > 0 {
		if t := time.Unix(0, cutoff); f.From.IsZero() || f.From.Before(t) {
			f.From = t
		}
	}
	r := &reader{s: s, f: f, terms: filterTerms(&f), done: make(map[int64]int64)}
	if p := newPlan(&f); p.kinds || !p.byKind() {
		r.plan = p
	}
	if !f.From.IsZero() {
		r.from = nanos(f.From)
	}
	if !f.To.IsZero() && !f.To.After(maxTime) {
		r.to = bound{set: true, ns: nanos(f.To)} // no ID is before the zero one
	}
	if after != nil {
		if b := (bound{true, after.Time.UnixNano(), after.ID}); !r.to.set || b.ns < r.to.ns {
			r.to = b
		}
	}
	return r
}

// maxTime is the last that a record may have.
var maxTime = time.Unix(0, math.MaxInt64)

// nanos returns t as a record could have it, moved into the bounds.
func nanos(t time.Time) int64 {
	switch {
	case t.Unix() < 0:
		return 0
	case t.After(maxTime):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// pageBlocks is how many blocks are read in one transaction: one that goes on
// for long keeps SQLite from using its write-ahead log anew, and that grows.
const pageBlocks = 256

// page appends records to recs until they are limit, or the transaction has
// taken long enough, or there are no more. more says that there may be.
func (r *reader) page(ctx context.Context, limit int, recs []usagelog.Record) (_ []usagelog.Record, more bool, err error) {
	c, err := r.s.candidates(ctx, r.s.read, r.from, r.to, r.terms, r.plan)
	if err != nil {
		return nil, false, err
	}
	defer c.close()
	kept := r.kept
	r.kept, r.heap = make(map[int64]*block), r.heap[:0]
	defer r.keep()
	ok, err := c.next(ctx)
	for read := 0; len(recs) < limit; {
		// The newest record of all blocks is on top when no block that is not
		// open can have a newer one.
		for err == nil && ok && (len(r.heap) == 0 || c.newest >= r.heap[0].ns) {
			b := kept[c.id]
			if _, done := r.done[c.id]; b == nil && !done {
				if read >= pageBlocks && r.skipTo(c.newest) {
					return recs, true, nil
				}
				read++
				b, err = c.load(ctx)
			}
			if err == nil {
				if b != nil {
					r.push(cursor{b: b, id: c.id, oldest: c.oldest})
				}
				ok, err = c.next(ctx)
			}
		}
		if err != nil {
			return nil, false, err
		}
		if len(r.heap) == 0 {
			return recs, false, nil
		}
		rec := r.heap[0].rec
		recs = append(recs, rec.Decode())
		r.to = bound{true, r.heap[0].ns, rec.ID()}
		r.advance()
	}
	return recs, true, nil
}

// skipTo says that all records which are newer than this time have been seen.
// It reports whether that was not known.
func (r *reader) skipTo(ns int64) bool {
	if ns == math.MaxInt64 || r.to.set && ns+1 >= r.to.ns {
		return false
	}
	r.to = bound{set: true, ns: ns + 1}
	return true
}

// keep keeps of a page what the next one needs.
func (r *reader) keep() {
	for i := range r.heap {
		r.kept[r.heap[i].id] = r.heap[i].b
	}
	for id, oldest := range r.done {
		if oldest > r.to.ns {
			delete(r.done, id)
		}
	}
}
