package main

import (
	"net/netip"
	"runtime"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

const (
	nameQuiet   = "no Sets"
	nameUpdates = "1,000 Sets a second"

	setsASecond = 1000
)

// updates measures single calls of Check, each with a reading of the clock
// before and after it, while another goroutine changes keys and while none
// does.
func (r *runner) updates(keyCounts []int, alternation time.Duration) {
	for _, keys := range keyCounts {
		c := cell{Workload: wUpdates, Keys: keys}
		if !r.wanted(c) {
			continue
		}
		r.say("%v: loading", c)
		w := workload.Shape{Keys: keys, Entries: 5, Family: "mixed", Result: "mixed", Seed: 1}.New()
		other := workload.Shape{Keys: 10_000, Entries: 5, Family: "mixed", Result: "mixed", Queries: 1, Seed: 2}.New().Lists
		p := new(enginePeer)
		p.Load(w.Keys, w.Lists)
		qs := w.Queries
		w.Lists = nil
		took := make([]float64, 0, 1<<23)
		p.Run(qs)
		r.say("%v: measuring", c)
		for round := range r.opts.count {
			for i := range 2 {
				runtime.GC()
				if (i+round)%2 == 0 {
					took = r.readers(c, nameQuiet, p.e, qs, took[:0], alternation)
					continue
				}
				stop, done := make(chan struct{}), make(chan float64)
				go func() { done <- writer(p.e, w.Keys, other, stop) }()
				took = r.readers(c, nameUpdates, p.e, qs, took[:0], alternation)
				close(stop)
				r.add(c, nameUpdates, figRate, <-done)
			}
		}
	}
}

// readers makes queries for a time and records how long each took.
func (r *runner) readers(c cell, name string, e *ipallow.Engine, qs []workload.Query, took []float64, d time.Duration) []float64 {
	start := time.Now()
	last := start
	var sum ipallow.Verdict
	for i := 0; len(took) < cap(took) && last.Sub(start) < d; i++ {
		q := &qs[i&(len(qs)-1)]
		t := time.Now()
		sum |= e.Check(q.Key, q.Addr)
		last = time.Now()
		took = append(took, float64(last.Sub(t)))
	}
	runtime.KeepAlive(sum)
	r.add(c, name, figMedian, median(took))
	r.add(c, name, figP99, quantile(took, 0.99))
	r.add(c, name, figP999, quantile(took, 0.999))
	return took
}

// writer makes Sets at a steady rate until stop, and returns how many a
// second it made. One that is late is made at once.
func writer(e *ipallow.Engine, keys []string, lists [][]netip.Prefix, stop <-chan struct{}) float64 {
	var entries []ipallow.Entry
	start := time.Now()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return float64(n) / time.Since(start).Seconds()
		default:
		}
		entries = appendEntries(entries[:0], lists[n%len(lists)])
		must(e.Set(keys[n*7919%len(keys)], entries))
		time.Sleep(time.Until(start.Add(time.Duration(n+1) * time.Second / setsASecond)))
	}
}
