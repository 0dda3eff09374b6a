package main

import (
	"sync"
	"time"

	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

const (
	nameOne = "1 goroutine"
	nameTwo = "2 goroutines"

	nameFloorOne = "floor, 1 goroutine"
	nameFloorTwo = "floor, 2 goroutines"
)

// parallel measures Check from one and from two goroutines, and beside it the
// floor, which shares nothing but memory: where the floor does not double
// either, the machine is what holds Check back.
func (r *runner) parallel(keyCounts []int) {
	for _, keys := range keyCounts {
		c := cell{Workload: wPar, Keys: keys}
		if !r.wanted(c) {
			continue
		}
		r.say("%v: loading", c)
		w := workload.Shape{Keys: keys, Entries: 5, Family: "mixed", Result: "mixed", Seed: 1}.New()
		p := new(enginePeer)
		before := heap()
		p.Load(w.Keys, w.Lists)
		floor := newFloor(int(max(heap(), before+8) - before))
		w.Lists = nil
		passes := 2
		for t := time.Now(); time.Since(t) < 2*r.opts.minTime; passes++ {
			p.Run(w.Queries)
		}
		r.say("%v: measuring", c)
		for round := range 2 * r.opts.count {
			for i := range 2 {
				n := (round + i) % 2 // the one and the other first, in turn
				r.add(c, []string{nameOne, nameTwo}[n], figRate, parallelRate(p, w.Queries, n+1, passes))
				r.add(c, []string{nameFloorOne, nameFloorTwo}[n], figRate, parallelRate(floor, w.Queries, n+1, passes))
			}
		}
	}
}

// parallelRate returns the queries a second of so many goroutines, each of
// which makes all queries the given number of times.
func parallelRate(p Peer, qs []workload.Query, goroutines, passes int) float64 {
	var wg sync.WaitGroup
	start := time.Now()
	for g := range goroutines {
		wg.Go(func() {
			// Each begins elsewhere, so that none warms the cache for another.
			at := g * len(qs) / goroutines
			for range passes {
				p.Run(qs[at:])
				p.Run(qs[:at])
			}
		})
	}
	wg.Wait()
	return float64(goroutines*passes*len(qs)) / time.Since(start).Seconds()
}
