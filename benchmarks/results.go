package main

import (
	"fmt"
	"slices"
)

// A cell is one combination of a workload's parameters. Those that a
// workload does not have are zero.
type cell struct {
	Workload string
	Keys     int
	KeyBytes int // of a key, where they are not 33
	Prefixes int
	Entries  int
	Family   string
	Result   string
}

// String returns the name of the cell as of a benchmark.
func (c cell) String() string {
	s := c.Workload
	if c.Keys > 0 {
		s += fmt.Sprintf("/keys=%d", c.Keys)
	}
	if c.KeyBytes > 0 {
		s += fmt.Sprintf("/bytes=%d", c.KeyBytes)
	}
	if c.Prefixes > 0 {
		s += fmt.Sprintf("/prefixes=%d", c.Prefixes)
	}
	if c.Entries > 0 {
		s += fmt.Sprintf("/entries=%d", c.Entries)
	}
	if c.Family != "" {
		s += "/family=" + c.Family
	}
	if c.Result != "" {
		s += "/result=" + c.Result
	}
	return s
}

// A figure is what was measured of a peer in a cell.
type figure string

const (
	figRun    figure = "back to back"  // ns a query
	figChain  figure = "one at a time" // ns a query
	figBytes  figure = "bytes a key"
	figTotal  figure = "bytes"
	figGC     figure = "GC"     // ns
	figLoad   figure = "load"   // ns
	figMedian figure = "median" // ns
	figP99    figure = "p99"    // ns
	figP999   figure = "p99.9"  // ns
	figAlloc  figure = "bytes allocated"
	figRate   figure = "calls a second"
	figAllocs figure = "allocations"
	figPeak   figure = "peak" // of what stays
)

type series struct {
	cell   cell
	peer   string
	figure figure
	values []float64 // one for each round, in the order of the rounds
}

// results is everything that a run has measured, in order.
type results struct {
	all   []*series
	index map[seriesKey]*series
	notes []string
}

type seriesKey struct {
	cell   cell
	peer   string
	figure figure
}

func newResults() *results { return &results{index: map[seriesKey]*series{}} }

func (r *results) add(c cell, peer string, f figure, value float64) {
	k := seriesKey{c, peer, f}
	s := r.index[k]
	if s == nil {
		s = &series{cell: c, peer: peer, figure: f}
		r.index[k] = s
		r.all = append(r.all, s)
	}
	s.values = append(s.values, value)
}

// get returns the values of a series, nil if there is none.
func (r *results) get(c cell, peer string, f figure) []float64 {
	if s := r.index[seriesKey{c, peer, f}]; s != nil {
		return s.values
	}
	return nil
}

// note keeps a sentence for the report, once.
func (r *results) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.notes, s) {
		r.notes = append(r.notes, s)
	}
}

// cells returns the cells of a workload in which the figure was measured.
func (r *results) cells(workload string, f figure) []cell {
	var cells []cell
	for _, s := range r.all {
		if s.cell.Workload == workload && s.figure == f && !slices.Contains(cells, s.cell) {
			cells = append(cells, s.cell)
		}
	}
	return cells
}

// peers returns the peers of a workload of which the figure was measured.
func (r *results) peers(workload string, f figure) []string {
	var peers []string
	for _, s := range r.all {
		if s.cell.Workload == workload && s.figure == f && !slices.Contains(peers, s.peer) {
			peers = append(peers, s.peer)
		}
	}
	return peers
}
