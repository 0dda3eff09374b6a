package main

import (
	"runtime"
	"runtime/debug"
	"time"
)

const nameEmpty = "empty heap"

// memory measures what each peer holds, and how long a collection takes with
// it and with nothing: one peer after the other, and the workload gone.
func (r *runner) memory(keyCounts []int) {
	for _, keys := range keyCounts {
		for _, entries := range r.opts.entries {
			c := cell{Workload: wMemory, Keys: keys, Entries: entries}
			if !r.wanted(c) {
				continue
			}
			group := c
			group.Family = "mixed"
			for _, k := range r.affordable(group) {
				rounds := 1
				if k.name == nameIpallow {
					rounds = r.opts.count // the others have no goals
				}
				for range rounds {
					r.say("%v: %s", c, k.name)
					r.memoryOf(c, group, k)
				}
			}
		}
	}
}

func (r *runner) memoryOf(c, group cell, k peerKind) {
	before := heap()
	r.add(c, nameEmpty, figGC, gcTime())
	p := k.make()
	func() {
		w := shapeOf(group, 1).New()
		p.Load(w.Keys, w.Lists)
		runtime.KeepAlive(w)
	}()
	held := float64(max(heap(), before) - before)
	r.add(c, k.name, figTotal, held)
	r.add(c, k.name, figBytes, held/float64(c.Keys))
	r.add(c, k.name, figGC, gcTime())
	runtime.KeepAlive(p)
}

// gcTime returns the median of some collections, in nanoseconds. The heap
// has just been collected, so there is nothing to free; and what was free has
// been given back to the system, which would otherwise go on beside them.
func gcTime() float64 {
	debug.FreeOSMemory()
	var took []float64
	for start := time.Now(); len(took) < 21 && (len(took) < 3 || time.Since(start) < time.Second); {
		t := time.Now()
		runtime.GC()
		took = append(took, float64(time.Since(t)))
	}
	return median(took)
}

// engineMemory measures the engine's bytes a key with 5 entries of each
// family. Nothing but the seed of the hashes makes it differ from run to run.
func (r *runner) engineMemory(keyCounts []int) {
	for _, keys := range keyCounts {
		for _, family := range r.opts.families {
			c := cell{Workload: wMemory, Keys: keys, Entries: 5, Family: family}
			if !r.wanted(c) {
				continue
			}
			r.say("%v: loading", c)
			w := shapeOf(c, 1).New()
			before := heap()
			p := new(enginePeer)
			p.Load(w.Keys, w.Lists)
			r.add(c, nameIpallow, figBytes, float64(heap()-before)/float64(keys))
			runtime.KeepAlive(p)
			runtime.KeepAlive(w)
		}
	}
}
