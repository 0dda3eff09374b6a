package api

import (
	"encoding/csv"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

type logPage struct {
	Records []logView `json:"records"`
	Next    string    `json:"next"`
}

type summaryView struct {
	From    time.Time    `json:"from"`
	To      time.Time    `json:"to"`
	Width   string       `json:"width"`
	Total   countView    `json:"total"`
	Buckets []bucketView `json:"buckets"`
}

// day is the day of the records in these tests.
var day = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

const (
	keyA = "aaaaaaaaaaaaaaaa"
	keyB = "bbbbbbbbbbbbbbbb"
)

// fillLog puts 240 requests into the log, one every six minutes of the day:
// for two keys and for none, with all kinds of answers.
func (w *world) fillLog() []usagelog.Record {
	w.t.Helper()
	kinds := []usagelog.Record{
		{KeyID: keyA, Method: "GET", Status: 200, Verdict: ipallow.Allowed},
		{KeyID: keyA, Method: "POST", Status: 201, Verdict: ipallow.Allowed},
		{KeyID: keyA, Method: "GET", Status: 403, Verdict: ipallow.Denied},
		{KeyID: keyB, Method: "GET", Status: 404, Verdict: ipallow.Unrestricted},
		{KeyID: keyB, Method: "DELETE", Status: 403, Verdict: ipallow.Unrestricted}, // its scope
		{KeyID: "", Method: "GET", Status: 401, Verdict: ipallow.Denied},
		{KeyID: keyA, Method: "GET", Status: 200, Verdict: ipallow.Denied}, // report-only
		{KeyID: keyB, Method: "GET", Status: 0, Verdict: ipallow.Unrestricted},
	}
	records := make([]usagelog.Record, 240)
	for i := range records {
		rec := kinds[i%len(kinds)]
		rec.Time = day.Add(time.Duration(i) * 6 * time.Minute)
		rec.RequestID = fmt.Sprintf("req-%03d", i)
		rec.Path = fmt.Sprintf("/v1/items/%d", i)
		rec.Duration = time.Duration(i)*time.Millisecond + 500*time.Nanosecond
		if i%5 != 0 {
			rec.ClientAddr = netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
			if rec.Verdict == ipallow.Allowed {
				rec.Entry, rec.Label, rec.List = netip.MustParsePrefix("203.0.113.0/24"), "office", []string{"", "cloud"}[i/8%2]
			}
		}
		records[i] = rec
	}
	w.record(records...)
	return records
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	require.Contains(t, w.get("/api/v1/logs").text, `{"records":[],"next":""}`)
	records := w.fillLog()
	var page logPage
	a := w.get("/api/v1/logs?limit=6").ok(200, &page)
	require.Len(t, page.Records, 6)
	require.Equal(t, logView{
		Time: records[238].Time, RequestID: "req-238", KeyID: keyA, Method: "GET", Path: "/v1/items/238", Status: 200,
		Address: address(netip.MustParseAddr("203.0.113.238")), Verdict: ipallow.Denied, Blocked: false, DurationMS: 238.0005, Requests: 1,
	}, page.Records[1])
	require.Equal(t, "req-234", page.Records[5].RequestID)
	require.True(t, page.Records[5].Blocked)
	require.Contains(t, a.text, `"address":null`)
	require.Contains(t, a.text, `"verdict":"denied"`)
	require.Contains(t, a.text, `"entry":null,"label":"","list":""`)
	a = w.get("/api/v1/logs?request_id=req-233").ok(200, nil)
	require.Contains(t, a.text, `"entry":"203.0.113.0/24","label":"office","list":"cloud"`)
	rows := readCSV(t, w.get("/api/v1/logs.csv?request_id=req-233").ok(200, nil))
	require.Equal(t, []string{"entry", "label", "list"}, rows[0][len(rows[0])-3:])
	require.Equal(t, []string{"203.0.113.0/24", "office", "cloud"}, rows[1][len(rows[1])-3:])
}

// TestLogFilters compares what every filter finds with what Filter.Match says,
// on the JSON pages and in the CSV file.
func TestLogFilters(t *testing.T) {
	w := newWorld(t)
	records := w.fillLog()
	denied, unrestricted := ipallow.Denied, ipallow.Unrestricted
	noon := day.Add(12 * time.Hour)
	for query, filter := range map[string]usagelog.Filter{
		"":                                  {},
		"key=" + keyA:                       {KeyID: keyA},
		"method=DELETE":                     {Method: "DELETE"},
		"method=PROPFIND":                   {Method: "PROPFIND"},
		"status=403":                        {Status: 403},
		"status=4xx":                        {StatusClass: 4},
		"status=2xx&key=" + keyB:            {StatusClass: 2, KeyID: keyB},
		"verdict=denied":                    {Verdict: &denied},
		"verdict=denied&status=403":         {Verdict: &denied, Status: 403},
		"verdict=unrestricted&method=GET":   {Verdict: &unrestricted, Method: "GET"},
		"from=2026-11-20T12:00:00Z":         {From: noon},
		"to=2026-11-20T12:00:00Z":           {To: noon},
		"from=2026-11-20T13:00:00%2B01:00":  {From: noon},
		"to=2026-11-20T11:59:59.999999999Z": {To: noon.Add(-1)},
		"from=2026-11-20&to=2026-11-21":     {},
		"from=2026-11-21":                   {From: day.AddDate(0, 0, 1)},
		"to=2026-11-20":                     {To: day},
		"outcome=blocked":                   {Outcome: usagelog.Blocked},
		"outcome=reported":                  {Outcome: usagelog.Reported},
		"address=203.0.113.5":               {ClientNet: netip.MustParsePrefix("203.0.113.5/32")},
		"address=::ffff:203.0.113.5":        {ClientNet: netip.MustParsePrefix("203.0.113.5/32")},
		"address=203.0.113.5/24":            {ClientNet: netip.MustParsePrefix("203.0.113.0/24")},
		"address=198.51.100.0/24":           {ClientNet: netip.MustParsePrefix("198.51.100.0/24")},
		"path=/v1/items/12":                 {PathPrefix: "/v1/items/12"},
		"path=/V1":                          {PathPrefix: "/V1"},
		"request_id=req-017":                {RequestID: "req-017"},
		"request_id=req-":                   {RequestID: "req-"},
		"path=/v1/items/1&status=4xx&key=" + keyA + "&outcome=blocked": {
			PathPrefix: "/v1/items/1", StatusClass: 4, KeyID: keyA, Outcome: usagelog.Blocked,
		},
		"key=" + keyA + "&from=2026-11-20T12:00:00Z&to=2026-11-20T18:00:00Z&method=GET&status=403&verdict=denied": {
			KeyID: keyA, From: noon, To: noon.Add(6 * time.Hour), Method: "GET", Status: 403, Verdict: &denied,
		},
	} {
		var want []string
		for _, rec := range slices.Backward(records) {
			if filter.Match(&rec) {
				want = append(want, rec.RequestID)
			}
		}

		var got []string
		for next := ""; ; {
			var page logPage
			w.get("/api/v1/logs?limit=37&"+query+next).ok(200, &page)
			for _, rec := range page.Records {
				got = append(got, rec.RequestID)
			}
			if page.Next == "" {
				break
			}
			next = "&cursor=" + url.QueryEscape(page.Next)
		}
		require.Equal(t, want, got, query)

		rows := readCSV(t, w.get("/api/v1/logs.csv?"+query).ok(200, nil))
		got = nil
		for _, row := range rows[1:] {
			got = append(got, row[1])
		}
		require.Equal(t, want, got, query)
	}
}

func readCSV(t *testing.T, a *answer) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(a.text)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, "time", rows[0][0])
	return rows
}

func TestExport(t *testing.T) {
	w := newWorld(t)
	a := w.get("/api/v1/logs.csv").ok(200, nil)
	require.Equal(t, "time,request_id,key_id,method,path,status,client_addr,verdict,duration_ms,requests,entry,label,list\r\n", a.text)
	require.Equal(t, "text/csv; charset=utf-8; header=present", a.Header.Get("Content-Type"))
	require.Regexp(t, `^attachment; filename="ipallow-logs-\d{8}T\d{6}Z\.csv"$`, a.Header.Get("Content-Disposition"))

	w.record(usagelog.Record{Time: day, Method: "GET", Path: "=cmd|' /C calc'!A0", RequestID: "@SUM(1)", Status: 200, KeyID: keyA})
	rows := readCSV(t, w.get("/api/v1/logs.csv").ok(200, nil))
	require.Len(t, rows, 2)
	require.Equal(t, "'@SUM(1)", rows[1][1])
	require.True(t, strings.HasPrefix(rows[1][4], "'="), rows[1][4])

	for _, query := range []string{"?limit=5", "?cursor=x", "?status=40x", "?form=2026-11-20"} {
		w.get("/api/v1/logs.csv"+query).fails(400, "INVALID_QUERY")
	}
}

func TestSummary(t *testing.T) {
	w := newWorld(t)
	records := w.fillLog()
	var sum summaryView
	w.get("/api/v1/logs/summary?from=2026-11-20&to=2026-11-21&width=6h").ok(200, &sum)
	require.Equal(t, day, sum.From)
	require.Equal(t, day.AddDate(0, 0, 1), sum.To)
	require.Equal(t, "6h", sum.Width)
	require.Len(t, sum.Buckets, 4)
	var total countView
	for _, b := range sum.Buckets {
		total = countView{total.Served + b.Served, total.Blocked + b.Blocked, total.Other + b.Other}
	}
	require.Equal(t, total, sum.Total)
	for i, b := range sum.Buckets {
		require.Equal(t, day.Add(time.Duration(i)*6*time.Hour), b.Start)
		var want bucketView
		want.Start = b.Start
		for _, rec := range records[60*i : 60*i+60] {
			switch {
			case blocked(&rec):
				want.Blocked++
			case rec.Status == 401 || rec.Status == 403:
				want.Other++
			default:
				want.Served++
			}
		}
		require.Equal(t, want, b)
		require.Positive(t, b.Served*b.Blocked*b.Other)
	}

	// With a filter, from a time that is no multiple of the width, to one that
	// ends in the middle of a bucket.
	w.get("/api/v1/logs/summary?from=2026-11-20T01:03:00Z&to=2026-11-20T03:33:00Z&width=1h&key="+keyA+"&status=403").ok(200, &sum)
	require.Len(t, sum.Buckets, 3)
	require.Equal(t, day.Add(time.Hour+3*time.Minute), sum.Buckets[0].Start)
	require.EqualValues(t, 1, sum.Buckets[0].Blocked)
	require.Zero(t, sum.Buckets[0].Served)

	// The width of its own choosing.
	for query, want := range map[string]struct {
		width   string
		buckets int
	}{
		"from=2026-11-20T00:00:00Z&to=2026-11-20T00:00:01Z": {"1m", 1},
		"from=2026-11-20T00:00:00Z&to=2026-11-20T01:40:00Z": {"1m", 100},
		"from=2026-11-20&to=2026-11-21":                     {"15m", 96},
		"from=2026-11-20&to=2026-11-27":                     {"6h", 28},
		"from=2026-01-01&to=2027-01-01":                     {"7d", 53},
		"from=2000-01-01&to=2027-01-01":                     {"30d", 329},
	} {
		w.get("/api/v1/logs/summary?"+query).ok(200, &sum)
		require.Equal(t, want.width, sum.Width, query)
		require.Len(t, sum.Buckets, want.buckets, query)
	}
	for _, query := range []string{"from=1970-01-01&to=2261-01-01", "from=2026-11-20&to=2026-11-22&width=1m", "from=2261-01-01"} {
		e := w.get("/api/v1/logs/summary?"+query).fails(400, "INVALID_QUERY")
		require.NotEmpty(t, e.Parameter)
	}
}

// TestSummaryOfNow has what was just served.
func TestSummaryOfNow(t *testing.T) {
	w := newWorld(t)
	w.served(keyA, "203.0.113.5", 0)
	w.served(keyA, "203.0.113.5", 23*time.Hour)
	var sum summaryView
	w.get("/api/v1/logs/summary").ok(200, &sum)
	require.Equal(t, "15m", sum.Width)
	require.Contains(t, []int{96, 97}, len(sum.Buckets))
	require.Zero(t, sum.From.Minute()%15+sum.From.Second()+sum.From.Nanosecond(), "it begins at a quarter of an hour")
	var served int64
	for _, b := range sum.Buckets {
		served += b.Served
	}
	require.EqualValues(t, 2, served)
	// The quarter of an hour may have ended between the two.
	last := sum.Buckets[len(sum.Buckets)-2:]
	require.EqualValues(t, 1, last[0].Served+last[1].Served)
}
