package main

import (
	"net/netip"
	"runtime"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/benchmarks/internal/workload"
)

const (
	nameEntries = "ipallow, parsed entries"
	nameTexts   = "ipallow, texts"
)

// replace measures how long it takes until everything is loaded.
func (r *runner) replace(keyCounts []int) {
	for _, keys := range keyCounts {
		c := cell{Workload: wReplace, Keys: keys, Entries: 5}
		if !r.wanted(c) {
			continue
		}
		r.say("%v: making the workload", c)
		w := workload.Shape{Keys: keys, Entries: c.Entries, Family: "mixed", Result: "mixed", Queries: 1024, Seed: 1}.New()
		texts := textsOf(w.Lists)
		policy := openPolicy()
		loads := []struct {
			name string
			load func() func(string, netip.Addr) verdict
		}{
			{nameEntries, func() func(string, netip.Addr) verdict {
				p := new(enginePeer)
				p.Load(w.Keys, w.Lists)
				return p.Check
			}},
			{nameTexts, func() func(string, netip.Addr) verdict {
				p := &enginePeer{newEngine()}
				must(p.e.ReplaceFunc(func(add func(string, []ipallow.Entry)) error {
					for i, k := range w.Keys {
						entries, err := policy.ParseList(texts[i])
						if err != nil {
							return err
						}
						add(k, entries)
					}
					return nil
				}))
				return p.Check
			}},
			{nameLite, func() func(string, netip.Addr) verdict {
				p := new(litePeer)
				p.Load(w.Keys, w.Lists)
				return p.Check
			}},
		}
		r.say("%v: measuring", c)
		for round := range r.opts.count {
			for i := range loads {
				l := loads[(i+round)%len(loads)]
				runtime.GC()
				t := time.Now()
				check := l.load()
				r.add(c, l.name, figLoad, float64(time.Since(t)))
				for _, q := range w.Queries {
					if got := check(q.Key, q.Addr); got != toVerdict(q.Hit) {
						r.fail("%v: %s: Check(%q, netip.MustParseAddr(%q)) = %d", c, l.name, q.Key, q.Addr.String(), got)
						return
					}
				}
			}
		}
	}
}

func textsOf(lists [][]netip.Prefix) [][]string {
	texts := make([][]string, len(lists))
	for i, l := range lists {
		texts[i] = make([]string, len(l))
		for j, p := range l {
			texts[i][j] = p.String()
		}
	}
	return texts
}
