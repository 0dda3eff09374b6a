package main

import (
	"maps"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/benbjohnson/immutable"
	"github.com/gaissmai/bart"
	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

const (
	nameClone      = "copied map of *bart.Lite"
	namePersistent = "immutable.Map of *bart.Lite"
)

// A setter is a peer that can be changed while others read: each Set leaves
// what a reader has as it was.
type setter interface {
	Set(key string, list []netip.Prefix)
	Check(key string, addr netip.Addr) verdict
}

type engineSetter struct {
	enginePeer
	entries []ipallow.Entry
}

func (s *engineSetter) Set(key string, list []netip.Prefix) {
	s.entries = appendEntries(s.entries[:0], list)
	must(s.e.Set(key, s.entries))
}

// cloneSetter copies the whole map for each change.
type cloneSetter struct {
	m atomic.Pointer[map[string]*bart.Lite]
}

func newCloneSetter(m map[string]*bart.Lite) *cloneSetter {
	s := new(cloneSetter)
	s.m.Store(&m)
	return s
}

func (s *cloneSetter) Set(key string, list []netip.Prefix) {
	m := maps.Clone(*s.m.Load())
	m[key] = newLite(list)
	s.m.Store(&m)
}

func (s *cloneSetter) Check(key string, addr netip.Addr) verdict {
	t, ok := (*s.m.Load())[key]
	if !ok {
		return unrestricted
	}
	return toVerdict(t.Contains(addr))
}

// persistentSetter keeps the tables in a hash array mapped trie.
type persistentSetter struct {
	m atomic.Pointer[immutable.Map[string, *bart.Lite]]
}

func newPersistentSetter(m map[string]*bart.Lite) *persistentSetter {
	b := immutable.NewMapBuilder[string, *bart.Lite](nil)
	for k, t := range m {
		b.Set(k, t)
	}
	s := new(persistentSetter)
	s.m.Store(b.Map())
	return s
}

func (s *persistentSetter) Set(key string, list []netip.Prefix) {
	s.m.Store(s.m.Load().Set(key, newLite(list)))
}

func (s *persistentSetter) Check(key string, addr netip.Addr) verdict {
	t, ok := s.m.Load().Get(key)
	if !ok {
		return unrestricted
	}
	return toVerdict(t.Contains(addr))
}

// set measures the change of one key.
func (r *runner) set(keyCounts []int) {
	for _, keys := range keyCounts {
		c := cell{Workload: wSet, Keys: keys}
		if !r.wanted(c) {
			continue
		}
		r.say("%v: loading", c)
		shape := workload.Shape{Keys: keys, Entries: 5, Family: "mixed", Result: "mixed", Seed: 1}
		w := shape.New()
		var engine engineSetter
		engine.Load(w.Keys, w.Lists)
		// The other two have the same tables, which nobody changes.
		var lite litePeer
		lite.Load(w.Keys, w.Lists)
		w.Lists = nil
		setters := []struct {
			name string
			setter
			most int // changes a round
		}{
			{nameIpallow, &engine, 1000},
			{nameClone, newCloneSetter(lite.m), 1000},
			{namePersistent, newPersistentSetter(lite.m), 1000},
		}
		// Keys are changed to the lists of other keys, which are distinct and
		// ready, so that only the change is measured.
		shape.Seed++
		shape.Keys = min(keys, 10_000)
		other := shape.New()
		r.say("%v: measuring", c)
		for round := range r.opts.count {
			for i := range setters {
				s := setters[(i+round)%len(setters)]
				r.setRound(c, s.name, s.setter, w.Keys, other.Lists, round*s.most, s.most)
			}
		}
		// The peers went through different numbers of changes; now all make the
		// same ones and must agree.
		for i := range min(keys, 50) {
			list := other.Lists[i]
			in, out := list[0].Addr(), other.Queries[i].Addr
			want := toVerdict(containsAny(list, out))
			for _, s := range setters {
				s.Set(w.Keys[i], list)
				if s.Check(w.Keys[i], in) != allowed || s.Check(w.Keys[i], out) != want {
					r.fail("%v: %s: Check(%q) after Set(%v) is wrong", c, s.name, w.Keys[i], list)
				}
			}
		}
	}
}

// setRound makes changes for half a second, or as many as most.
func (r *runner) setRound(c cell, name string, s setter, keys []string, lists [][]netip.Prefix, from, most int) {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var took []float64
	for start := time.Now(); len(took) < most && (len(took) < 3 || time.Since(start) < 500*time.Millisecond); {
		// A stride that shares no factor with the number of keys goes over all.
		n := from + len(took)
		key, list := keys[n*7919%len(keys)], lists[n%len(lists)]
		t := time.Now()
		s.Set(key, list)
		took = append(took, float64(time.Since(t)))
	}
	runtime.ReadMemStats(&after)
	r.add(c, name, figMedian, median(took))
	r.add(c, name, figP99, quantile(took, 0.99))
	r.add(c, name, figAlloc, float64(after.TotalAlloc-before.TotalAlloc)/float64(len(took)))
}
