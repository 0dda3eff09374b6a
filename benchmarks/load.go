package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

const (
	nameFirstSets = "ipallow, first 20,000 Sets"
	firstSets     = 20_000
)

// load measures what a load needs beyond what stays: the most memory that the process had
// meanwhile, and what the first changes allocate, which take keys out of the blocks that a
// load makes. Each count is a process-wide figure, so there is one engine at a time.
func (r *runner) load(keyCounts []int) {
	for _, keys := range keyCounts {
		c := cell{Workload: wLoad, Keys: keys, Entries: 5}
		if !r.wanted(c) {
			continue
		}
		r.say("%v: making the workload", c)
		w := workload.Shape{Keys: keys, Entries: c.Entries, Family: "4", Result: "mixed", Queries: 1, Seed: 1}.New()
		other := workload.Shape{Keys: 1000, Entries: c.Entries, Family: "4", Result: "mixed", Queries: 1, Seed: 2}.New().Lists
		r.say("%v: measuring", c)
		var entries []ipallow.Entry
		for range r.opts.count {
			before := heap()
			debug.FreeOSMemory()
			start, canPeak := residentBytes("VmRSS:")
			canPeak = canPeak && os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) == nil // resets VmHWM
			p := new(enginePeer)
			p.Load(w.Keys, w.Lists)
			most, _ := residentBytes("VmHWM:")
			held := float64(max(heap(), before+1) - before)
			r.add(c, nameIpallow, figTotal, held)
			if canPeak {
				r.add(c, nameIpallow, figPeak, (most-start)/held)
			} else {
				r.note("Load: the peak of a load is measured on Linux only.")
			}

			var from, to runtime.MemStats
			runtime.ReadMemStats(&from)
			for i := range firstSets {
				entries = appendEntries(entries[:0], other[i%len(other)])
				must(p.e.Set(w.Keys[i*7919%keys], entries))
			}
			runtime.ReadMemStats(&to)
			r.add(c, nameFirstSets, figAlloc, float64(to.TotalAlloc-from.TotalAlloc)/firstSets)
		}
		runtime.KeepAlive(w)
	}
}

// residentBytes returns a line of the process's memory in bytes, as Linux tells it: VmRSS is what
// it has, VmHWM the most it had.
func residentBytes(name string) (float64, bool) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	_, rest, ok := strings.Cut(string(status), name)
	if fields := strings.Fields(rest); ok && len(fields) > 1 && fields[1] == "kB" {
		n, err := strconv.ParseFloat(fields[0], 64)
		return n * 1024, err == nil
	}
	return 0, false
}
