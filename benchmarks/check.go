package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

const (
	wCheck   = "Check"
	wLarge   = "Large"
	wSet     = "Set"
	wUpdates = "CheckDuringUpdates"
	wReplace = "Replace"
	wMemory  = "Memory"
	wPar     = "Parallel"

	wLongChange = "LongChange"
	wLoad       = "Load"
	wLongKeys   = "LongKeys"
)

var outcomes = []string{"hit", "miss", "mixed"}

// queries is how many a pass makes. It is a power of two for Peer.Chain.
const queries = 1 << 16

// check measures Check. The cells that differ only in the outcome share
// their keys and lists, and so one load of each peer.
func (r *runner) check(keyCounts []int) {
	for _, keys := range keyCounts {
		for _, entries := range r.opts.entries {
			for _, family := range r.opts.families {
				r.checkGroup(cell{Workload: wCheck, Keys: keys, Entries: entries, Family: family})
			}
		}
	}
	// Keys such as signed tokens, which a peer compares and stores whole.
	r.checkGroup(cell{Workload: wLongKeys, Keys: keyCounts[len(keyCounts)-1], KeyBytes: 300, Entries: 5, Family: "4"})
}

func (r *runner) checkGroup(group cell) {
	var cells []cell
	for _, o := range outcomes {
		c := group
		c.Result = o
		if r.wanted(c) {
			cells = append(cells, c)
		}
	}
	if len(cells) == 0 {
		return
	}
	kinds := r.affordable(group)
	r.say("%v: making the workload", group)
	w := shapeOf(group, 3*queries).New()
	qs := split(w.Queries)

	r.say("%v: loading ipallow", group)
	peers := make([]contender, len(kinds))
	for i, k := range kinds {
		peers[i] = contender{k.name, k.make()}
	}
	before := heap()
	peers[0].Load(w.Keys, w.Lists)
	resident := int(heap() - before)
	r.add(group, nameIpallow, figTotal, float64(resident))
	// Two at a time: nothing is timed here, and the last ones of the list take
	// as long as all others.
	var wg sync.WaitGroup
	turn := make(chan struct{}, 2)
	for _, p := range slices.Backward(peers[1:]) {
		turn <- struct{}{}
		r.say("%v: loading %s", group, p.name)
		wg.Go(func() {
			p.Load(w.Keys, w.Lists)
			<-turn
		})
	}
	wg.Wait()
	w.Lists, w.Keys = nil, nil
	r.agree(group, peers, qs)
	r.noAllocs(group, peers[0], qs["mixed"])
	runtime.GC()
	peers = append(peers, contender{nameFloor, newFloor(resident)})
	for _, c := range cells {
		r.say("%v: measuring", c)
		r.duel(c, peers, qs[c.Result])
	}
}

func shapeOf(c cell, n int) workload.Shape {
	return workload.Shape{Keys: c.Keys, Entries: c.Entries, Family: c.Family, Result: "mixed", Queries: n, Seed: 1, KeyBytes: c.KeyBytes}
}

// split takes queries of each outcome out of mixed ones. Their keys stand
// side by side, so that reading the queries costs next to nothing.
func split(all []workload.Query) map[string][]workload.Query {
	take := func(want func(workload.Query) bool) []workload.Query {
		qs := make([]workload.Query, 0, queries)
		var text strings.Builder
		for _, q := range all {
			if len(qs) < queries && want(q) {
				qs = append(qs, q)
				text.WriteString(q.Key)
			}
		}
		if len(qs) < queries {
			panic(fmt.Sprintf("%d queries of one outcome are too few", len(qs)))
		}
		keys := text.String()
		for i := range qs {
			n := len(qs[i].Key)
			qs[i].Key, keys = keys[:n], keys[n:]
		}
		return qs
	}
	return map[string][]workload.Query{
		"hit":   take(func(q workload.Query) bool { return q.Hit }),
		"miss":  take(func(q workload.Query) bool { return !q.Hit }),
		"mixed": take(func(workload.Query) bool { return true }),
	}
}

// agree asserts that all peers answer as the generator says, also for keys
// that nobody has a list for.
func (r *runner) agree(group cell, peers []contender, sets map[string][]workload.Query) {
	for _, p := range peers {
		var seen [3]int
		wrong := 0
		look := func(key string, addr netip.Addr, want verdict) {
			got := p.Check(key, addr)
			if got > unrestricted {
				got = denied
			}
			seen[got]++
			if got != want {
				if wrong++; wrong == 1 {
					r.fail("%v: %s: Check(%q, netip.MustParseAddr(%q)) = %d, want %d", group, p.name, key, addr.String(), got, want)
				}
			}
		}
		for _, o := range outcomes {
			for i, q := range sets[o] {
				look(q.Key, q.Addr, toVerdict(q.Hit))
				if i%64 == 0 {
					look("?"+q.Key[1:], q.Addr, unrestricted)
				}
			}
		}
		if wrong == 0 && (seen[denied] == 0 || seen[allowed] == 0 || seen[unrestricted] == 0) {
			r.fail("%v: %s: the queries do not have all verdicts: %v", group, p.name, seen)
		}
		if wrong > 1 {
			r.fail("%v: %s: %d answers are wrong", group, p.name, wrong)
		}
	}
}

// noAllocs asserts that Check of the engine allocates nothing.
func (r *runner) noAllocs(group cell, engine contender, qs []workload.Query) {
	n := mallocs(func() { engine.Run(qs) })
	r.add(group, nameIpallow, figAllocs, float64(n)/float64(len(qs)))
	if n > 0 {
		r.fail("%v: %d queries made %d allocations, want 0", group, len(qs), n)
	}
}

// affordable returns the peers that may hold the lists of a cell. What one
// needs is told from a thousand keys.
func (r *runner) affordable(group cell) []peerKind {
	var kinds []peerKind
	var sum uint64
	for _, k := range peerKinds {
		if k.name == nameIpallow || group.Keys <= 1e4 {
			kinds = append(kinds, k)
			continue
		}
		if k.maxKeys > 0 && group.Keys > k.maxKeys {
			r.note("%s is measured up to %d keys only: building it takes too long.", k.name, k.maxKeys)
			continue
		}
		need := r.estimate(k, group)
		switch {
		case need > r.opts.peerMem:
			r.note("%s is left out at %d keys of %d entries: it would hold %s, and the limit for a peer is %s.",
				k.name, group.Keys, group.Entries, formatBytes(float64(need)), formatBytes(float64(r.opts.peerMem)))
		case sum+need > r.opts.allMem:
			r.note("%s is left out at %d keys of %d entries: all peers together would hold over %s.",
				k.name, group.Keys, group.Entries, formatBytes(float64(r.opts.allMem)))
		default:
			sum += need
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// estimate returns how many bytes the peer would hold for the cell.
func (r *runner) estimate(k peerKind, c cell) uint64 {
	const sample = 1000
	keys := uint64(c.Keys)
	c.Keys = sample
	w := shapeOf(c, 1).New()
	p := k.make()
	before := heap()
	p.Load(w.Keys, w.Lists)
	after := heap()
	runtime.KeepAlive(p)
	runtime.KeepAlive(w)
	return (max(after, before) - before) * keys / sample
}
