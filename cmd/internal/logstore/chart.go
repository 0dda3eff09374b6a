package logstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ipallow/ipallow/usagelog"
)

// A Scale says what a Chart looks like.
type Scale struct {
	Widths []time.Duration // that a bucket may have, ascending; the first divides the others and a day
	Bars   int             // about how many buckets there are
	Back   time.Duration   // how far a chart without a beginning looks back
}

const day = 24 * time.Hour

// Chart counts the records for f as Summary does, in the narrowest width with which about
// scale.Bars buckets reach from f.From to f.To, and returns it. Without f.From they
// begin on the day (UTC) of the oldest record for f. Buckets begin at multiples of
// their width, the first one perhaps before f.From, and count only what is for f. There
// are none where nothing is counted.
//
// It reads the log once, whatever it finds. Costs and errors are those of Summary.
func (s *Store) Chart(ctx context.Context, f usagelog.Filter, scale Scale) ([]Bucket, time.Duration, error) {
	if err := f.Validate(); err != nil {
		return nil, 0, err
	}
	if f.To.IsZero() {
		return nil, 0, fmt.Errorf("%w: a chart needs to", usagelog.ErrQuery)
	}
	from := f.From
	b := &bins{scale: &scale, to: f.To}
	if from.IsZero() {
		f.From = f.To.Add(-scale.Back).Truncate(day)
		b.begin(f.To.Truncate(day))
	} else {
		if !from.Before(f.To) {
			return nil, 0, nil
		}
		width := scale.width(f.To.Sub(from))
		begin := from.Truncate(width)
		if f.To.Sub(begin)/width >= MaxBuckets {
			begin = f.To.Add(-(MaxBuckets - 1) * width).Truncate(width)
			f.From = begin
		}
		b = newBins(begin, width, int((f.To.Sub(begin)-1)/width)+1)
	}
	if err := s.fill(ctx, f, b); err != nil {
		return nil, 0, err
	}
	if from.IsZero() {
		b.widen()
	}
	if !slices.ContainsFunc(b.counts, func(c counts) bool { return c != counts{} }) {
		return nil, 0, nil
	}
	return b.buckets(), b.width, nil
}

// width returns the width of the buckets of a time.
func (s *Scale) width(span time.Duration) time.Duration {
	for _, w := range s.Widths {
		if span <= time.Duration(s.Bars)*w {
			return w
		}
	}
	return s.Widths[len(s.Widths)-1]
}

// base returns the greatest width that divides a day, this width and all that are
// greater: whatever is counted in it can be told in any of these.
func (s *Scale) base(width time.Duration) time.Duration {
	base := s.Widths[0]
	for _, w := range s.Widths {
		divides := w <= width && day%w == 0
		for _, greater := range s.Widths {
			divides = divides && (greater < width || greater%w == 0)
		}
		if divides {
			base = w
		}
	}
	return base
}

// bins count requests in stretches of time.
type bins struct {
	first  time.Time // when the first one begins
	width  time.Duration
	counts []counts

	scale *Scale    // nil: no record is older than first
	to    time.Time // where they end
}

func newBins(first time.Time, width time.Duration, n int) *bins {
	return &bins{first: first, width: width, counts: make([]counts, n)}
}

// index returns the bin of a time, which is not before the first one.
func (b *bins) index(ns int64) int { return int(time.Unix(0, ns).Sub(b.first) / b.width) }

// together reports whether two times are known to be in one bin.
func (b *bins) together(oldest, newest int64) bool {
	return oldest >= nanos(b.first) && b.index(oldest) == b.index(newest)
}

// since returns when the bin of a time begins.
func (b *bins) since(ns int64) int64 {
	return nanos(b.first.Add(time.Duration(b.index(ns)) * b.width))
}

// reach has the bins begin at this time at the latest.
func (b *bins) reach(ns int64) {
	if b.scale != nil && ns < nanos(b.first) {
		b.begin(time.Unix(0, ns).UTC().Truncate(day))
	}
}

// begin moves the beginning back, which may make the bins wider.
func (b *bins) begin(first time.Time) {
	width := b.scale.base(b.scale.width(b.to.Sub(first)))
	b.move(first, width)
}

// widen gives the bins the width that their time asks for.
func (b *bins) widen() {
	width := b.scale.width(b.to.Sub(b.first))
	b.move(b.first.Truncate(width), width)
}

// move brings the counts into bins that begin earlier, or are wider.
func (b *bins) move(first time.Time, width time.Duration) {
	moved := newBins(first, width, int((b.to.Sub(first)+width-1)/width))
	for i, c := range b.counts {
		if c != (counts{}) {
			moved.add(b.first.Add(time.Duration(i)*b.width).UnixNano(), c)
		}
	}
	b.first, b.width, b.counts = moved.first, moved.width, moved.counts
}

// add counts requests of this time, or of others in the same bin.
func (b *bins) add(ns int64, c counts) {
	to := &b.counts[b.index(ns)]
	to.served += c.served
	to.blocked += c.blocked
	to.other += c.other
}

func (b *bins) buckets() []Bucket {
	buckets := make([]Bucket, len(b.counts))
	for i, c := range b.counts {
		buckets[i] = Bucket{b.first.Add(time.Duration(i) * b.width), c.served, c.blocked, c.other}
	}
	return buckets
}
