package usagelog_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
	"github.com/ipallow/ipallow/usagelog/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) usagelog.Store { return usagelog.NewMemoryStore(0) })
}

func record(n int, path string, status int, verdict ipallow.Verdict) usagelog.Record {
	r := usagelog.Record{
		Time:      time.Date(2026, 3, 1, 12, 0, n, 0, time.UTC),
		RequestID: fmt.Sprintf("req-%d", n), KeyID: "key_a", Method: "GET", Path: path, Status: status,
		ClientAddr: netip.MustParseAddr("203.0.113.5"), Verdict: verdict, Duration: 1500 * time.Microsecond,
	}
	if verdict == ipallow.Allowed { // as ipallow.Explanation and httpallow.Decision have it
		r.Entry, r.Label = netip.MustParsePrefix("203.0.113.0/24"), "office"
	}
	return r
}

func Example() {
	dir, err := os.MkdirTemp("", "usage")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	store := usagelog.NewMemoryStore(10_000)
	w, err := usagelog.Open(dir, store, nil)
	if err != nil {
		panic(err)
	}
	w.Record(record(1, "/v1/items?page=2", 200, ipallow.Allowed))
	w.Record(record(2, "=1+1", 403, ipallow.Denied))
	if err := w.Close(ctx); err != nil { // everything is stored
		panic(err)
	}
	s := w.Stats()
	fmt.Println(s.Accepted, "accepted,", s.Stored, "stored,", s.Lost.Total(), "lost")
	var csv strings.Builder
	if err := usagelog.WriteCSV(&csv, store.Stream(ctx, usagelog.Filter{KeyID: "key_a"})); err != nil {
		panic(err)
	}
	fmt.Print(strings.ReplaceAll(csv.String(), "\r\n", "\n"))
	// Output:
	// 2 accepted, 2 stored, 0 lost
	// time,request_id,key_id,method,path,status,client_addr,verdict,duration_ms,requests,entry,label,list
	// 2026-03-01T12:00:02.000000000Z,req-2,key_a,GET,'=1+1,403,203.0.113.5,denied,1.5,1,,,
	// 2026-03-01T12:00:01.000000000Z,req-1,key_a,GET,/v1/items,200,203.0.113.5,allowed,1.5,1,203.0.113.0/24,office,
}

// Following Next visits every record once, while new ones keep arriving.
func ExampleMemoryStore_Query() {
	ctx := context.Background()
	store := usagelog.NewMemoryStore(0)
	for n := range 5 {
		r := record(n, "/v1/items", 200+n%2*204, ipallow.Allowed)
		r.ID = usagelog.RecordID{15: byte(n + 1)} // a Writer does this
		if err := store.Append(ctx, []usagelog.Record{r}); err != nil {
			panic(err)
		}
	}
	q := usagelog.Query{Filter: usagelog.Filter{StatusClass: 2}, Limit: 2}
	for {
		page, err := store.Query(ctx, q)
		if err != nil {
			panic(err)
		}
		for i, r := range page.Records {
			fmt.Println(i, r.RequestID)
		}
		if page.Next == "" {
			break
		}
		q.Cursor = page.Next
	}
	// Output:
	// 0 req-4
	// 1 req-2
	// 0 req-0
}
