package storetest

import (
	"errors"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

func checkFilter(t *testing.T, s usagelog.Store) {
	recs := records(1, 300)
	mustAppend(t, s, recs...)
	denied, allowed := ipallow.Denied, ipallow.Allowed
	at := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }
	zone := time.FixedZone("", 3*3600)
	for _, c := range []struct {
		name string
		f    usagelog.Filter
		want func(n int) bool // of the record's number, in the terms of record
	}{
		{"all", usagelog.Filter{}, func(int) bool { return true }},
		{"key, exact in case and white space", usagelog.Filter{KeyID: "key_a"}, func(n int) bool { return n%5 == 1 }},
		{"key with a wildcard of SQL", usagelog.Filter{KeyID: "key%"}, func(int) bool { return false }},
		{"unknown key", usagelog.Filter{KeyID: "none"}, func(int) bool { return false }},
		{"method, exact in case", usagelog.Filter{Method: "GET"}, func(n int) bool { return n%3 == 0 }},
		{"status", usagelog.Filter{Status: 404}, func(n int) bool { return n%7 == 4 }},
		{"class 2xx", usagelog.Filter{StatusClass: 2}, func(n int) bool { return n%7 < 3 }},
		{"class 4xx", usagelog.Filter{StatusClass: 4}, func(n int) bool { return n%7 == 3 || n%7 == 4 }},
		{"class and a status outside", usagelog.Filter{StatusClass: 4, Status: 200}, func(int) bool { return false }},
		{"denied, the zero verdict", usagelog.Filter{Verdict: &denied}, func(n int) bool { return n%4 == 0 }},
		{"allowed", usagelog.Filter{Verdict: &allowed}, func(n int) bool { return n%4 == 1 || n%4 == 3 }},
		{"from, inclusive", usagelog.Filter{From: at(250)}, func(n int) bool { return n >= 250 }},
		{"from, a microsecond later", usagelog.Filter{From: at(250).Add(time.Microsecond)}, func(n int) bool { return n > 250 }},
		{"to, exclusive", usagelog.Filter{To: at(50)}, func(n int) bool { return n < 50 }},
		{"to, a microsecond later", usagelog.Filter{To: at(50).Add(time.Microsecond)}, func(n int) bool { return n <= 50 }},
		{"from and to in another zone", usagelog.Filter{From: at(100).In(zone), To: at(120).In(zone)}, func(n int) bool { return n >= 100 && n < 120 }},
		{"before 1970", usagelog.Filter{From: time.Unix(-1, 0), To: at(10)}, func(n int) bool { return n < 10 }},
		{"from before 1678, which no int64 of nanoseconds holds", usagelog.Filter{From: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)}, func(int) bool { return true }},
		{"to after 2262, which no int64 of nanoseconds holds", usagelog.Filter{To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, func(int) bool { return true }},
		{"to before from", usagelog.Filter{From: at(20), To: at(10)}, func(int) bool { return false }},
		{"blocked", usagelog.Filter{Outcome: usagelog.Blocked}, func(n int) bool { return n%7 == 3 && n%4 == 0 && n%5 != 0 }},
		{"reported, whatever the status", usagelog.Filter{Outcome: usagelog.Reported}, func(n int) bool { return n%7 != 3 && n%4 == 0 && n%5 != 0 }},
		{"an address", usagelog.Filter{ClientNet: netip.MustParsePrefix("203.0.113.7/32")}, func(n int) bool { return byte(n) == 7 }},
		{"a network", usagelog.Filter{ClientNet: netip.MustParsePrefix("203.0.113.16/29")}, func(n int) bool { return byte(n)>>3 == 2 }},
		{"the other family", usagelog.Filter{ClientNet: netip.MustParsePrefix("::/0")}, func(int) bool { return false }},
		{"all IPv4", usagelog.Filter{ClientNet: netip.MustParsePrefix("0.0.0.0/0")}, func(int) bool { return true }},
		{"request ID", usagelog.Filter{RequestID: "req-12"}, func(n int) bool { return n == 12 }},
		{"request ID, not a part of it", usagelog.Filter{RequestID: "req-"}, func(int) bool { return false }},
		{"path prefix", usagelog.Filter{PathPrefix: "/v1/items/12"}, func(n int) bool { return n == 12 || n >= 120 && n < 130 }},
		{"path prefix, exact in case", usagelog.Filter{PathPrefix: "/V1"}, func(int) bool { return false }},
		{"path prefix with a wildcard of SQL", usagelog.Filter{PathPrefix: "/v1/items/_2"}, func(int) bool { return false }},
		{"terms that rarely meet", usagelog.Filter{
			PathPrefix: "/v1/items/1", ClientNet: netip.MustParsePrefix("203.0.113.0/25"), Method: "GET", Status: 403, KeyID: "key_b",
		}, func(n int) bool {
			return (n >= 10 && n < 20 || n == 1 || n >= 100 && n < 200) && byte(n) < 128 && n%3 == 0 && n%7 == 3 && n%5 == 2
		}},
		{"everything at once", usagelog.Filter{
			KeyID: "key_b", Method: "POST", StatusClass: 2, Verdict: &allowed, From: at(10), To: at(290),
		}, func(n int) bool {
			return n%5 == 2 && n%3 == 1 && n%7 < 3 && n%4 != 0 && n%4 != 2 && n >= 10 && n < 290
		}},
	} {
		var want []usagelog.Record
		for i, r := range recs {
			if c.want(i + 1) {
				want = append(want, r)
			}
		}
		for _, limit := range []int{0, 3} {
			sameRecords(t, c.name, pages(t, s, usagelog.Query{Filter: c.f, Limit: limit}), newest(want))
		}
		sameRecords(t, c.name+", Stream", collect(t, s, c.f), newest(want))
	}
}

func checkLimits(t *testing.T, s usagelog.Store) {
	mustAppend(t, s, records(1, usagelog.MaxLimit+200)...)
	for _, c := range []struct{ limit, want int }{
		{0, usagelog.DefaultLimit},
		{usagelog.MaxLimit, usagelog.MaxLimit},
		{usagelog.MaxLimit + 1, usagelog.MaxLimit},
		{math.MaxInt, usagelog.MaxLimit}, // limit+1 would overflow
	} {
		page, err := s.Query(t.Context(), usagelog.Query{Limit: c.limit})
		if err != nil || len(page.Records) != c.want || page.Next == "" {
			t.Fatalf("Limit %d: %d records, Next %q, %v; want %d and a Next", c.limit, len(page.Records), page.Next, err, c.want)
		}
	}
}

func checkInvalidQuery(t *testing.T, s usagelog.Store) {
	mustAppend(t, s, records(1, 10)...)
	bad := ipallow.Unrestricted + 1
	for _, q := range []usagelog.Query{
		{Limit: -1},
		{Cursor: "x"},
		{Cursor: "' OR 1=1 --"},
		{Filter: usagelog.Filter{Status: -200}},
		{Filter: usagelog.Filter{Status: 1000}},
		{Filter: usagelog.Filter{StatusClass: -1}},
		{Filter: usagelog.Filter{StatusClass: 10}},
		{Filter: usagelog.Filter{Verdict: &bad}},
	} {
		if page, err := s.Query(t.Context(), q); !errors.Is(err, usagelog.ErrQuery) {
			t.Errorf("Query(%+v): %d records, %v; want an error that wraps ErrQuery", q, len(page.Records), err)
		}
	}
	for _, err := range s.Stream(t.Context(), usagelog.Filter{Status: -1}) {
		if !errors.Is(err, usagelog.ErrQuery) {
			t.Errorf("Stream with status -1: %v; want an error that wraps ErrQuery", err)
		}
		return
	}
	t.Error("Stream with status -1 yields nothing; want an error that wraps ErrQuery")
}
