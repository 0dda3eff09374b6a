package logtraffic

import (
	"net/netip"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

// A Filter is a filter of the log with what it is called.
type Filter struct {
	Name string
	usagelog.Filter
}

// Filters are one of each kind, and some combinations, for a log of a month from begin
// on. Request is the ID of one of its requests.
func (t *Traffic) Filters(begin time.Time, request string) []Filter {
	denied, allowed := ipallow.Denied, ipallow.Allowed
	keys, network := t.Keys, netip.MustParsePrefix
	type f = usagelog.Filter
	return []Filter{
		{"none", f{}},
		{"time", f{From: begin.Add(Month / 3), To: begin.Add(Month / 2)}},
		{"key, busy", f{KeyID: keys[0]}},
		{"key, quiet", f{KeyID: keys[990]}},
		{"key, rare", f{KeyID: "rare"}},
		{"key, unknown", f{KeyID: "none"}},
		{"method", f{Method: "POST"}},
		{"method, rare", f{Method: "PURGE"}},
		{"status", f{Status: 404}},
		{"status, rare", f{Status: 418}},
		{"status class", f{StatusClass: 5}},
		{"verdict", f{Verdict: &denied}},
		{"blocked", f{Outcome: usagelog.Blocked}},
		{"reported", f{Outcome: usagelog.Reported}},
		{"address", f{ClientNet: network("203.0.0.1/32")}},
		{"address, rare", f{ClientNet: network("198.51.100.7/32")}},
		{"network", f{ClientNet: network("203.0.0.0/20")}},
		{"network, wide", f{ClientNet: network("0.0.0.0/1")}},
		{"network, IPv6", f{ClientNet: network("2001:db8::/40")}},
		{"request", f{RequestID: request}},
		{"request, unknown", f{RequestID: "none"}},
		{"path", f{PathPrefix: "/v1/users/"}},
		{"path, rare", f{PathPrefix: "/internal/"}},
		{"path, one thing", f{PathPrefix: "/v1/users/4711/orders"}},
		{"path, unknown", f{PathPrefix: "/v3/"}},
		{"method and status", f{Method: "DELETE", StatusClass: 5}},
		{"method and verdict, never", f{Method: "PURGE", Status: 418, Verdict: &denied}},
		{"key and method", f{KeyID: keys[3], Method: "POST"}},
		{"key and status, rare", f{KeyID: keys[0], Status: 500, Method: "DELETE"}},
		{"key and path", f{KeyID: keys[500], PathPrefix: "/v2/reports"}},
		{"key and address, never", f{KeyID: keys[0], ClientNet: network("203.0.1.0/24")}},
		{"address and path, never", f{ClientNet: network("203.0.0.0/24"), PathPrefix: "/internal/"}},
		{"network, path and method", f{ClientNet: network("203.0.0.0/16"), PathPrefix: "/v1/webhooks", Method: "PATCH"}},
		{"everything", f{
			KeyID: keys[1], Method: "PUT", StatusClass: 4, Verdict: &allowed, ClientNet: network("203.0.1.0/24"), PathPrefix: "/v1/invoices",
			From: begin.Add(Month / 10), To: begin.Add(Month),
		}},
	}
}
