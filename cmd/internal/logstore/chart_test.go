package logstore

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

var pageScale = Scale{Bars: 56, Back: 400 * day, Widths: []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour,
	12 * time.Hour, day, 7 * day, 30 * day,
}}

// plainChart is Chart by the records, one after another.
func plainChart(recs []usagelog.Record, f usagelog.Filter, scale Scale) ([]Bucket, time.Duration) {
	from, oldest := f.From, time.Time{}
	if from.IsZero() {
		f.From = f.To.Add(-scale.Back).Truncate(day)
	}
	chosen := recs[:0:0]
	for _, r := range recs {
		if f.Match(&r) {
			chosen = append(chosen, r)
			if oldest.IsZero() || r.Time.Before(oldest) {
				oldest = r.Time
			}
		}
	}
	if len(chosen) == 0 {
		return nil, 0
	}
	if from.IsZero() {
		from = oldest.Truncate(day)
	}
	width := scale.Widths[len(scale.Widths)-1]
	for _, w := range scale.Widths {
		if f.To.Sub(from) <= time.Duration(scale.Bars)*w {
			width = w
			break
		}
	}
	begin := from.Truncate(width)
	var buckets []Bucket
	for at := begin; at.Before(f.To); at = at.Add(width) {
		buckets = append(buckets, Bucket{Start: at})
	}
	for _, r := range chosen {
		b := &buckets[r.Time.Sub(begin)/width]
		switch n := 1 + int64(r.More); placeOf(r.Status, r.Verdict) {
		case servedPlace:
			b.Served += n
		case blockedPlace:
			b.Blocked += n
		default:
			b.Other += n
		}
	}
	return buckets, width
}

// A chart is what a count by hand gives, whatever time it has to cover and however late
// that turns out.
func TestChart(t *testing.T) {
	t.Parallel()
	widths := map[time.Duration]int{}
	for _, span := range []time.Duration{3 * time.Minute, 50 * time.Minute, 100 * time.Minute, 5 * time.Hour, 3 * day, 60 * day, 500 * day} {
		s := mustOpen(t, Options{})
		tr := logtraffic.New(1)
		const n = blockRecords + 600
		tr.Step = span / n
		recs := tr.Batch(n)
		recs[n/2].More = 99
		require.NoError(t, s.Append(t.Context(), recs))
		last := begin.Add(span)
		for name, f := range trafficFilters(t, s) {
			if !f.From.IsZero() {
				continue // for another time
			}
			for _, to := range []time.Time{last, last.Add(17*time.Hour + 3*time.Second), last.Truncate(day).Add(day), begin.Add(span / 2), begin} {
				for _, from := range []time.Time{{}, to.Add(-span/3 - time.Second), begin.Add(-time.Hour)} {
					if !from.Before(to) {
						continue
					}
					f.From, f.To = from, to
					want, wide := plainChart(recs, f, pageScale)
					got, width, err := s.Chart(t.Context(), f, pageScale)
					require.NoError(t, err)
					what := fmt.Sprintf("%v: %s, from %v to %v", span, name, from, to)
					require.Equal(t, wide, width, what)
					require.Equal(t, len(want), len(got), what)
					for i := range want {
						require.True(t, want[i].Start.Equal(got[i].Start), "%s: bucket %d", what, i+1)
						got[i].Start = want[i].Start
						require.Equal(t, want[i], got[i], what)
					}
					widths[width]++
				}
			}
		}
	}
	for _, w := range pageScale.Widths {
		require.Positive(t, widths[w], "%v", w)
	}
}
