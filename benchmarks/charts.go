package main

// colours gives a peer the same colour in every chart, ours the first and
// limits the last.
var colours = map[string]int{
	nameIpallow: 0, nameLite: 1, nameFast: 2, nameSlice: 3, nameIPSet: 4, nameCidranger: 5, nameFloor: 6,
	nameFlat: 7, nameArena: 8,
	nameBareLite: 1, nameBareFast: 2, nameContains: 3, nameEmpty: 6, nameClone: 1, namePersistent: 2,
}

// charts draws the figures over the number of keys, for lists of 5 entries.
func charts(r *results) []chart {
	var cs []chart
	add := func(file, title, yLabel string, unit float64, workload string, f figure, match func(cell) bool, floor ...string) {
		c := chart{File: file, Title: title, XLabel: "keys", YLabel: yLabel}
		if workload == wLarge {
			c.XLabel = "prefixes in the list"
		}
		for _, p := range r.peers(workload, f) {
			s := chartSeries{Name: p, Ours: p == nameIpallow, Colour: colours[p]}
			for _, n := range floor {
				s.Dashed = s.Dashed || n == p
			}
			for _, x := range r.cells(workload, f) {
				if v := r.get(x, p, f); match(x) && len(v) > 0 {
					s.Points = append(s.Points, point{float64(x.Keys + x.Prefixes), median(v) / unit})
				}
			}
			if p != nameLoop && len(s.Points) > 0 {
				c.Series = append(c.Series, s)
			}
		}
		if len(c.Series) > 0 {
			cs = append(cs, c)
		}
	}
	typical := func(c cell) bool { return c.Entries == 5 && c.Family == "mixed" && c.Result == "mixed" }
	five := func(c cell) bool { return c.Entries == 5 && c.Family == "" }
	every := func(cell) bool { return true }
	add("check.svg", "Check, back to back (5 entries a key)", "ns a query", 1, wCheck, figRun, typical, nameFloor)
	add("check-latency.svg", "Check, one at a time (5 entries a key)", "ns a query", 1, wCheck, figChain, typical, nameFloor)
	add("large.svg", "One large list, back to back", "ns a query", 1, wLarge, figRun, every)
	add("memory.svg", "Memory (5 entries a key)", "resident bytes a key", 1, wMemory, figBytes, five)
	add("gc.svg", "One garbage collection (5 entries a key)", "ms", 1e6, wMemory, figGC, five, nameEmpty)
	add("set.svg", "Change of one key, median", "us", 1e3, wSet, figMedian, every)
	return cs
}
