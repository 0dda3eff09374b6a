package storetest

import (
	"context"
	"iter"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/usagelog"
)

func TestMemoryStore(t *testing.T) {
	Run(t, func(*testing.T) usagelog.Store { return usagelog.NewMemoryStore(0) })
}

func TestMemoryStoreAtItsLimit(t *testing.T) {
	Run(t, func(*testing.T) usagelog.Store { return usagelog.NewMemoryStore(5000) })
}

// A broken store is a MemoryStore with one fault, which the named check finds.
type broken struct {
	*usagelog.MemoryStore
	append func(s *usagelog.MemoryStore, recs []usagelog.Record) error
	query  func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error)
	stream func(s *usagelog.MemoryStore, f usagelog.Filter) iter.Seq2[usagelog.Record, error]
}

func (b broken) Append(ctx context.Context, recs []usagelog.Record) error {
	if b.append != nil {
		return b.append(b.MemoryStore, recs)
	}
	return b.MemoryStore.Append(ctx, recs)
}

func (b broken) Query(ctx context.Context, q usagelog.Query) (usagelog.Page, error) {
	if b.query != nil {
		return b.query(b.MemoryStore, q)
	}
	return b.MemoryStore.Query(ctx, q)
}

func (b broken) Stream(ctx context.Context, f usagelog.Filter) iter.Seq2[usagelog.Record, error] {
	if b.stream != nil {
		return b.stream(b.MemoryStore, f)
	}
	return usagelog.StreamPages(ctx, f, b.Query)
}

var bg = context.Background()

// filtered breaks the filter of Query and of Stream.
func filtered(change func(*usagelog.Filter)) broken {
	return broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		if _, _, err := q.Plan(); err != nil {
			return usagelog.Page{}, err
		}
		change(&q.Filter)
		return s.Query(bg, q)
	}}
}

var faults = []struct {
	name  string
	found string // the check that must fail
	store broken
}{
	{"keeps a repeated record twice", "Idempotent", broken{append: func() func(s *usagelog.MemoryStore, recs []usagelog.Record) error {
		n := byte(0)
		return func(s *usagelog.MemoryStore, recs []usagelog.Record) error {
			recs = slices.Clone(recs)
			for i := range recs {
				if !recs[i].ID.IsZero() {
					n++
					recs[i].ID[1] = n
				}
			}
			return s.Append(bg, recs)
		}
	}()}},
	{"drops the last record of a batch", "RoundTrip", broken{append: func(s *usagelog.MemoryStore, recs []usagelog.Record) error {
		return s.Append(bg, recs[:max(len(recs)-1, 0)])
	}}},
	{"keeps microseconds", "RoundTrip", broken{append: func(s *usagelog.MemoryStore, recs []usagelog.Record) error {
		recs = slices.Clone(recs)
		for i := range recs {
			recs[i].Time = recs[i].Time.Truncate(time.Microsecond)
		}
		return s.Append(bg, recs)
	}}},
	{"takes records without an ID", "Rejected", broken{append: func(s *usagelog.MemoryStore, recs []usagelog.Record) error {
		recs = slices.DeleteFunc(slices.Clone(recs), func(r usagelog.Record) bool { return r.ID.IsZero() })
		return s.Append(bg, recs)
	}}},
	{"lists oldest first", "Order", broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		page, err := s.Query(bg, q)
		slices.Reverse(page.Records)
		return page, err
	}}},
	{"pages by offset", "PagingDuringAppends", broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		offset, _ := strconv.Atoi(q.Cursor)
		q.Cursor = ""
		limit, _, err := q.Plan()
		if err != nil {
			return usagelog.Page{}, err
		}
		var page usagelog.Page
		n := 0
		for r := range s.Stream(bg, q.Filter) {
			if n++; n > offset+limit {
				page.Next = strconv.Itoa(offset + limit)
				break
			}
			if n > offset {
				page.Records = append(page.Records, r)
			}
		}
		return page, nil
	}}},
	{"pages by time alone", "Paging", broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		page, err := s.Query(bg, q)
		if page.Next != "" {
			last := page.Records[len(page.Records)-1]
			page.Next = usagelog.Position{Time: last.Time}.Cursor()
		}
		return page, err
	}}},
	{"gives a cursor on the last page", "Empty", broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		page, err := s.Query(bg, q)
		page.Next = usagelog.Position{Time: epoch}.Cursor()
		return page, err
	}}},
	{"ignores the key", "Filter", filtered(func(f *usagelog.Filter) { f.KeyID = "" })},
	{"ignores the method", "Filter", filtered(func(f *usagelog.Filter) { f.Method = "" })},
	{"ignores the status", "Filter", filtered(func(f *usagelog.Filter) { f.Status = 0 })},
	{"ignores the class", "Filter", filtered(func(f *usagelog.Filter) { f.StatusClass = 0 })},
	{"takes Denied for any verdict", "Filter", filtered(func(f *usagelog.Filter) {
		if f.Verdict != nil && *f.Verdict == 0 {
			f.Verdict = nil
		}
	})},
	{"takes From as exclusive", "Filter", filtered(func(f *usagelog.Filter) {
		if !f.From.IsZero() {
			f.From = f.From.Add(1)
		}
	})},
	{"takes To as inclusive", "Filter", filtered(func(f *usagelog.Filter) {
		if !f.To.IsZero() {
			f.To = f.To.Add(1)
		}
	})},
	{"takes a bad cursor for none", "InvalidQuery", broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		page, err := s.Query(bg, q)
		if err != nil {
			q.Cursor = ""
			return s.Query(bg, q)
		}
		return page, nil
	}}},
	{"streams one page", "Stream", broken{stream: func(s *usagelog.MemoryStore, f usagelog.Filter) iter.Seq2[usagelog.Record, error] {
		return usagelog.StreamPages(bg, f, func(ctx context.Context, q usagelog.Query) (usagelog.Page, error) {
			page, err := s.Query(ctx, q)
			page.Next = ""
			return page, err
		})
	}}},
	{"does not look at the context", "Cancelled", broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		return s.Query(bg, q)
	}}},
}

const faultEnv = "STORETEST_FAULT"

// TestBrokenStore is run by TestFindsFaults, in a process of its own, as it
// has to fail there.
func TestBrokenStore(t *testing.T) {
	i, err := strconv.Atoi(os.Getenv(faultEnv))
	if err != nil {
		i = -1 // on its own, it checks that the wrapping is no fault in itself
	}
	Run(t, func(*testing.T) usagelog.Store {
		var b broken
		if i >= 0 {
			b = faults[i].store
		}
		b.MemoryStore = usagelog.NewMemoryStore(0)
		return b
	})
}

// TestFindsFaults checks that the suite fails each broken store, and by the
// check that is meant to find the fault.
func TestFindsFaults(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	for i, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			cmd := exec.Command(exe, "-test.run=^TestBrokenStore$", "-test.v", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), faultEnv+"="+strconv.Itoa(i))
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "the suite passes a store that %s", f.name)
			require.Contains(t, string(out), "--- FAIL: TestBrokenStore/"+f.found+" ", "a store that %s", f.name)
			require.False(t, strings.Contains(string(out), "panic:"), "%s", out)
		})
	}
}
