package logstore

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

var logFile = flag.String("log", "", "file of the log of BenchmarkFilters, which is made if it is not there; default: a new one")

// trafficLog returns a log of a month of traffic, in batches as a server of some
// thousand requests a second has them, and its last moment.
func trafficLog(b testing.TB, records int) (*Store, time.Time) {
	path := *logFile
	if path == "" {
		path = filepath.Join(b.TempDir(), "usage.db")
	}
	_, err := os.Stat(path)
	s, openErr := Open(b.Context(), Options{Path: path})
	require.NoError(b, openErr)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	if err != nil {
		start := time.Now()
		t := logtraffic.New(records)
		for n := 0; n < records; n += 700 {
			require.NoError(b, s.Append(b.Context(), t.Batch(min(700, records-n))))
		}
		b.Logf("made in %v", time.Since(start).Round(time.Millisecond))
	}
	st := s.Stats()
	info, err := os.Stat(path)
	require.NoError(b, err)
	b.Logf("%d records in %d blocks, %d MB of records, a file of %d MB", st.Records, st.Blocks, st.Bytes>>20, info.Size()>>20)
	return s, begin.Add(month + time.Hour)
}

// trafficFilters are one of each kind, and some combinations.
func trafficFilters(b testing.TB, s *Store) map[string]usagelog.Filter {
	middle, err := s.Query(b.Context(), usagelog.Query{Filter: usagelog.Filter{To: begin.Add(month / 2)}, Limit: 1})
	require.NoError(b, err)
	require.Len(b, middle.Records, 1)
	filters := make(map[string]usagelog.Filter)
	for _, f := range logtraffic.New(1).Filters(begin, middle.Records[0].RequestID) {
		filters[f.Name] = f.Filter
	}
	return filters
}

// reportMillis reports wall clock and processor time in milliseconds: the second is
// what a busy machine does not spoil.
func reportMillis(b *testing.B, was time.Duration) {
	b.ReportMetric(float64((cpu(b)-was).Microseconds())/1e3/float64(b.N), "cpu-ms")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1e3/float64(b.N), "ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFilters measures the first page, the chart of 100 bars and the count for
// each kind of filter: 5 million records with -records 5000000.
func BenchmarkFilters(b *testing.B) {
	total := *benchRecords
	if testing.Short() {
		total = 20_000
	}
	s, end := trafficLog(b, total)
	for name, f := range trafficFilters(b, s) {
		b.Run("page/filter="+name, func(b *testing.B) {
			was := cpu(b)
			for b.Loop() {
				if _, err := s.Query(b.Context(), usagelog.Query{Filter: f, Limit: 50}); err != nil {
					b.Fatal(err)
				}
			}
			reportMillis(b, was)
		})
		for _, bars := range []int{100, 1} {
			f := f
			if f.From.IsZero() {
				f.From, f.To = begin.Add(-3*time.Hour), end
			}
			kind := map[int]string{100: "chart", 1: "count"}[bars]
			b.Run(kind+"/filter="+name, func(b *testing.B) {
				n := int64(0)
				was := cpu(b)
				for b.Loop() {
					n = 0
					buckets, err := s.Summary(b.Context(), f, f.To.Sub(f.From)/time.Duration(bars)+1)
					if err != nil {
						b.Fatal(err)
					}
					for _, bucket := range buckets {
						n += bucket.Served + bucket.Blocked + bucket.Other
					}
				}
				b.ReportMetric(float64(n), "requests")
				reportMillis(b, was)
			})
		}
	}
	b.Run("export", func(b *testing.B) {
		n := 0
		for b.Loop() {
			n = 0
			for _, err := range s.Stream(b.Context(), usagelog.Filter{Outcome: usagelog.Blocked}) {
				require.NoError(b, err)
				n++
			}
		}
		b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rec/s")
	})
	b.Run("seen/beside=12charts", func(b *testing.B) {
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				f := usagelog.Filter{PathPrefix: fmt.Sprintf("/v1/users/%d", i), From: begin, To: end}
				for ctx.Err() == nil {
					_, _ = s.Summary(ctx, f, time.Hour)
				}
			})
		}
		longest := time.Duration(0)
		key := logtraffic.NewGenerator(1000).Keys[0]
		for b.Loop() {
			start := time.Now()
			_, err := s.Seen(ctx, key, end.Add(-7*24*time.Hour))
			require.NoError(b, err)
			longest = max(longest, time.Since(start))
		}
		b.ReportMetric(longest.Seconds()*1e3, "ms-longest")
		cancel()
		wg.Wait()
	})
}
