package page

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/logstore"
)

// chartBars is about how many bars a chart has; chartDays is how far it looks
// back for the first request where nothing bounds it.
const (
	chartBars = 56
	chartDays = 400
)

// chartScale is what a bar can stand for; chartWidths are the names.
var chartScale = logstore.Scale{Bars: chartBars, Back: chartDays * 24 * time.Hour, Widths: []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour,
}}

var chartWidths = map[time.Duration]string{
	time.Minute: "minute", 2 * time.Minute: "2 minutes", 5 * time.Minute: "5 minutes", 15 * time.Minute: "15 minutes",
	30 * time.Minute: "30 minutes", time.Hour: "hour", 3 * time.Hour: "3 hours", 6 * time.Hour: "6 hours",
	12 * time.Hour: "12 hours", 24 * time.Hour: "day", 7 * 24 * time.Hour: "7 days", 30 * 24 * time.Hour: "30 days",
}

// A chart shows served and blocked requests over time, one lane each, both of
// one scale.
type chart struct {
	Per      string // what a bar stands for
	From, To time.Time
	Lanes    []lane
	Buckets  []bucketRow
	Other    int64
	Total    int64
}

// A lane is a row of bars.
type lane struct {
	Name  string
	Class string
	Sum   int64
	Peak  int64
	Width string // of the drawing, in bars times ten
	Bars  []bar
}

// A bar is one of a lane, in a drawing 100 high.
type bar struct {
	X, Y, Height string
	Text         string
	Link         string // of the log with what the bar counts
}

type bucketRow struct {
	logstore.Bucket
	End  time.Time
	Link string
}

// chart counts what the filter chooses; nil if it chooses nothing.
func (p *Page) chart(ctx context.Context, lf *logFilter) (*chart, error) {
	f := lf.filter
	now := p.Now().UTC()
	if f.To.IsZero() {
		f.To = now.Truncate(time.Second).Add(time.Second)
	}
	buckets, width, err := p.Logs.Chart(ctx, f, chartScale)
	if err != nil || len(buckets) == 0 {
		return nil, err
	}
	return draw(buckets, width, lf.Between), nil
}

// draw makes the drawing of the buckets; nil if they count nothing. The link is
// that of the log between two times, with a status or without.
func draw(buckets []logstore.Bucket, width time.Duration, link func(from, to time.Time, status string) string) *chart {
	c := &chart{Per: chartWidths[width], Lanes: []lane{{Name: "Served", Class: "served"}, {Name: "Blocked", Class: "blocked"}}}
	for _, b := range buckets {
		end := b.Start.Add(width)
		c.Buckets = append(c.Buckets, bucketRow{b, end, link(b.Start, end, "")})
		c.Other += b.Other
		for i, n := range []int64{b.Served, b.Blocked} {
			c.Lanes[i].Sum += n
			c.Lanes[i].Peak = max(c.Lanes[i].Peak, n)
		}
	}
	c.Total = c.Lanes[0].Sum + c.Lanes[1].Sum + c.Other
	if c.Total == 0 {
		return nil
	}
	c.From, c.To = buckets[0].Start, c.Buckets[len(buckets)-1].End
	scale := float64(max(c.Lanes[0].Peak, c.Lanes[1].Peak))
	for i := range c.Lanes {
		l := &c.Lanes[i]
		status := []string{"", "blocked"}[i]
		l.Width = strconv.Itoa(10 * len(buckets))
		for j, b := range buckets {
			n := []int64{b.Served, b.Blocked}[i]
			if n == 0 {
				continue
			}
			// However few, they are seen.
			h := max(100*float64(n)/scale, 4)
			l.Bars = append(l.Bars, bar{
				X: strconv.Itoa(10*j + 1), Y: fmt.Sprintf("%.1f", 100-h), Height: fmt.Sprintf("%.1f", h),
				Text: fmt.Sprintf("%s: %s %s", b.Start.UTC().Format("2 Jan 15:04"), group(strconv.FormatInt(n, 10)), l.Class),
				Link: link(b.Start, b.Start.Add(width), status),
			})
		}
	}
	return c
}

// Rows are the buckets that count something, newest first, for the table.
func (c *chart) Rows() []bucketRow {
	var rows []bucketRow
	for i := len(c.Buckets) - 1; i >= 0; i-- {
		if b := c.Buckets[i]; b.Served+b.Blocked+b.Other > 0 {
			rows = append(rows, b)
		}
	}
	return rows
}

// When formats a time on the axis: days alone where a bar stands for some.
func (c *chart) When(t time.Time) string {
	if c.To.Sub(c.From) > 3*24*time.Hour {
		return t.UTC().Format("2 Jan")
	}
	return t.UTC().Format("2 Jan 15:04")
}

// Middle is the time in the middle of the axis.
func (c *chart) Middle() time.Time { return c.From.Add(c.To.Sub(c.From) / 2) }
