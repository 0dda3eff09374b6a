package storetest

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

func checkEmpty(t *testing.T, s usagelog.Store) {
	mustAppend(t, s) // an empty batch is no error
	page, err := s.Query(t.Context(), usagelog.Query{})
	if err != nil || len(page.Records) != 0 || page.Next != "" {
		t.Fatalf("Query of an empty store: %+v, %v; want nothing", page, err)
	}
	for r, err := range s.Stream(t.Context(), usagelog.Filter{}) {
		t.Fatalf("Stream of an empty store yields %+v, %v", r, err)
	}
}

func checkRoundTrip(t *testing.T, s usagelog.Store) {
	recs := []usagelog.Record{
		record(1),
		{ID: id(2), Time: time.Unix(0, 0).UTC()}, // everything zero that may be
		{ID: id(3), Time: time.Unix(0, math.MaxInt64).UTC(), Duration: math.MaxInt64, Status: 999, Verdict: ipallow.Unrestricted},
		{ID: id(4), Time: epoch.Add(time.Hour + 123456789), ClientAddr: netip.MustParseAddr("2001:db8::1")}, // finer than a microsecond
		{ID: id(5), Time: epoch, ClientAddr: netip.IPv6Unspecified()},                                       // not the zero Addr
		{ID: id(6), Time: epoch, ClientAddr: netip.IPv4Unspecified()},
		{ID: id(7), Time: epoch, Path: `/'";--,%_\\` + "/größe/日本/😀"}, // quoting of databases
		{
			ID: id(8), Time: epoch, RequestID: strings.Repeat("r", usagelog.MaxRequestID), KeyID: strings.Repeat("k", usagelog.MaxKeyID),
			Method: strings.Repeat("M", usagelog.MaxMethod), Path: strings.Repeat("/", usagelog.MaxPath),
		},
		{ID: usagelog.RecordID{15: 1}, Time: epoch}, // the extremes of an ID
		{ // not the same as no entry
			ID: id(9), Time: epoch, ClientAddr: netip.IPv6Unspecified(), Verdict: ipallow.Allowed, Entry: netip.MustParsePrefix("::/0"),
			Label: strings.Repeat("é", usagelog.MaxLabel/2), List: strings.Repeat("L", usagelog.MaxList),
		},
		{ID: id(10), Time: epoch, ClientAddr: netip.IPv4Unspecified(), Verdict: ipallow.Allowed, Entry: netip.MustParsePrefix("0.0.0.0/0")},
		{ID: usagelog.RecordID([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")), Time: epoch},
	}
	for i := range recs {
		recs[i] = recs[i].Normalize()
	}
	mustAppend(t, s, recs...)
	sameRecords(t, "Query", pages(t, s, usagelog.Query{}), newest(recs))
}

func checkIdempotent(t *testing.T, s usagelog.Store) {
	mustAppend(t, s, records(1, 20)...)
	mustAppend(t, s, records(1, 20)...)                     // the same batch again
	mustAppend(t, s, records(10, 30)...)                    // half of it known
	mustAppend(t, s, record(30), record(31), record(30))    // twice in one batch
	changed := record(5)                                    // the first one stays
	changed.Path, changed.Time = "/changed", epoch.Add(1e9) // also under another time
	mustAppend(t, s, changed)
	sameRecords(t, "after repeated Appends", pages(t, s, usagelog.Query{}), newest(records(1, 32)))
}

func checkNotRetained(t *testing.T, s usagelog.Store) {
	recs := records(1, 10)
	mustAppend(t, s, recs...)
	for i := range recs {
		recs[i] = record(100 + i) // the Writer uses its slice again
	}
	sameRecords(t, "after the slice was used again", pages(t, s, usagelog.Query{}), newest(records(1, 10)))

	page, err := s.Query(t.Context(), usagelog.Query{})
	if err != nil {
		t.Fatal(err)
	}
	clear(page.Records)
	sameRecords(t, "after a caller changed its page", pages(t, s, usagelog.Query{}), newest(records(1, 10)))
}

func checkRejected(t *testing.T, s usagelog.Store) {
	r := record(1)
	r.ID = usagelog.RecordID{}
	if err := s.Append(t.Context(), []usagelog.Record{r}); !errors.Is(err, usagelog.ErrRejected) {
		t.Fatalf("Append of a record without an ID: %v; want an error that wraps ErrRejected", err)
	}
	sameRecords(t, "after a rejected record", pages(t, s, usagelog.Query{}), nil)
}

func checkOrder(t *testing.T, s usagelog.Store) {
	recs := records(1, 40)
	for i := range recs {
		recs[i].Time = epoch.Add(time.Duration(i/4) * time.Microsecond) // four at each
	}
	for i := range recs { // 7 and 39 are coprime: a fixed shuffle
		mustAppend(t, s, recs[i*7%len(recs)])
	}
	sameRecords(t, "records appended out of order", pages(t, s, usagelog.Query{}), newest(recs))
}

func checkPaging(t *testing.T, s usagelog.Store) {
	recs := records(1, 41)
	for i := range recs {
		recs[i].Time = epoch.Add(time.Duration(i/3) * time.Second) // pages end between equal times
	}
	mustAppend(t, s, recs...)
	for limit := 1; limit <= 41; limit++ {
		q := usagelog.Query{Limit: limit}
		sameRecords(t, "pages", pages(t, s, q), newest(recs))
		page, err := s.Query(t.Context(), q)
		if err != nil || len(page.Records) != min(limit, len(recs)) {
			t.Fatalf("Limit %d: a page of %d records, %v", limit, len(page.Records), err)
		}
		if more := limit < len(recs); more != (page.Next != "") {
			t.Fatalf("Limit %d of %d records: Next is %q", limit, len(recs), page.Next)
		}
	}
}

func checkPagingDuringAppends(t *testing.T, s usagelog.Store) {
	base := records(1000, 1060)
	mustAppend(t, s, base...)
	seen := make(map[usagelog.RecordID]int)
	q := usagelog.Query{Limit: 7}
	for n := 0; ; n++ {
		page, err := s.Query(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if n > 500 {
			t.Fatalf("paging does not end: page %d", n)
		}
		for _, r := range page.Records {
			seen[r.ID]++
		}
		if page.Next == "" {
			break
		}
		q.Cursor = page.Next
		// Newer ones, and one that is late: its time is long past.
		mustAppend(t, s, record(2000+3*n), record(2001+3*n), record(1+n))
	}
	for _, r := range base {
		if seen[r.ID] != 1 {
			t.Fatalf("record %v was seen %d times while new ones arrived, want once", r.RequestID, seen[r.ID])
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Fatalf("record %v was seen %d times", id, n)
		}
	}
}

func collect(t *testing.T, s usagelog.Store, f usagelog.Filter) []usagelog.Record {
	t.Helper()
	var all []usagelog.Record
	for r, err := range s.Stream(t.Context(), f) {
		if err != nil {
			t.Fatalf("Stream: %v", err)
		}
		if all = append(all, r); len(all) > endless {
			t.Fatalf("Stream does not end: %d records and more of a few thousand", len(all))
		}
	}
	return all
}

func checkStream(t *testing.T, s usagelog.Store) {
	recs := records(1, 2*usagelog.MaxLimit+500) // more than two of the largest pages
	mustAppend(t, s, recs...)
	want := newest(recs)
	sameRecords(t, "Stream", collect(t, s, usagelog.Filter{}), want)
	seq := s.Stream(t.Context(), usagelog.Filter{})
	for range 2 { // a sequence can be ranged over again, and left early
		n := 0
		for r, err := range seq {
			if err != nil || !same(r, want[n]) {
				t.Fatalf("Stream: record %d is %+v, %v", n, r, err)
			}
			if n++; n == 10 {
				break
			}
		}
	}
}

func checkStreamBody(t *testing.T, s usagelog.Store) {
	base := records(5000, 5050)
	mustAppend(t, s, base...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := make(map[usagelog.RecordID]int)
		n := 0
		for r, err := range s.Stream(t.Context(), usagelog.Filter{}) {
			if err != nil {
				t.Errorf("Stream: %v", err)
				return
			}
			seen[r.ID]++
			if n++; n > endless {
				t.Errorf("Stream does not end: %d records and more of a few thousand", n)
				return
			}
			if n > 10 {
				continue
			}
			if err := s.Append(t.Context(), []usagelog.Record{record(6000 + n)}); err != nil {
				t.Errorf("Append within a Stream: %v", err)
				return
			}
			if _, err := s.Query(t.Context(), usagelog.Query{}); err != nil {
				t.Errorf("Query within a Stream: %v", err)
				return
			}
		}
		for _, r := range base {
			if seen[r.ID] != 1 {
				t.Errorf("Stream with Appends in its body: record %v was seen %d times", r.RequestID, seen[r.ID])
				return
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("Stream holds a lock while the loop body runs: Append within it did not return in 20 s")
	}
}

func checkCancelled(t *testing.T, s usagelog.Store) {
	mustAppend(t, s, records(1, 5)...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Query(ctx, usagelog.Query{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Query with a cancelled context: %v; want context.Canceled", err)
	}
	n := 0
	for _, err := range s.Stream(ctx, usagelog.Filter{}) {
		if n++; !errors.Is(err, context.Canceled) {
			t.Errorf("Stream with a cancelled context: %v; want context.Canceled", err)
		}
	}
	if n != 1 {
		t.Errorf("Stream with a cancelled context yields %d times; want its error and then the end", n)
	}
	want := records(1, 5)
	if err := s.Append(ctx, records(5, 6)); err == nil {
		want = records(1, 6) // a store may finish, but must not say so and forget
	}
	got := pages(t, s, usagelog.Query{})
	if len(got) < len(want) {
		t.Errorf("Append with a cancelled context returned nil and the record is not there")
	}
}

func checkConcurrent(t *testing.T, s usagelog.Store) {
	const writers, each = 4, 50
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				page, err := s.Query(t.Context(), usagelog.Query{Limit: 20})
				if err != nil {
					t.Errorf("Query: %v", err)
					return
				}
				for i := 1; i < len(page.Records); i++ {
					if !page.Records[i].Time.Before(page.Records[i-1].Time) {
						t.Errorf("Query during Appends is out of order")
						return
					}
				}
			}
		})
	}
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				from := 1 + n*writers + w // neighbours overlap: two writers bring the same records
				if err := s.Append(t.Context(), records(from, from+3)); err != nil {
					t.Errorf("Append: %v", err)
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	wg.Wait()
	sameRecords(t, "after concurrent Appends", pages(t, s, usagelog.Query{}), newest(records(1, writers*each+3)))
}
