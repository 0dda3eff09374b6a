package main

import (
	"fmt"
	"strings"
)

// tablesFile has the figures of every cell; performance.md has what they come to.
const tablesFile = "performance-tables.md"

// report is the generated part of performance.md, in Markdown.
func report(r *results, env environment, charts []chart) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }

	p("Written by `%s` on %s, %d processors, %s. ", env.command, env.cpu, env.procs, env.goVersion)
	p("Each figure is the median of %d round%s; the peers take turns in each round. ", env.count, plural(env.count))
	p("Ratios are medians of the ratios of the rounds. ")
	p("The figures of every cell are in [%s](%s).\n\n", tablesFile, tablesFile)
	p("Check is timed in two ways. Back to back, as in a Go benchmark, the processor starts a query ")
	p("before the previous one has finished, so that cache misses overlap. One at a time, a query ")
	p("starts after the previous answer: that is the latency of a single request. The clock is read ")
	p("between two such queries, which the processor does only after everything before it; the cost of ")
	p("that loop (%s) is subtracted. All peers' verdicts are compared with the generator's ", loopTime(r))
	p("before anything is timed.\n\n")
	for _, n := range r.notes {
		p("- %s\n", n)
	}

	p("\n### Goals\n\n")
	p("| figure | must | aim | reached in the worst cell | worst cell | |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, g := range goals(r) {
		w, ok := g.worst()
		value, where := "", ""
		if ok {
			value, where = g.format(w.value), "`"+w.where+"`"
		}
		p("| %s | %s | %s | %s | %s | %s |\n", g.what, g.format(g.must), g.format(g.aim), value, where, g.mark())
	}
	p("\nThe overhead of the middleware is measured by the benchmarks of httpallow.\n")

	p("\n### Where we lose\n\n")
	if ls := losses(r); len(ls) == 0 {
		p("In no cell that was measured.\n")
	} else {
		p("Every cell in which a peer is better, worst first.\n\n")
		p("| cell | figure | peer | ipallow | peer | times |\n| --- | --- | --- | --- | --- | --- |\n")
		for _, l := range ls {
			f := formatOf(l.figure)
			p("| `%v` | %s | %s | %s | %s | %.2f |\n", l.cell, l.figure, l.peer, f(l.ours), f(l.hers), l.ratio)
		}
	}

	for _, c := range charts {
		p("\n![%s](performance/%s)\n", c.Title, c.File)
	}
	return b.String()
}

// tables is a document with the figures of every cell.
func tables(r *results, env environment) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }

	p("# Figures of every cell\n\nWritten by `%s` on %s, %d processors, %s: ", env.command, env.cpu, env.procs, env.goVersion)
	p("medians of %d round%s, each followed by half the distance between its quartiles. ", env.count, plural(env.count))
	p("[performance.md](performance.md) has what they come to.\n")
	table := func(title, workload string, f figure) {
		cells := r.cells(workload, f)
		if len(cells) == 0 {
			return
		}
		var peers []string
		for _, n := range r.peers(workload, f) {
			if n != nameLoop {
				peers = append(peers, n)
			}
		}
		p("\n## %s\n\n| cell |", title)
		for _, n := range peers {
			p(" %s |", n)
		}
		p("\n| --- |%s\n", strings.Repeat(" ---: |", len(peers)))
		for _, c := range cells {
			p("| `%v` |", c)
			for _, n := range peers {
				p(" %s |", withSpread(r.get(c, n, f), formatOf(f)))
			}
			p("\n")
		}
	}
	table("Check, back to back: time a query", wCheck, figRun)
	table("Check, one at a time: time a query", wCheck, figChain)
	table("One large list, back to back: time a query", wLarge, figRun)
	table("One large list, one at a time: time a query", wLarge, figChain)
	table("Check of keys of 300 bytes, back to back: time a query", wLongKeys, figRun)
	table("Check of keys of 300 bytes, one at a time: time a query", wLongKeys, figChain)
	table("Memory: resident bytes a key", wMemory, figBytes)
	table("Memory: resident bytes in all", wMemory, figTotal)
	table("Memory: time of one collection", wMemory, figGC)
	table("Set: median time", wSet, figMedian)
	table("Set: p99 of the time", wSet, figP99)
	table("Set: bytes allocated", wSet, figAlloc)
	table("A reader beside updates: p50 of a Check, with two readings of the clock", wUpdates, figMedian)
	table("A reader beside updates: p99", wUpdates, figP99)
	table("A reader beside updates: p99.9", wUpdates, figP999)
	for _, c := range r.cells(wUpdates, figRate) {
		p("\nSets made a second: %.0f.\n", median(r.get(c, nameUpdates, figRate)))
	}
	table("Load: the most memory meanwhile, of what stays", wLoad, figPeak)
	table("Load: bytes allocated by each of the first 20,000 Sets", wLoad, figAlloc)
	table("LongChange: one entry of a long list changed", wLongChange, figMedian)
	table("LongChange: the first Set of that list", wLongChange, figLoad)
	table("Replace: time until everything is loaded", wReplace, figLoad)
	table("Parallel: queries a second", wPar, figRate)
	return b.String()
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func loopTime(r *results) string {
	var v []float64
	for _, s := range r.all {
		if s.peer == nameLoop && s.figure == figChain {
			v = append(v, s.values...)
		}
	}
	return formatTime(median(v))
}

const (
	beginMark = "<!-- compare:begin -->"
	endMark   = "<!-- compare:end -->"
)

// newDocument is what the report is put into where there is no document.
const newDocument = "# Performance\n\n" + beginMark + "\n" + endMark + "\n"

// insert puts the report between the marks of a document.
func insert(doc, report string) (string, error) {
	before, rest, ok := strings.Cut(doc, beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return "", fmt.Errorf("the document has no place for the report; add a line %s and after it a line %s", beginMark, endMark)
	}
	return before + beginMark + "\n\n" + strings.TrimSpace(report) + "\n\n" + endMark + after, nil
}
