package logstore

import (
	"flag"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

var benchRecords = flag.Int("records", 200_000, "records of BenchmarkRead")

// BenchmarkAppend measures Append with merging, and with the disk: cpu-us/rec is
// processor time of user and system, which is what it takes from the
// requests; wall-us/rec has the waiting for the disk in it.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ batch, keys int }{{16, 1000}, {512, 100}, {512, 100_000}, {4096, 100}, {4096, 100_000}} {
		b.Run(fmt.Sprintf("batch=%d/keys=%d", c.batch, c.keys), func(b *testing.B) {
			s := mustOpen(b, Options{})
			g := logtraffic.NewGenerator(c.keys)
			recs := g.Batch(32768) // made beforehand, and again and again with new IDs and times
			length := g.Now.Sub(begin)
			runtime.GC()
			at := 0
			was, start := cpu(b), time.Now()
			for b.Loop() {
				if at == len(recs) {
					at = 0
					for i := range recs {
						recs[i].Time = recs[i].Time.Add(length)
						recs[i].ID[0]++
					}
				}
				if err := s.Append(b.Context(), recs[at:at+c.batch]); err != nil {
					b.Fatal(err)
				}
				at += c.batch
			}
			used, wall := cpu(b)-was, time.Since(start)
			n := float64(b.N) * float64(c.batch)
			b.ReportMetric(float64(used.Nanoseconds())/1e3/n, "cpu-us/rec")
			b.ReportMetric(float64(wall.Nanoseconds())/1e3/n, "wall-us/rec")
			b.ReportMetric(float64(s.Stats().Bytes)/n, "B/rec")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkRead measures queries on a big log: 10 million records with
// -records 10000000. One key in 1000 is rare: used once in 500,000 requests.
func BenchmarkRead(b *testing.B) {
	total := *benchRecords
	if testing.Short() {
		total = 20_000
	}
	s := mustOpen(b, Options{})
	g := logtraffic.NewGenerator(1000)
	start := time.Now()
	rare := 0
	for n := 0; n < total; n += 4096 {
		recs := g.Batch(4096)
		if n/500_000 != (n+4096)/500_000 || n == 0 {
			recs[2000].KeyID, recs[2000].Status = "rare", 418
			rare++
		}
		require.NoError(b, s.Append(b.Context(), recs))
	}
	st := s.Stats()
	b.Logf("%d records in %d blocks, %d MB, made in %v", st.Records, st.Blocks, st.Bytes>>20, time.Since(start).Round(time.Millisecond))
	middle := usagelog.Position{Time: begin.Add(g.Now.Sub(begin) / 2)}.Cursor()
	denied := ipallow.Denied
	for _, c := range []struct {
		name string
		q    usagelog.Query
		want int
	}{
		{"first", usagelog.Query{}, 100},
		{"first/limit=1000", usagelog.Query{Limit: 1000}, 1000},
		{"middle", usagelog.Query{Cursor: middle}, 100},
		{"busykey", usagelog.Query{Filter: usagelog.Filter{KeyID: g.Keys[0]}}, 100},
		{"rarekey", usagelog.Query{Filter: usagelog.Filter{KeyID: "rare"}}, rare},
		{"nokey", usagelog.Query{Filter: usagelog.Filter{KeyID: "none"}}, 0},
		{"rarestatus", usagelog.Query{Filter: usagelog.Filter{Status: 418}}, rare},
		{"denied/method=POST", usagelog.Query{Filter: usagelog.Filter{Verdict: &denied, Method: "POST"}}, 100},
		{"busykey/status=418", usagelog.Query{Filter: usagelog.Filter{KeyID: g.Keys[0], Status: 418}}, 0},
	} {
		b.Run("page="+c.name, func(b *testing.B) {
			for b.Loop() {
				page, err := s.Query(b.Context(), c.q)
				if err != nil || len(page.Records) != c.want {
					b.Fatalf("%d records, %v", len(page.Records), err)
				}
			}
		})
	}
	b.Run("export", func(b *testing.B) {
		n, begun := 0, time.Now()
		for b.Loop() {
			for _, err := range s.Stream(b.Context(), usagelog.Filter{}) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
		}
		b.ReportMetric(float64(n)/time.Since(begun).Seconds(), "rec/s")
	})
	b.Run("export/csv", func(b *testing.B) {
		begun := time.Now()
		for b.Loop() {
			if err := usagelog.WriteCSV(io.Discard, s.Stream(b.Context(), usagelog.Filter{})); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)*float64(st.Records)/time.Since(begun).Seconds(), "rec/s")
	})
	for _, key := range []string{g.Keys[0], g.Keys[900], "rare"} {
		b.Run("seen="+key, func(b *testing.B) {
			for b.Loop() {
				if list, err := s.Seen(b.Context(), key, begin); err != nil || len(list) == 0 {
					b.Fatal(list, err)
				}
			}
		})
	}
	b.Run("blocked=keys50", func(b *testing.B) {
		for b.Loop() {
			if n, err := s.Blocked(b.Context(), g.Keys[:50], begin); err != nil || len(n) == 0 {
				b.Fatal(n, err)
			}
		}
	})
	for _, f := range []usagelog.Filter{{}, {KeyID: g.Keys[0]}, {Method: "POST"}} {
		b.Run(fmt.Sprintf("summary=%s%s", f.KeyID, f.Method), func(b *testing.B) {
			f.From, f.To = begin.Add(-time.Second), g.Now.Add(time.Second)
			for b.Loop() {
				if _, err := s.Summary(b.Context(), f, f.To.Sub(f.From)/100); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPipeline measures all that logging costs at 20,000 requests a
// second: Record, the write-ahead file, reading it, and the store, and the
// timers of the benchmark. cpu-% is of one core.
func BenchmarkPipeline(b *testing.B) {
	const rate = 20_000
	for _, c := range []struct {
		batch  int
		linger time.Duration
	}{{512, 0}, {4096, 0}, {4096, 100 * time.Millisecond}, {4096, 200 * time.Millisecond}} {
		b.Run(fmt.Sprintf("batch=%d/linger=%v", c.batch, c.linger), func(b *testing.B) {
			s := mustOpen(b, Options{})
			w, err := usagelog.Open(b.TempDir(), s, &usagelog.Options{BatchRecords: c.batch, StoreLinger: c.linger})
			require.NoError(b, err)
			g := logtraffic.NewGenerator(1000)
			recs := g.Batch(rate)
			runtime.GC()
			var used time.Duration
			for b.Loop() { // a second
				was, start := cpu(b), time.Now()
				for i := range recs {
					if i%20 == 0 { // every millisecond
						time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / rate)))
					}
					r := recs[i]
					r.Time = time.Time{}
					w.Record(r)
				}
				used += cpu(b) - was
			}
			require.NoError(b, w.Close(b.Context()))
			require.Zero(b, w.Stats().Lost.Total())
			n := float64(b.N) * rate
			b.ReportMetric(float64(used.Nanoseconds())/1e3/n, "cpu-us/rec")
			b.ReportMetric(100*used.Seconds()/float64(b.N), "cpu-%")
			b.ReportMetric(n/float64(count(b, s, "SELECT seq FROM sqlite_sequence WHERE name = 'blocks'")), "rec/write")
			b.ReportMetric(0, "ns/op")
		})
	}
}
