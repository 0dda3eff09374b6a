// Package storetest checks that a [usagelog.Store] keeps its contract.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) usagelog.Store {
//			return usagelog.NewMemoryStore(0)
//		})
//	}
//
// What it demands beyond the words of the interface:
//
//   - Times come back in UTC and to the microsecond: what is finer may be cut or
//     rounded (PostgreSQL's timestamptz, MySQL's DATETIME(6)), in From and To of
//     a Filter too. Records have times from 1970 to 2262-04-11T23:47:16Z, and a
//     Filter may have any [time.Time]. A Duration comes back to the nanosecond.
//   - A batch that was stored, or half of it, before its Append failed can be
//     given again, alone or together with others, and is there once.
//   - Several Writers may bring the same records at the same time, in different
//     orders. An Append that collides with another may fail with any error but
//     ErrRejected, as long as it succeeds when it is tried again.
//   - A store that fails most calls loses nothing and refuses nothing.
//
// [RunRetention] checks a store that deletes old records.
package storetest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/internal/canon"
	"github.com/ipallow/ipallow/usagelog"
)

// Run checks a Store in subtests. It calls open for each: open returns an
// empty store that keeps at least 5,000 records, and closes it through
// t.Cleanup if that is needed.
func Run(t *testing.T, open func(t *testing.T) usagelog.Store) {
	t.Helper()
	for _, c := range []struct {
		name  string
		check func(*testing.T, usagelog.Store)
	}{
		{"Empty", checkEmpty},
		{"RoundTrip", checkRoundTrip},
		{"Idempotent", checkIdempotent},
		{"NotRetained", checkNotRetained},
		{"Rejected", checkRejected},
		{"Order", checkOrder},
		{"Paging", checkPaging},
		{"PagingDuringAppends", checkPagingDuringAppends},
		{"Filter", checkFilter},
		{"Limits", checkLimits},
		{"InvalidQuery", checkInvalidQuery},
		{"Stream", checkStream},
		{"StreamBody", checkStreamBody},
		{"Cancelled", checkCancelled},
		{"Concurrent", checkConcurrent},
		{"Overlapping", checkOverlapping},
		{"Flapping", checkFlapping},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t, open(t)) })
	}
}

// endless is more than any check appends: a sequence that is longer repeats itself.
const endless = 20000

// epoch is when the records of the suite begin.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// id returns the n-th ID, n > 0. IDs order as their numbers.
func id(n int) (id usagelog.RecordID) {
	id[0] = 0x80 // a store that compares bytes as signed numbers gets the order wrong
	id[8], id[13], id[14], id[15] = 0xff, byte(n>>16), byte(n>>8), byte(n)
	return id
}

// record returns the n-th record, each a millisecond after the one before. The
// fields vary with n in coprime periods, so that all combinations occur.
func record(n int) usagelog.Record {
	r := usagelog.Record{
		ID:         id(n),
		Time:       epoch.Add(time.Duration(n) * time.Millisecond),
		RequestID:  fmt.Sprintf("req-%d", n),
		KeyID:      []string{"", "key_a", "key_b", "key_A", "key_a "}[n%5],
		Method:     []string{"GET", "POST", "get"}[n%3],
		Path:       fmt.Sprintf("/v1/items/%d", n),
		Status:     []int{200, 201, 204, 403, 404, 500, 0}[n%7],
		ClientAddr: netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}),
		Verdict:    []ipallow.Verdict{ipallow.Denied, ipallow.Allowed, ipallow.Unrestricted, ipallow.Allowed}[n%4],
		Duration:   time.Duration(n) * time.Microsecond,
		More:       []uint32{0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 1 << 31}[n%11],
	}
	if r.Verdict == ipallow.Allowed {
		r.Entry, _ = canon.Prefix(netip.PrefixFrom(r.ClientAddr, 24+n%9))
		r.Label, r.List = []string{"", "office", "Büro 2"}[n%3], []string{"", "", "", "", "cloud"}[n%5]
	}
	return r
}

// records returns the records from..to-1, oldest first.
func records(from, to int) []usagelog.Record {
	var recs []usagelog.Record
	for n := from; n < to; n++ {
		recs = append(recs, record(n))
	}
	return recs
}

// newest returns recs in the order that Query promises. It spells the order
// out rather than using usagelog.Position, which a store may use too.
func newest(recs []usagelog.Record) []usagelog.Record {
	recs = slices.Clone(recs)
	slices.SortFunc(recs, func(a, b usagelog.Record) int {
		if a.Time.UnixNano() != b.Time.UnixNano() {
			if a.Time.UnixNano() > b.Time.UnixNano() {
				return -1
			}
			return 1
		}
		return -strings.Compare(string(a.ID[:]), string(b.ID[:]))
	})
	return recs
}

func mustAppend(t *testing.T, s usagelog.Store, recs ...usagelog.Record) {
	t.Helper()
	if err := s.Append(t.Context(), recs); err != nil {
		t.Fatalf("Append of %d records: %v", len(recs), err)
	}
}

// pages follows a query to its end.
func pages(t *testing.T, s usagelog.Store, q usagelog.Query) []usagelog.Record {
	t.Helper()
	var all []usagelog.Record
	for n := 0; ; n++ {
		page, err := s.Query(t.Context(), q)
		if err != nil {
			t.Fatalf("Query(%+v): %v", q, err)
		}
		all = append(all, page.Records...)
		if page.Next == "" {
			return all
		}
		if len(page.Records) == 0 || n > 10000 || len(all) > endless {
			t.Fatalf("Query(%+v): page %d has %d records and still a Next: paging would not end", q, n, len(page.Records))
		}
		q.Cursor = page.Next
	}
}

// same reports whether got is want, with its time to the microsecond.
func same(got, want usagelog.Record) bool {
	if d := got.Time.Sub(want.Time).Abs(); d < time.Microsecond && got.Time.Location() == time.UTC {
		got.Time = want.Time
	}
	return got == want
}

// sameRecords fails unless got is want, in order.
func sameRecords(t *testing.T, what string, got, want []usagelog.Record) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !same(got[i], want[i]) {
			t.Fatalf("%s: record %d is\n%#v, want\n%#v", what, i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
	}
}
