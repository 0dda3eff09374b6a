package main

import (
	"fmt"
	"math"
	"slices"
)

// A goal is a figure that has to get somewhere. The verdict is that of the
// worst cell.
type goal struct {
	what      string
	atLeast   bool // more is better
	must, aim float64
	format    func(float64) string
	reached   []reach
}

type reach struct {
	where string
	value float64
}

// worst returns the cell that is farthest from the goal.
func (g *goal) worst() (reach, bool) {
	if len(g.reached) == 0 {
		return reach{}, false
	}
	cmp := func(a, b reach) int {
		d := a.value - b.value
		if !g.atLeast {
			d = -d
		}
		switch {
		case d < 0 || math.IsNaN(a.value):
			return -1
		case d > 0:
			return 1
		}
		return 0
	}
	return slices.MinFunc(g.reached, cmp), true
}

func (g *goal) meets(value, bound float64) bool {
	if g.atLeast {
		return value >= bound
	}
	return value <= bound
}

// mark says in a few words what has been reached.
func (g *goal) mark() string {
	w, ok := g.worst()
	switch {
	case !ok:
		return "not measured"
	case g.meets(w.value, g.aim):
		return "PASS, aim reached"
	case g.meets(w.value, g.must):
		return "PASS, aim not reached"
	}
	return "**FAIL**"
}

func formatTimes(v float64) string { return fmt.Sprintf("%.2f times", v) }
func formatCount(v float64) string { return fmt.Sprintf("%.3g", v) }

// ratio adds the cells of a workload that match: the median over the rounds
// of one peer's figure divided by the other's.
func (g *goal) ratio(r *results, workload string, f figure, over, under string, match func(cell) bool) {
	for _, c := range r.cells(workload, f) {
		if v := ratios(r.get(c, over, f), r.get(c, under, f)); match(c) && len(v) > 0 {
			g.reached = append(g.reached, reach{c.String(), median(v)})
		}
	}
}

// nextBest adds the cells of a workload that match: our figure beside the least of any
// peer. If more is better, that is how often ours goes into it; otherwise its share.
func (g *goal) nextBest(r *results, workload string, f figure, match func(cell) bool) {
	for _, c := range r.cells(workload, f) {
		ours := r.get(c, nameIpallow, f)
		if !match(c) || len(ours) == 0 {
			continue
		}
		least, name := math.Inf(1), ""
		for _, k := range peerKinds {
			if v := ratios(r.get(c, k.name, f), ours); k.name != nameIpallow && len(v) > 0 && median(v) < least {
				least, name = median(v), k.name
			}
		}
		if name == "" {
			continue // no peer was measured there
		}
		if !g.atLeast {
			least = 1 / least
		}
		g.reached = append(g.reached, reach{c.String() + " (" + name + ")", least})
	}
}

// value adds the median of one peer's figure.
func (g *goal) value(r *results, workload string, f figure, peer string, match func(cell) bool) {
	for _, c := range r.cells(workload, f) {
		if v := r.get(c, peer, f); match(c) && len(v) > 0 {
			g.reached = append(g.reached, reach{c.String(), median(v)})
		}
	}
}

// goals computes the table of what must be reached and what is aimed at.
func goals(r *results) []*goal {
	every := func(cell) bool { return true }
	keys := func(n ...int) func(cell) bool {
		return func(c cell) bool { return slices.Contains(n, c.Keys) }
	}
	var gs []*goal
	add := func(what string, atLeast bool, must, aim float64, format func(float64) string) *goal {
		g := &goal{what: what, atLeast: atLeast, must: must, aim: aim, format: format}
		gs = append(gs, g)
		return g
	}

	g := add("allocations in Check", false, 0, 0, formatCount)
	g.value(r, wCheck, figAllocs, nameIpallow, every)
	g.value(r, wLarge, figAllocs, nameIpallow, every)
	g = add("allocations in Contains", false, 0, 0, formatCount)
	g.value(r, wLarge, figAllocs, nameContains, every)

	// The bounds are those of the back-to-back loop, then those of one query at a time.
	both := []figure{figRun, figChain}
	for i, bounds := range [][2]float64{{1.7, 2.5}, {1.5, 2.2}} {
		g = add("Check at 1e5 and 1e6 keys, "+string(both[i])+": how much faster than the fastest peer", true,
			bounds[0], bounds[1], formatTimes)
		g.nextBest(r, wCheck, both[i], keys(1e5, 1e6))
	}
	for _, f := range both {
		g = add("Check at 1e3 keys, "+string(f)+": how much faster than the fastest peer", true, 1.2, 1.6, formatTimes)
		g.nextBest(r, wCheck, f, keys(1e3))
	}
	g = add("Check of 300-byte keys at 1e6, back to back: how much faster than the fastest peer", true, 1.5, 2, formatTimes)
	g.nextBest(r, wLongKeys, figRun, keys(1e6))
	for _, floor := range []struct {
		entries   int
		must, aim float64
	}{{5, 1.9, 1.4}, {20, 3.1, 1.8}} {
		g = add(fmt.Sprintf("Check at 1e6 keys of %d entries, %s, against the floor", floor.entries, figRun), false,
			floor.must, floor.aim, formatTimes)
		g.ratio(r, wCheck, figRun, nameIpallow, nameFloor,
			func(c cell) bool { return c.Keys == 1e6 && c.Entries == floor.entries })
	}
	g = add("Check at 1e6 keys, "+string(figChain)+", against the floor", false, 1.3, 1, formatTimes)
	g.ratio(r, wCheck, figChain, nameIpallow, nameFloor, keys(1e6))
	for _, f := range both {
		// Contains is the like of a bare table. Check is shown by the same
		// measure, although it finds the key as well.
		g = add("Large list, "+string(f)+": Contains against bare bart.Lite", false, 1.1, 1, formatTimes)
		g.ratio(r, wLarge, f, nameContains, nameBareLite, every)
		g = add("Large list, "+string(f)+": Check, which finds the key first, against bare bart.Lite", false, 1.1, 1, formatTimes)
		g.ratio(r, wLarge, f, nameIpallow, nameBareLite, every)
	}

	g = add("resident bytes a key, 5 entries, 33-character key, against the leanest peer", false, 0.7, 0.6, formatTimes)
	g.nextBest(r, wMemory, figBytes, func(c cell) bool { return c.Entries == 5 && c.Keys >= 1e5 })
	g = add("GC time holding 1e6 keys, against an empty heap", false, 2, 1.1, formatTimes)
	g.ratio(r, wMemory, figGC, nameIpallow, nameEmpty, keys(1e6))
	g = add("Set at 1e6 keys, median", false, 10e3, 5e3, formatTime)
	g.value(r, wSet, figMedian, nameIpallow, keys(1e6))
	g = add("Set at 1e6 keys, p99", false, 60e3, 20e3, formatTime)
	g.value(r, wSet, figP99, nameIpallow, keys(1e6))
	g = add("the first 20,000 Sets after a load of 1e7 keys, bytes allocated, against those at 1e6", false, 2, 1.2, formatTimes)
	few, many := cell{Workload: wLoad, Keys: 1e6, Entries: 5}, cell{Workload: wLoad, Keys: 1e7, Entries: 5}
	if v := ratios(r.get(many, nameFirstSets, figAlloc), r.get(few, nameFirstSets, figAlloc)); len(v) > 0 {
		g.reached = append(g.reached, reach{many.String(), median(v)})
	}
	g = add("peak resident bytes of a load of 1e6 keys, against what stays", false, 2, 1.4, formatTimes)
	g.value(r, wLoad, figPeak, nameIpallow, keys(1e6))
	g = add("one entry changed in a list of 1e6", false, 100e6, 5e6, formatTime)
	g.value(r, wLongChange, figMedian, nameIpallow, func(c cell) bool { return c.Prefixes == 1e6 })
	g = add("reader p99 with 1,000 Sets a second, against none", false, 1.1, 1.05, formatTimes)
	g.ratio(r, wUpdates, figP99, nameUpdates, nameQuiet, keys(1e6))
	g = add("Check from 2 goroutines, against 1", true, 1.8, 2, formatTimes)
	g.ratio(r, wPar, figRate, nameTwo, nameOne, every)
	g = add("Load of 1e6 keys of 5 entries, from texts", false, 2e9, 1e9, formatTime)
	g.value(r, wReplace, figLoad, nameTexts, keys(1e6))
	return gs
}

// A loss is a cell in which a peer is better.
type loss struct {
	cell       cell
	figure     figure
	peer       string
	ours, hers float64
	ratio      float64 // ours to hers, over 1
}

// losses returns every cell in which a peer beats the engine, the worst
// first. The floor and the empty heap are no peers.
func losses(r *results) []loss {
	var ls []loss
	compare := func(workload string, f figure, ours string, notPeers ...string) {
		for _, c := range r.cells(workload, f) {
			for _, p := range r.peers(workload, f) {
				if p == ours || slices.Contains(notPeers, p) {
					continue
				}
				a, b := r.get(c, ours, f), r.get(c, p, f)
				if x := median(ratios(a, b)); x > 1 {
					ls = append(ls, loss{c, f, p, median(a), median(b), x})
				}
			}
		}
	}
	for _, f := range []figure{figRun, figChain} {
		compare(wCheck, f, nameIpallow, nameFloor, nameLoop)
		compare(wLongKeys, f, nameIpallow, nameFloor, nameLoop)
		compare(wLarge, f, nameIpallow, nameContains, nameLoop)
		compare(wLarge, f, nameContains, nameIpallow, nameLoop)
	}
	for _, f := range []figure{figBytes, figGC} {
		compare(wMemory, f, nameIpallow, nameEmpty)
	}
	for _, f := range []figure{figMedian, figP99, figAlloc} {
		compare(wSet, f, nameIpallow)
	}
	compare(wReplace, figLoad, nameEntries, nameTexts)
	slices.SortStableFunc(ls, func(a, b loss) int {
		switch {
		case a.ratio > b.ratio:
			return -1
		case a.ratio < b.ratio:
			return 1
		}
		return 0
	})
	return ls
}
