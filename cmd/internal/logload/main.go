// Command logload measures the usage log when it is long: each kind of filter's first
// page, chart and count, an export, and what a save of an allowlist, the log's first
// page and a request take over HTTP while charts are asked for without end.
//
//	make logload
//
// It prints tables in Markdown. Times are of the clock, the lowest of the runs, and beside
// charts as percentiles.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "logload:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	records, runs, saves, charts int
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	var opt options
	fs := flag.NewFlagSet("logload", flag.ContinueOnError)
	fs.IntVar(&opt.records, "records", 5_000_000, "records of a month")
	fs.IntVar(&opt.runs, "count", 3, "runs of each filter")
	fs.IntVar(&opt.saves, "saves", 300, "saves of a list, with charts beside them and without")
	fs.IntVar(&opt.charts, "charts", 12, "charts that are asked for at the same time, without end")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	data, err := os.MkdirTemp("", "ipallow-logload-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	m := &measured{opt: opt, data: data, out: out, progress: progress}
	if err := m.fill(ctx); err != nil {
		return err
	}
	if err := m.filters(ctx); err != nil {
		return err
	}
	return m.beside(ctx)
}

// A measured is a log in the data directory of a server.
type measured struct {
	opt           options
	data          string
	out, progress io.Writer

	key, secret string // the busiest key, which the server has
	traffic     *logtraffic.Traffic
	begin, end  time.Time // of the records; they end now
}

// fill makes the log, for a key of the server's.
func (m *measured) fill(ctx context.Context) error {
	if err := m.makeKey(ctx); err != nil {
		return err
	}
	fmt.Fprintf(m.progress, "making %d records\n", m.opt.records)
	logs, err := logstore.Open(ctx, logstore.Options{Path: filepath.Join(m.data, "usage.db")})
	if err != nil {
		return err
	}
	defer logs.Close()
	m.traffic = logtraffic.New(m.opt.records)
	m.traffic.Keys[0] = m.key
	m.end = time.Now().Truncate(time.Second)
	m.begin = m.end.Add(-logtraffic.Month)
	m.traffic.Now = m.begin
	const batch = 700 // as a server of some thousand requests a second has them
	for n := 0; n < m.opt.records; n += batch {
		if err := logs.Append(ctx, m.traffic.Batch(min(batch, m.opt.records-n))); err != nil {
			return err
		}
	}
	st := logs.Stats()
	info, err := os.Stat(filepath.Join(m.data, "usage.db"))
	if err != nil {
		return err
	}
	fmt.Fprintf(m.out, "%d records in %d blocks, %d MB of records, a file of %d MB; %d cores, %s\n\n",
		st.Records, st.Blocks, st.Bytes>>20, info.Size()>>20, runtime.GOMAXPROCS(0), runtime.Version())
	return nil
}

// pageScale is that of the settings page.
var pageScale = logstore.Scale{Bars: 56, Back: 400 * 24 * time.Hour, Widths: []time.Duration{time.Hour, 12 * time.Hour, 24 * time.Hour}}

// filters measures each filter.
func (m *measured) filters(ctx context.Context) error {
	logs, err := logstore.Open(ctx, logstore.Options{Path: filepath.Join(m.data, "usage.db")})
	if err != nil {
		return err
	}
	defer logs.Close()
	middle, err := logs.Query(ctx, usagelog.Query{Filter: usagelog.Filter{To: m.begin.Add(logtraffic.Month / 2)}, Limit: 1})
	if err != nil || len(middle.Records) != 1 {
		return fmt.Errorf("the log has no record in its middle: %w", err)
	}
	fmt.Fprintf(m.out, "| filter | requests | page | chart | count |\n| --- | ---: | ---: | ---: | ---: |\n")
	worst, of := time.Duration(0), ""
	for _, f := range m.traffic.Filters(m.begin, middle.Records[0].RequestID) {
		requests := int64(0)
		asks := []func() error{
			func() error {
				_, err := logs.Query(ctx, usagelog.Query{Filter: f.Filter, Limit: 50})
				return err
			},
			func() error {
				f := f.Filter
				f.To = m.end.Add(time.Second)
				_, _, err := logs.Chart(ctx, f, pageScale)
				return err
			},
			func() error {
				f := f.Filter
				if f.From.IsZero() {
					f.From, f.To = m.begin.Add(-3*time.Hour), m.end.Add(time.Second)
				}
				buckets, err := logs.Summary(ctx, f, f.To.Sub(f.From)+1)
				if err == nil {
					requests = buckets[0].Served + buckets[0].Blocked + buckets[0].Other
				}
				return err
			},
		}
		var took [3]time.Duration
		for i, ask := range asks {
			for n := range m.opt.runs {
				start := time.Now()
				if err := ask(); err != nil {
					return fmt.Errorf("%s: %w", f.Name, err)
				}
				if t := time.Since(start); n == 0 || t < took[i] {
					took[i] = t
				}
			}
			if took[i] > worst {
				worst, of = took[i], f.Name
			}
		}
		fmt.Fprintf(m.out, "| %s | %d | %s | %s | %s |\n", f.Name, requests, millis(took[0]), millis(took[1]), millis(took[2]))
	}
	start, n := time.Now(), 0
	for _, err := range logs.Stream(ctx, usagelog.Filter{}) {
		if err != nil {
			return err
		}
		n++
	}
	fmt.Fprintf(m.out, "\nThe longest: %s ms, %q. An export: %.0f records a second.\n\n", millis(worst), of, float64(n)/time.Since(start).Seconds())
	return nil
}

func millis(d time.Duration) string {
	ms := float64(d.Microseconds()) / 1000
	switch {
	case ms < 1:
		return fmt.Sprintf("%.2f", ms)
	case ms < 10:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}
