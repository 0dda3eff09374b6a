package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ipallow/ipallow/usagelog"
)

// maxBuckets is how many buckets a summary has at most, and bucketsWanted what
// the width is chosen for when none is asked for.
const (
	maxBuckets    = 1500
	bucketsWanted = 100
)

// summarySpan is how far a summary reaches back if "from" does not say.
const summarySpan = 24 * time.Hour

type bucketWidth struct {
	name  string
	width time.Duration
}

// widths are those that a bucket can have.
var widths = []bucketWidth{
	{"1m", time.Minute},
	{"5m", 5 * time.Minute},
	{"15m", 15 * time.Minute},
	{"1h", time.Hour},
	{"6h", 6 * time.Hour},
	{"1d", 24 * time.Hour},
	{"7d", 7 * 24 * time.Hour},
	{"30d", 30 * 24 * time.Hour},
}

type bucketView struct {
	Start time.Time `json:"start"`
	countView
}

type countView struct {
	Served  int64 `json:"served"`
	Blocked int64 `json:"blocked"`
	Other   int64 `json:"other"`
}

// summarizeLogs counts requests over time, in buckets without a gap.
func (h *handler) summarizeLogs(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r, append(slices.Clone(filterNames), "width")...)
	filter := q.filter()
	name, width := q.width(&filter, time.Now())
	if q.err != nil {
		return q.err
	}
	counts, err := h.logs.Summary(r.Context(), filter, width)
	if err != nil {
		return err
	}
	views := make([]bucketView, len(counts))
	var total countView
	for i, b := range counts {
		views[i] = bucketView{b.Start.UTC(), countView{b.Served, b.Blocked, b.Other}}
		total.Served += b.Served
		total.Blocked += b.Blocked
		total.Other += b.Other
	}
	writeJSON(w, http.StatusOK, struct {
		From    time.Time    `json:"from"`
		To      time.Time    `json:"to"`
		Width   string       `json:"width"`
		Total   countView    `json:"total"`
		Buckets []bucketView `json:"buckets"`
	}{filter.From, filter.To, name, total, views})
	return nil
}

// width completes the time of the filter and returns the width of a bucket:
// the one asked for, or the narrowest that gives no more than bucketsWanted.
func (q *query) width(f *usagelog.Filter, now time.Time) (string, time.Duration) {
	if f.To.IsZero() {
		// The next full second, so that what has just happened is in it.
		f.To = now.UTC().Truncate(time.Second).Add(time.Second)
	}
	begin := f.From
	if begin.IsZero() {
		begin = f.To.Add(-summarySpan)
	}
	if !begin.Before(f.To) {
		q.fail("from", "from is in the future; name to as well, or an earlier from.")
	}
	span := f.To.Sub(begin)
	asked := q.text("width")
	i := slices.IndexFunc(widths, func(w bucketWidth) bool {
		return w.name == asked || asked == "" && span/w.width <= bucketsWanted
	})
	switch {
	case i < 0 && asked == "":
		i = len(widths) - 1
	case i < 0:
		names := make([]string, len(widths))
		for i, w := range widths {
			names[i] = w.name
		}
		q.fail("width", "width is %s, but must be one of %s.", q.shown("width"), strings.Join(names, ", "))
		return "", 0
	}
	width := widths[i].width
	if span/width >= maxBuckets {
		q.fail("width", "From %s to %s there are more than %d buckets of %s. Ask for wider ones, or for less time.",
			begin.Format(time.RFC3339), f.To.Format(time.RFC3339), maxBuckets, widths[i].name)
	}
	if f.From.IsZero() {
		f.From = begin.Truncate(width)
	}
	return widths[i].name, width
}
