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
// method, status and verdict, and 20 to 150 ms with others (docs/performance.md). It
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
	buckets := make([]Bucket, n)
	for i := range buckets {
		buckets[i].Start = f.From.Add(time.Duration(i) * width)
	}
	r := s.newReader(f, nil)
	if r.plan == nil {
		r.plan = newPlan(&f) // for times
	}
	err := s.heavy.do(ctx, func() error { return r.summarize(ctx, buckets, width) })
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	return buckets, nil
}

func (b *Bucket) add(c counts) {
	b.Served += c.served
	b.Blocked += c.blocked
	b.Other += c.other
}

// summarize adds the records for r to the buckets, which begin at the first one's
// start.
func (r *reader) summarize(ctx context.Context, buckets []Bucket, width time.Duration) error {
	first := buckets[0].Start
	at := func(ns int64) int { return int(time.Unix(0, ns).Sub(first) / width) }
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
		one := c.within(r) && at(c.oldest) == at(c.newest)
		if one && r.plan.byKind() {
			if !r.plan.kinds {
				buckets[at(c.newest)].add(c.counts)
				continue
			}
			var sum counts
			known := eachKind(c.kinds, func(v []byte, n int64) {
				if k := r.plan.kind(v); k.chosen {
					sum.addTo(k.place, n)
				}
			})
			if known {
				buckets[at(c.newest)].add(sum)
				continue
			}
		}
		if c.choice.known && c.class == classes {
			known, err := c.countChosen(r, one, buckets, at)
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
			buckets[at(rec.UnixNano())].add(one)
		})
	}
}

// countChosen adds the records of the present block that the choice has, by the
// columns of kinds and, unless all are in one bucket, of times. known is false, and
// nothing was added, when the records must be read.
func (c *candidates) countChosen(r *reader, one bool, buckets []Bucket, at func(int64) int) (known bool, err error) {
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
	bucket, begins := at(c.newest), int64(math.MaxInt64)
	var sum counts // in the bucket
	for i := first; i < end; i++ {
		place := c.places[c.coded.code(i)]
		if place == nowhere || len(marks) > 0 && marks[i] == 0 {
			continue
		}
		if !one && c.times[i] < begins { // they go back in time
			if sum != (counts{}) {
				buckets[bucket].add(sum)
			}
			sum = counts{}
			bucket = at(c.times[i])
			begins = nanos(buckets[bucket].Start)
		}
		sum.addTo(place, 1)
	}
	if sum != (counts{}) {
		buckets[bucket].add(sum)
	}
	c.coded.more(func(i int, more int64) {
		if i < c.records && chosen(i) && c.places[c.coded.code(i)] != nowhere {
			if !one {
				bucket = at(c.times[i])
			}
			var sum counts
			sum.addTo(c.places[c.coded.code(i)], more)
			buckets[bucket].add(sum)
		}
	})
	return true, nil
}
