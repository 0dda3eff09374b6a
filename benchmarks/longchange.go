package main

import (
	"net/netip"
	"runtime"
	"time"

	"github.com/ipallow/ipallow"
)

// longChange measures the change of one entry of a long list, beside the first Set of it.
// A change in each round is of another entry, and to a network that no list had before:
// the engine shares the tables of equal lists.
func (r *runner) longChange(sizes []int) error {
	var table []netip.Prefix
	for _, n := range sizes {
		c := cell{Workload: wLongChange, Prefixes: n}
		if !r.wanted(c) {
			continue
		}
		if table == nil {
			r.say("%s: making the routing table", wLongChange)
			var err error
			if table, err = r.routes(sizes[len(sizes)-1]); err != nil {
				return err
			}
		}
		r.say("%v: measuring", c)
		entries := appendEntries(nil, table[:min(n, len(table))])
		for round := range r.opts.count {
			e := newEngine()
			runtime.GC()
			start := time.Now()
			must(e.Set(largeKey, entries))
			r.add(c, nameIpallow, figLoad, float64(time.Since(start)))

			changed := changedEntry(round)
			entries[round*7919%len(entries)] = ipallow.Entry{Prefix: changed}
			runtime.GC()
			start = time.Now()
			must(e.Set(largeKey, entries))
			r.add(c, nameIpallow, figMedian, float64(time.Since(start)))
			if e.Check(largeKey, changed.Addr()) != ipallow.Allowed {
				r.fail("%v: Check(%v) after the change is wrong", c, changed.Addr())
			}
		}
	}
	return nil
}

// changedEntry returns a network that no routing table has: routes are not longer than /48.
func changedEntry(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(i + 1)}), 128)
}
