package main

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

// A runner measures cells and collects the results.
type runner struct {
	*results
	opts     options
	cells    *regexp.Regexp
	progress io.Writer
	start    time.Time
	failed   []string // disagreements and exact figures that are wrong
}

// options are the choices of a run.
type options struct {
	count   int
	minTime time.Duration // of a timed block
	peerMem uint64        // what one peer may hold
	allMem  uint64        // what all peers of a cell may hold together
	bgp     string        // a file with a routing table

	keys, prefixes []int // sizes, ascending
	entries        []int
	families       []string
	memoryKeys     []int // of engineMemory
	updateKeys     []int
	replaceKeys    []int
	loadKeys       []int
	alternation    time.Duration // of CheckDuringUpdates
}

func (r *runner) say(format string, args ...any) {
	fmt.Fprintf(r.progress, "%5.0fs  %s\n", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

func (r *runner) fail(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	r.failed = append(r.failed, s)
	r.say("WRONG: %s", s)
}

// wanted reports whether the cell was asked for.
func (r *runner) wanted(c cell) bool { return r.cells.MatchString(c.String()) }

// A contender is a peer that has its lists.
type contender struct {
	name string
	Peer
}

// duel measures both ways of querying, the peers in turn in each round and
// another of them first in each, so that what disturbs the machine disturbs
// them alike. The collector is off; one cell leaves it little. One way of querying is measured directly after the other, when
// the peer has been warmed by a pass of its own.
func (r *runner) duel(c cell, peers []contender, qs []workload.Query) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	peers = append(peers, contender{nameLoop, loopPeer{}})
	for round := range r.opts.count {
		for i := range peers {
			p := peers[(i+round)%len(peers)]
			p.Run(qs)
			r.add(c, p.name, figRun, r.block(p.Run, qs))
			r.add(c, p.name, figChain, r.block(p.Chain, qs))
		}
	}
	// The loop is part of what was measured one at a time; it is no part of
	// what a request waits for. What it costs in a round is taken off what the
	// peers cost in that round.
	loop := r.get(c, nameLoop, figChain)
	for _, p := range peers[:len(peers)-1] {
		v := r.get(c, p.name, figChain)
		for i := range v {
			v[i] -= loop[i]
		}
	}
}

// block returns the nanoseconds a query of a few passes over the queries: as
// many as minTime takes, and two at least unless one takes four times that.
func (r *runner) block(pass func([]workload.Query) uint64, qs []workload.Query) float64 {
	start := time.Now()
	for n := 1; ; n++ {
		pass(qs) // a call that the compiler cannot see through
		if d := time.Since(start); n >= 2 && d >= r.opts.minTime || d >= 4*r.opts.minTime {
			return float64(d.Nanoseconds()) / float64(n*len(qs))
		}
	}
}

// heap returns the bytes that are reachable.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one only unlinked, such as pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// mallocs returns the number of allocations that f makes.
func mallocs(f func()) uint64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}
