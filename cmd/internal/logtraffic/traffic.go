package logtraffic

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

// A Traffic is the log of an API over a month: a thousand keys of which few are
// busy, each used from its own few networks, routes with the numbers of things in
// them, strangers without a key from everywhere, few errors, requests that took
// long, and some things that are very rare. Every generator of the same seed makes
// the same records.
type Traffic struct {
	*Generator
	rnd *rand.Rand
}

// Month is the time that the records of a Traffic cover.
const Month = 30 * 24 * time.Hour

// New returns a Traffic that has so many records in a month.
func New(records int) *Traffic {
	t := &Traffic{NewGenerator(1000), rand.New(rand.NewPCG(3, 4))}
	t.Step = Month / time.Duration(records)
	return t
}

// routes are paths of which %d is a thing's number.
var routes = []string{
	"/v1/users/%d", "/v1/users/%d/orders", "/v1/orders/%d", "/v1/orders/%d/items", "/v1/products/%d", "/v1/search",
	"/v1/invoices/%d.pdf", "/v1/webhooks/%d/deliveries", "/v2/users/%d", "/v2/reports/daily", "/v1/ping", "/v1/admin/audit",
}

// Record returns the next record.
func (t *Traffic) Record() usagelog.Record {
	rnd, g := t.rnd, t.Generator
	g.n++
	g.Now = g.Now.Add(time.Duration(rnd.Int64N(2 * int64(t.Step))))
	u := rnd.Float64()
	k := int(u * u * u * float64(len(g.Keys)))
	pick := func(weights ...int) int {
		n := rnd.IntN(1000)
		for i, w := range weights {
			if n -= w; n < 0 {
				return i
			}
		}
		return len(weights)
	}
	route := rnd.Float64()
	r := usagelog.Record{
		ID:        usagelog.RecordID(binary.BigEndian.AppendUint64(g.epoch[:], g.n)),
		Time:      g.Now,
		RequestID: g.Hex(32),
		KeyID:     g.Keys[k],
		Method:    []string{"GET", "POST", "PUT", "DELETE", "PATCH"}[pick(700, 180, 70, 40)],
		Path:      routes[int(route*route*float64(len(routes)))],
		Status:    []int{200, 201, 204, 304, 400, 404, 409, 429, 500}[pick(780, 90, 40, 30, 15, 25, 8, 10)],
		Verdict:   ipallow.Allowed,
		Duration:  time.Duration(rnd.ExpFloat64() * float64(20*time.Millisecond)),
	}
	if k%3 == 0 {
		r.Verdict = ipallow.Unrestricted
	}
	if r.Path[len(r.Path)-1] != 'h' {
		r.Path = fmt.Sprintf(r.Path, rnd.IntN(100_000))
	}
	if k%5 == 4 {
		a := [16]byte{0x20, 0x01, 0x0d, 0xb8, byte(k >> 8), byte(k), 15: byte(rnd.IntN(6))}
		r.ClientAddr = netip.AddrFrom16(a)
	} else {
		r.ClientAddr = netip.AddrFrom4([4]byte{203, byte(k >> 8), byte(k), byte(rnd.IntN(6))})
	}
	stranger := netip.AddrFrom4([4]byte{byte(1 + rnd.IntN(200)), byte(rnd.IntN(256)), byte(rnd.IntN(256)), byte(rnd.IntN(256))})
	switch pick(20, 15, 5, 1) {
	case 0: // no key
		r.KeyID, r.Status, r.Verdict, r.ClientAddr = "", 401, ipallow.Denied, stranger
	case 1: // from elsewhere
		r.Status, r.Verdict, r.ClientAddr = 403, ipallow.Denied, stranger
	case 2: // served, and reported
		r.Verdict, r.ClientAddr = ipallow.Denied, stranger
	case 3: // it took long
		r.Duration = time.Duration(rnd.Int64N(int64(2 * time.Hour)))
		r.Time = r.Time.Add(-r.Duration)
	}
	switch {
	case g.n%500_000 == 250_000:
		r.KeyID, r.Status, r.Verdict = "rare", 418, ipallow.Allowed
	case g.n%1_000_003 == 500_000:
		r.Path, r.ClientAddr = "/internal/debug", netip.MustParseAddr("198.51.100.7")
	case g.n%50_021 == 11:
		r.Method = "PURGE"
	}
	return r.Normalize()
}

// Batch returns the next n records.
func (t *Traffic) Batch(n int) []usagelog.Record {
	recs := make([]usagelog.Record, n)
	for i := range recs {
		recs[i] = t.Record()
	}
	return recs
}
