package page

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/usagelog"
)

func TestChart(t *testing.T) {
	r := newRig(t)
	id := r.create("Billing").Key.ID
	now := r.clock.now()
	// 400 requests over 90 days, closer together towards now.
	for i := range 400 {
		rec := served(id)
		if i%7 == 0 {
			rec = blocked(id, "198.51.100.7")
		} else if i%11 == 0 {
			rec.Status = 401
		}
		rec.Time = now.Add(-time.Duration(i*i) * 48 * time.Second)
		r.add(rec)
	}
	for _, query := range []string{"period=1h", "period=24h", "period=7d", "period=30d", "period=all", "from=2026-11-20T13:37&to=2026-11-23T01:23",
		"from=2026-11-01T00:00", "to=2026-11-20T00:00", "from=2026-11-24T14:30:30&to=2026-11-24T14:58:10", "from=1970-01-01T00:00", "status=blocked", "status=401&period=all"} {
		q, err := url.ParseQuery(query)
		require.NoError(t, err)
		f, err := r.page.readFilter(t.Context(), q)
		require.NoError(t, err)
		require.Empty(t, f.Faults, query)
		var want [3]int64
		for rec, err := range r.logs.Stream(t.Context(), f.filter) {
			require.NoError(t, err)
			switch rec.Status {
			case 200:
				want[0]++
			case 403:
				want[1]++
			default:
				want[2]++
			}
		}
		require.NotZero(t, want[0]+want[1]+want[2], query)
		c, err := r.page.chart(t.Context(), f)
		require.NoError(t, err)
		require.Equal(t, want, [3]int64{c.Lanes[0].Sum, c.Lanes[1].Sum, c.Other}, query)
		require.LessOrEqual(t, len(c.Buckets), 2*chartBars+800, query)
		if !strings.Contains(query, "1970") {
			require.LessOrEqual(t, len(c.Buckets), chartBars+1, query)
		}
		var sum int64
		for i, row := range c.Rows() {
			sum += row.Served + row.Blocked + row.Other
			require.False(t, row.End.Before(row.Start))
			if i > 0 {
				require.True(t, row.Start.Before(c.Rows()[i-1].Start), "newest first")
			}
		}
		require.Equal(t, c.Total, sum, "the table has all that the bars show")
	}
	empty, err := r.page.chart(t.Context(), &logFilter{filter: usagelog.Filter{KeyID: "aaaaaaaaaaaaaaaa"}})
	require.NoError(t, err)
	require.Nil(t, empty)
	future, err := r.page.chart(t.Context(), &logFilter{filter: usagelog.Filter{From: now.Add(time.Hour)}})
	require.NoError(t, err)
	require.Nil(t, future)
}

// The lanes have one scale, and each bar leads to what it counts.
func TestChartScaleAndLinks(t *testing.T) {
	r := newRig(t)
	id := r.create("Billing").Key.ID
	at := r.clock.now().Add(-30 * time.Minute).Truncate(time.Minute)
	for i := range 40 {
		rec := served(id)
		if i%10 == 0 {
			rec = blocked(id, "198.51.100.7")
		}
		rec.Time = at
		r.add(rec)
	}
	q := url.Values{"period": {"1h"}, "method": {"GET"}}
	f, err := r.page.readFilter(t.Context(), q)
	require.NoError(t, err)
	c, err := r.page.chart(t.Context(), f)
	require.NoError(t, err)
	require.Equal(t, "100.0", c.Lanes[0].Bars[0].Height)
	require.Equal(t, "11.1", c.Lanes[1].Bars[0].Height, "4 blocked beside 36 served")

	u, err := url.Parse(c.Lanes[1].Bars[0].Link)
	require.NoError(t, err)
	f, err = r.page.readFilter(t.Context(), u.Query())
	require.NoError(t, err)
	require.Empty(t, f.Faults)
	require.Equal(t, "GET", f.Method)
	n := 0
	for rec, err := range r.logs.Stream(t.Context(), f.filter) {
		require.NoError(t, err)
		require.Equal(t, 403, rec.Status)
		n++
	}
	require.Equal(t, 4, n)
}
