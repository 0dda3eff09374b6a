package usagelog

import (
	"context"
	"io"
	"iter"
	"net/netip"
	"testing"
	"time"

	"github.com/ipallow/ipallow"
)

// A discardStore takes everything and keeps nothing.
type discardStore struct{}

func (discardStore) Append(context.Context, []Record) error     { return nil }
func (discardStore) Query(context.Context, Query) (Page, error) { return Page{}, nil }
func (discardStore) Stream(context.Context, Filter) iter.Seq2[Record, error] {
	return func(func(Record, error) bool) {}
}

func benchRecord() Record {
	return Record{
		Time: time.Now(), RequestID: "01J9ZK3W5T8Q2V7XNB4MCR6YHE", KeyID: "key_5f2b8c1d9e3a4076b1c2d3e4f5a6b7c8", Method: "GET",
		Path: "/v1/organisations/acme/projects/42/items", Status: 200, ClientAddr: netip.MustParseAddr("203.0.113.5"),
		Verdict: ipallow.Allowed, Duration: 1234567,
	}
}

// BenchmarkRecord measures Record alone, with nothing lost: the clock stands
// still while the queue is emptied after each 10,000 records.
func BenchmarkRecord(b *testing.B) {
	w := mustOpen(b, b.TempDir(), discardStore{}, nil)
	r := benchRecord()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		w.Record(r)
		if n++; n%10000 == 0 {
			b.StopTimer()
			if err := w.Drain(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
	if lost := w.Stats().Lost.Total(); lost > 0 {
		b.Fatalf("%d records lost", lost)
	}
}

// BenchmarkRecordFlood records without a pause, faster than any store takes
// it: what counts is that Record never waits. lost/op is the share that was
// lost, which costs less than what was kept.
func BenchmarkRecordFlood(b *testing.B) {
	for _, c := range []struct {
		name  string
		store Store
	}{
		{"store=up", discardStore{}},
		{"store=down", newFaultyStore(func(ctx context.Context, _ []Record) error { <-ctx.Done(); return ctx.Err() })},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := mustOpen(b, b.TempDir(), c.store, &Options{QueueBytes: 16 << 20, WALBytes: 64 << 20})
			r := benchRecord()
			b.ReportAllocs()
			for b.Loop() {
				w.Record(r)
			}
			s := w.Stats()
			b.ReportMetric(float64(s.Lost.Total())/float64(s.Accepted), "lost/op")
		})
	}
}

func BenchmarkRecordParallel(b *testing.B) {
	w := mustOpen(b, b.TempDir(), discardStore{}, &Options{QueueBytes: 16 << 20})
	r := benchRecord()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			w.Record(r)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, fsync := range []bool{false, true} {
		name := "fsync=no"
		if fsync {
			name = "fsync=yes"
		}
		b.Run(name+"/goroutines=1", func(b *testing.B) {
			w := mustOpen(b, b.TempDir(), discardStore{}, &Options{Fsync: fsync})
			r := benchRecord()
			for b.Loop() {
				if err := w.Append(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/goroutines=64", func(b *testing.B) {
			w := mustOpen(b, b.TempDir(), discardStore{}, &Options{Fsync: fsync})
			r := benchRecord()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := w.Append(b.Context(), r); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkWriteCSV(b *testing.B) {
	const rows = 10000
	r := benchRecord()
	seq := func(yield func(Record, error) bool) {
		for range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := WriteCSV(io.Discard, seq); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// TestRecordDoesNotAllocate counts the allocations of the whole process, so
// the write-ahead file and the reading back are in the figure.
func TestRecordDoesNotAllocate(t *testing.T) {
	w := mustOpen(t, t.TempDir(), discardStore{}, nil)
	r := benchRecord()
	for range 20000 { // let both buffers grow
		w.Record(r)
	}
	if n := testing.AllocsPerRun(10000, func() { w.Record(r) }); n != 0 {
		t.Errorf("Record allocates %v times, want 0", n)
	}
}
