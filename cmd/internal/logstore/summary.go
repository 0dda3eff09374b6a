package logstore

import (
	"context"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/binrec"
	"github.com/ipallow/ipallow/usagelog"
)

// MaxBuckets is the most that Summary returns.
const MaxBuckets = 2000

// A Bucket counts the requests of one stretch of time.
type Bucket struct {
	Start   time.Time
	Served  int64 // all others
	Blocked int64 // answered with 403 and refused by an allowlist
	Other   int64 // answered with 401, with 503 by the gateway, or with 403 for another reason
}

// Summary counts the records for f in buckets of width, from f.From on up to
// f.To; both must be given. Each bucket is there, in order, also where it counts
// nothing; the last one may reach beyond f.To and counts only what is before
// it. Errors about the arguments wrap usagelog.ErrQuery.
//
// It reads the columns that the filter asks for, and no record but of the blocks
// that are still merged: 5 million records take 10 ms without a filter or by
// method, status and verdict, and 20 to 200 ms with others (docs/performance.md). It
// waits its turn, and returns ErrBusy if that is too long.
func (s *Store) Summary(ctx context.Context, f usagelog.Filter, width time.Duration) ([]Bucket, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	switch {
	case f.From.IsZero() || f.To.IsZero():
		return nil, fmt.Errorf("%w: a summary needs both from and to", usagelog.ErrQuery)
	case width <= 0:
		return nil, fmt.Errorf("%w: width %v: want a positive duration", usagelog.ErrQuery, width)
	case !f.From.Before(f.To):
		return nil, fmt.Errorf("%w: from %v is not before to %v", usagelog.ErrQuery, f.From, f.To)
	}
	span := f.To.Sub(f.From) // 292 years at most
	n := int64((span-1)/width) + 1
	if n > MaxBuckets || span == math.MaxInt64 {
		return nil, fmt.Errorf("%w: %d buckets of %v from %v to %v: want at most %d", usagelog.ErrQuery, n, width, f.From, f.To, MaxBuckets)
	}
	b := newBins(f.From, width, int(n))
	if err := s.fill(ctx, f, b); err != nil {
		return nil, err
	}
	return b.buckets(), nil
}

// fill adds the records for f to the bins.
func (s *Store) fill(ctx context.Context, f usagelog.Filter, b *bins) error {
	r := s.newReader(f, nil)
	if r.plan == nil {
		r.plan = newPlan(&f) // for times
	}
	err := s.heavy.do(ctx, func() error { return r.summarize(ctx, b) })
	return s.explain(ctx, err)
}

// summarize adds the records for r to the bins.
func (r *reader) summarize(ctx context.Context, bins *bins) error {
	c, err := r.s.candidates(ctx, r.s.read, r.from, r.to, r.terms, r.plan)
	if err != nil {
		return err
	}
	defer c.close()
	c.counting = true
	for {
		ok, err := c.next(ctx)
		if !ok || err != nil {
			return err
		}
		one := c.within(r) && bins.together(c.oldest, c.newest)
		if one && r.plan.byKind() {
			if !r.plan.kinds {
				bins.add(c.newest, c.counts)
				continue
			}
			var sum counts
			known := eachKind(c.kinds, func(v []byte, n int64) {
				if k := r.plan.kind(v); k.chosen {
					sum.addTo(k.place, n)
				}
			})
			if known {
				bins.add(c.newest, sum)
				continue
			}
		}
		if c.choice.known && c.class == classes {
			known, err := c.countChosen(r, one, bins)
			if err != nil {
				return err
			}
			if known {
				continue
			}
		}
		b, err := c.load(ctx)
		if err != nil {
			return err
		}
		r.eachRecord(b, func(rec binrec.Record) {
			var one counts
			one.add(rec)
			bins.reach(rec.UnixNano())
			bins.add(rec.UnixNano(), one)
		})
	}
}

// countChosen adds the records of the present block that the choice has, by the
// columns of kinds and, unless all are in one bin, of times. known is false, and
// nothing was added, when the records must be read.
func (c *candidates) countChosen(r *reader, one bool, bins *bins) (known bool, err error) {
	b, err := c.column(kindColumn) // first, as wantedFor has it
	if err != nil {
		return false, err
	}
	if !c.coded.read(b, c.records) {
		return false, nil
	}
	first, end := 0, c.records
	if !one {
		b, err := c.column(timeColumn)
		if err != nil {
			return false, err
		}
		if c.times, known = readTimes(c.times[:0], b, c.newest, c.records); !known {
			return false, nil
		}
		if r.to.set {
			first = sort.Search(end, func(i int) bool { return c.times[i] < r.to.ns })
		}
		end = sort.Search(end, func(i int) bool { return c.times[i] < r.from })
	}
	c.places = c.places[:0]
	c.coded.each(func(v []byte) {
		k := r.plan.kind(v)
		if !k.chosen {
			k.place = nowhere
		}
		c.places = append(c.places, k.place)
	})
	marks := c.choice.marks
	chosen := func(i int) bool { return i >= first && i < end && (len(marks) == 0 || marks[i] != 0) }
	bin, since := c.newest, int64(math.MaxInt64) // a time of the present bin, and when that begins
	var sum counts                               // in it
	for i := first; i < end; i++ {
		place := c.places[c.coded.code(i)]
		if place == nowhere || len(marks) > 0 && marks[i] == 0 {
			continue
		}
		if !one && c.times[i] < since { // they go back in time
			if sum != (counts{}) {
				bins.add(bin, sum)
			}
			sum, bin = counts{}, c.times[i]
			bins.reach(bin)
			since = bins.since(bin)
		}
		sum.addTo(place, 1)
	}
	if sum != (counts{}) {
		bins.add(bin, sum)
	}
	c.coded.more(func(i int, more int64) {
		if i < c.records && chosen(i) && c.places[c.coded.code(i)] != nowhere {
			if !one {
				bin = c.times[i]
			}
			var sum counts
			sum.addTo(c.places[c.coded.code(i)], more)
			bins.add(bin, sum)
		}
	})
	return true, nil
}
