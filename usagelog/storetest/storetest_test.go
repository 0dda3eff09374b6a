package storetest

import (
	"context"
	"iter"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/usagelog"
)

func TestMemoryStore(t *testing.T) {
	t.Parallel()
	Run(t, func(*testing.T) usagelog.Store { return usagelog.NewMemoryStore(0) })
}

func TestMemoryStoreAtItsLimit(t *testing.T) {
	t.Parallel()
	Run(t, func(*testing.T) usagelog.Store { return usagelog.NewMemoryStore(5000) })
}

// A broken store is a MemoryStore with one fault, which the named check finds.
type broken struct {
	*usagelog.MemoryStore
	append            func(s *usagelog.MemoryStore, recs []usagelog.Record) error
	deletesOnce, deaf bool
	appendIn          func(ctx context.Context, s *usagelog.MemoryStore, recs []usagelog.Record) error
	query             func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error)
	stream            func(s *usagelog.MemoryStore, f usagelog.Filter) iter.Seq2[usagelog.Record, error]
}

func (b broken) Append(ctx context.Context, recs []usagelog.Record) error {
	if b.append != nil {
		return b.append(b.MemoryStore, recs)
	}
	if b.appendIn != nil {
		return b.appendIn(ctx, b.MemoryStore, recs)
	}
	return b.MemoryStore.Append(ctx, recs)
}

func (b broken) Query(ctx context.Context, q usagelog.Query) (usagelog.Page, error) {
	if err := ctx.Err(); err != nil && !b.deaf {
		return usagelog.Page{}, err
	}
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

// timed keeps times as change says, and asks for them so too.
func timed(change func(time.Time) time.Time) broken {
	changed := func(t time.Time) time.Time {
		if t.IsZero() {
			return t
		}
		return change(t)
	}
	return broken{append: func(s *usagelog.MemoryStore, recs []usagelog.Record) error {
		recs = slices.Clone(recs)
		for i := range recs {
			recs[i].Time = changed(recs[i].Time)
		}
		return s.Append(bg, recs)
	}, query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		q.From, q.To = changed(q.From), changed(q.To)
		page, err := s.Query(bg, q)
		for i := range page.Records { // what Append has normalised
			page.Records[i].Time = changed(page.Records[i].Time)
		}
		return page, err
	}}
}

// TestMicroseconds has stores that keep times as SQL databases do.
func TestMicroseconds(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(time.Time) time.Time{
		"cut":     func(t time.Time) time.Time { return t.Truncate(time.Microsecond) },
		"rounded": func(t time.Time) time.Time { return t.Round(time.Microsecond) },
	} {
		t.Run(name, func(t *testing.T) {
			Run(t, func(t *testing.T) usagelog.Store {
				b := timed(change)
				b.MemoryStore = usagelog.NewMemoryStore(0)
				return b
			})
		})
	}
}

// An aging store deletes old records when expire is called.
type aging struct {
	broken
	done bool
}

func (a *aging) expire(before time.Time) {
	if a.deletesOnce && a.done {
		return
	}
	a.done = true
	kept := usagelog.NewMemoryStore(0)
	for r := range a.MemoryStore.Stream(bg, usagelog.Filter{From: before}) {
		kept.Append(bg, []usagelog.Record{r})
	}
	a.MemoryStore = kept
}

var faults = []struct {
	name  string
	found string // the check that must fail
	store broken
	fresh func() broken // for a store that remembers something
}{
	{name: "keeps a repeated record twice", found: "Idempotent", store: broken{append: func() func(s *usagelog.MemoryStore, recs []usagelog.Record) error {
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
	{name: "drops the last record of a batch", found: "RoundTrip", store: broken{append: func(s *usagelog.MemoryStore, recs []usagelog.Record) error {
		return s.Append(bg, recs[:max(len(recs)-1, 0)])
	}}},
	{name: "keeps milliseconds", found: "RoundTrip", store: timed(func(t time.Time) time.Time { return t.Truncate(time.Millisecond) })},
	{name: "returns local times", found: "RoundTrip", store: timed(func(t time.Time) time.Time { return t.In(time.FixedZone("", 3600)) })},
	{name: "remembers the IDs of what it did not keep", found: "Flapping", fresh: func() broken {
		seen := make(map[usagelog.RecordID]bool)
		return broken{appendIn: func(ctx context.Context, s *usagelog.MemoryStore, recs []usagelog.Record) error {
			recs = slices.DeleteFunc(slices.Clone(recs), func(r usagelog.Record) bool {
				known := seen[r.ID]
				seen[r.ID] = !r.ID.IsZero()
				return known
			})
			return s.Append(ctx, recs)
		}}
	}},
	{name: "does not delete again what comes again", found: "Retention", store: broken{deletesOnce: true}},
	{name: "looks for a record and then inserts it", found: "Overlapping", fresh: func() broken {
		var mu sync.Mutex
		seen, n := make(map[usagelog.RecordID]bool), uint16(0)
		return broken{append: func(s *usagelog.MemoryStore, recs []usagelog.Record) error {
			mu.Lock()
			unknown := slices.DeleteFunc(slices.Clone(recs), func(r usagelog.Record) bool { return seen[r.ID] })
			mu.Unlock()
			time.Sleep(2 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			for i := range unknown {
				id := &unknown[i].ID
				if again := seen[*id]; again { // a table without a unique index
					n++
					id[1], id[2] = byte(n>>8)|1, byte(n)
				}
				seen[*id] = !id.IsZero()
			}
			return s.Append(bg, unknown)
		}}
	}},
	{name: "takes records without an ID", found: "Rejected", store: broken{append: func(s *usagelog.MemoryStore, recs []usagelog.Record) error {
		recs = slices.DeleteFunc(slices.Clone(recs), func(r usagelog.Record) bool { return r.ID.IsZero() })
		return s.Append(bg, recs)
	}}},
	{name: "lists oldest first", found: "Order", store: broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		page, err := s.Query(bg, q)
		slices.Reverse(page.Records)
		return page, err
	}}},
	{name: "pages by offset", found: "PagingDuringAppends", store: broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
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
	{name: "pages by time alone", found: "Paging", store: broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		page, err := s.Query(bg, q)
		if page.Next != "" {
			last := page.Records[len(page.Records)-1]
			page.Next = usagelog.Position{Time: last.Time}.Cursor()
		}
		return page, err
	}}},
	{name: "gives a cursor on the last page", found: "Empty", store: broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		page, err := s.Query(bg, q)
		page.Next = usagelog.Position{Time: epoch}.Cursor()
		return page, err
	}}},
	{name: "ignores the key", found: "Filter", store: filtered(func(f *usagelog.Filter) { f.KeyID = "" })},
	{name: "ignores the method", found: "Filter", store: filtered(func(f *usagelog.Filter) { f.Method = "" })},
	{name: "ignores the status", found: "Filter", store: filtered(func(f *usagelog.Filter) { f.Status = 0 })},
	{name: "ignores the class", found: "Filter", store: filtered(func(f *usagelog.Filter) { f.StatusClass = 0 })},
	{name: "takes Denied for any verdict", found: "Filter", store: filtered(func(f *usagelog.Filter) {
		if f.Verdict != nil && *f.Verdict == 0 {
			f.Verdict = nil
		}
	})},
	{name: "takes From as exclusive", found: "Filter", store: filtered(func(f *usagelog.Filter) {
		if !f.From.IsZero() {
			f.From = f.From.Add(1)
		}
	})},
	{name: "takes To as inclusive", found: "Filter", store: filtered(func(f *usagelog.Filter) {
		if !f.To.IsZero() {
			f.To = f.To.Add(1)
		}
	})},
	{name: "takes a bad cursor for none", found: "InvalidQuery", store: broken{query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		page, err := s.Query(bg, q)
		if err != nil {
			q.Cursor = ""
			return s.Query(bg, q)
		}
		return page, nil
	}}},
	{name: "streams one page", found: "Stream", store: broken{stream: func(s *usagelog.MemoryStore, f usagelog.Filter) iter.Seq2[usagelog.Record, error] {
		return usagelog.StreamPages(bg, f, func(ctx context.Context, q usagelog.Query) (usagelog.Page, error) {
			page, err := s.Query(ctx, q)
			page.Next = ""
			return page, err
		})
	}}},
	{name: "does not look at the context", found: "Cancelled", store: broken{deaf: true, query: func(s *usagelog.MemoryStore, q usagelog.Query) (usagelog.Page, error) {
		return s.Query(bg, q)
	}}},
}

const faultEnv = "STORETEST_FAULT"

// TestBrokenStore is run by TestFindsFaults, in a process of its own, as it
// has to fail there.
func TestBrokenStore(t *testing.T) {
	t.Parallel()
	i, err := strconv.Atoi(os.Getenv(faultEnv))
	if err != nil {
		i = -1 // on its own, it checks that the wrapping is no fault in itself
	}
	open := func() broken {
		var b broken
		switch {
		case i >= 0 && faults[i].fresh != nil:
			b = faults[i].fresh()
		case i >= 0:
			b = faults[i].store
		}
		b.MemoryStore = usagelog.NewMemoryStore(0)
		return b
	}
	Run(t, func(*testing.T) usagelog.Store { return open() })
	RunRetention(t, func(t *testing.T) (usagelog.Store, func(time.Time)) {
		a := &aging{broken: open()}
		return a, a.expire
	})
}

// TestFindsFaults checks that the suite fails each broken store, and by the
// check that is meant to find the fault.
func TestFindsFaults(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	for i, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(exe, "-test.run=^TestBrokenStore$/^"+f.found+"$", "-test.v", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), faultEnv+"="+strconv.Itoa(i))
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "the suite passes a store that %s", f.name)
			require.Contains(t, string(out), "--- FAIL: TestBrokenStore/"+f.found+" ", "a store that %s", f.name)
			require.False(t, strings.Contains(string(out), "panic:"), "%s", out)
		})
	}
}
