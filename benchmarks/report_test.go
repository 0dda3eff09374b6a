package main

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStats(t *testing.T) {
	require.True(t, math.IsNaN(median(nil)))
	require.Equal(t, 2.0, median([]float64{3, 1, 2}))
	require.Equal(t, 2.5, median([]float64{4, 1, 2, 3}))
	require.Equal(t, 4.0, quantile([]float64{4, 1, 2, 3}, 1))
	require.InDelta(t, 9.9, quantile([]float64{0, 10}, 0.99), 1e-9)
	require.Zero(t, spread([]float64{5}))
	require.InDelta(t, 1.0/3, spread([]float64{5, 1, 4, 2, 3}), 1e-9, "half of 2 to 4, of 3")
	require.Equal(t, []float64{2, 3}, ratios([]float64{4, 9, 1}, []float64{2, 3}), "the rounds that both have")
}

func TestFormats(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{formatTime(4.567), "4.57 ns"},
		{formatTime(1234), "1.23 us"},
		{formatTime(98_765_432), "98.8 ms"},
		{formatTime(12e9), "12.0 s"},
		{formatBytes(4 << 30), "4.00 GiB"},
		{three(1204), "1200"},
		{three(0), "0"},
		{three(-3.14159), "-3.14"},
		{short(2e5), "200k"},
		{short(1e6), "1M"},
		{short(0.5), "0.5"},
		{withSpread(nil, three), "left out"},
		{withSpread([]float64{2}, three), "2.00"},
		{withSpread([]float64{2, 2, 2}, three), "2.00 ±0%"},
	} {
		require.Equal(t, tt.want, tt.got)
	}
}

// checkCell is a cell of Check for 1e6 keys.
func checkCell(result string) cell {
	return cell{Workload: wCheck, Keys: 1e6, Entries: 5, Family: "4", Result: result}
}

func TestGoalsTakeTheFastestPeerOfTheWorstCell(t *testing.T) {
	for _, tt := range []struct {
		arena float64 // of the miss cell; ours is 100
		mark  string
	}{
		{169, "**FAIL**"},
		{170, "PASS, aim not reached"},
		{250, "PASS, aim reached"},
	} {
		r := newResults()
		for range 3 {
			for _, result := range []string{"hit", "miss"} {
				r.add(checkCell(result), nameIpallow, figRun, 100)
				r.add(checkCell(result), nameLite, figRun, 900)
				r.add(checkCell(result), nameLoop, figRun, 1)
			}
			r.add(checkCell("hit"), nameArena, figRun, 800)
			r.add(checkCell("miss"), nameArena, figRun, tt.arena)
		}
		var found int
		for _, g := range goals(r) {
			w, ok := g.worst()
			if !ok {
				require.Equal(t, "not measured", g.mark())
				continue
			}
			found++
			require.Equal(t, "Check/keys=1000000/entries=5/family=4/result=miss ("+nameArena+")", w.where)
			require.Equal(t, tt.mark, g.mark(), g.what)
		}
		require.Equal(t, 1, found, "only the cells at hand count")
	}
}

// The floor is judged by the number of entries, and memory by the leanest peer.
func TestGoalsOfFloorAndMemory(t *testing.T) {
	r := newResults()
	for entries, ours := range map[int]float64{5: 195, 20: 305} {
		c := cell{Workload: wCheck, Keys: 1e6, Entries: entries, Family: "4", Result: "hit"}
		r.add(c, nameIpallow, figRun, ours)
		r.add(c, nameFloor, figRun, 100)
	}
	m := cell{Workload: wMemory, Keys: 1e6, Entries: 5}
	r.add(m, nameIpallow, figBytes, 97)
	r.add(m, nameLite, figBytes, 580)
	r.add(m, nameArena, figBytes, 130)
	marks := map[string]string{}
	for _, g := range goals(r) {
		marks[g.what] = g.mark()
	}
	require.Equal(t, "**FAIL**", marks["Check at 1e6 keys of 5 entries, back to back, against the floor"])
	require.Equal(t, "PASS, aim not reached", marks["Check at 1e6 keys of 20 entries, back to back, against the floor"])
	require.Equal(t, "**FAIL**", marks["resident bytes a key, 5 entries, 33-character key, against the leanest peer"])
}

func TestGoalsWhereLessIsBetter(t *testing.T) {
	r := newResults()
	c := cell{Workload: wSet, Keys: 1e6}
	r.add(c, nameIpallow, figMedian, 10.1e3)
	marks := map[string]string{}
	for _, g := range goals(r) {
		marks[g.what] = g.mark()
	}
	require.Equal(t, "**FAIL**", marks["Set at 1e6 keys, median"])
}

func TestLosses(t *testing.T) {
	r := newResults()
	for range 3 {
		r.add(checkCell("hit"), nameIpallow, figRun, 100)
		r.add(checkCell("hit"), nameLite, figRun, 50)
		r.add(checkCell("hit"), nameFast, figRun, 101)
		r.add(checkCell("hit"), nameFloor, figRun, 10)
		r.add(checkCell("miss"), nameIpallow, figRun, 100)
		r.add(checkCell("miss"), nameFast, figRun, 10)
	}
	ls := losses(r)
	require.Len(t, ls, 2, "the floor is no peer, and 101 is no loss")
	require.Equal(t, loss{checkCell("miss"), figRun, nameFast, 100, 10, 10}, ls[0], "the worst first")
	require.Equal(t, loss{checkCell("hit"), figRun, nameLite, 100, 50, 2}, ls[1])

	text := report(r, environment{command: "it"}, nil)
	require.Contains(t, text, "| `Check/keys=1000000/entries=5/family=4/result=miss` | back to back | map of *bart.Fast | 100 ns | 10.0 ns | 10.00 |")
	require.Contains(t, tables(r, environment{command: "it"}), "| left out |", "a peer that some cells lack")
}

func TestInsert(t *testing.T) {
	got, err := insert(newDocument, "\nnew\n\n")
	require.NoError(t, err)
	require.Equal(t, "# Performance\n\n"+beginMark+"\n\nnew\n\n"+endMark+"\n", got)
	again, err := insert(got, "new")
	require.NoError(t, err)
	require.Equal(t, got, again, "writing it again changes nothing")
	for _, doc := range []string{"", beginMark, endMark, endMark + beginMark} {
		_, err := insert(doc, "new")
		require.ErrorContains(t, err, "add a line", "%q", doc)
	}
}

// The project's own document has the marks, or make compare would end after an hour without
// writing anything.
func TestDocumentHasMarks(t *testing.T) {
	work, err := exec.Command("go", "env", "GOWORK").Output()
	require.NoError(t, err)
	docs := filepath.Join(filepath.Dir(strings.TrimSpace(string(work))), "docs")
	text, err := os.ReadFile(filepath.Join(docs, "performance.md"))
	require.NoError(t, err)
	_, err = insert(string(text), "new")
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(docs, tablesFile))
}

func TestEnvironmentHidesDirectories(t *testing.T) {
	e := newEnvironment([]string{"-out", "docs", "-bgp", "/home/me/table.gz", "-x=/home/me/y"}, 6)
	require.Equal(t, "go run ./benchmarks -out docs -bgp table.gz -x=y", e.command)
}

func TestSVG(t *testing.T) {
	c := chart{Title: "a < b", XLabel: "keys", YLabel: "ns", Series: []chartSeries{
		{Name: "one", Ours: true, Points: []point{{1e3, 10}, {1e6, 100}}},
		{Name: "two", Points: []point{{1e3, 10}, {1e6, 101}}},
		{Name: "alone", Dashed: true, Points: []point{{1e3, 10}}},
	}}
	s := c.svg()
	requireXML(t, s)
	for _, want := range []string{"a &lt; b", "keys (logarithmic)", "ns (logarithmic)", ">1k<", ">1M<", "prefers-color-scheme: dark"} {
		require.Contains(t, s, want)
	}
	require.Equal(t, 3, strings.Count(s, `class="name`), "each line has its name")
	require.NotContains(t, s, "NaN")

	_, ys := c.scales()
	at := c.nameHeights(ys)
	require.GreaterOrEqual(t, math.Abs(at[0]-at[1]), float64(nameHeight), "names do not cover each other")

	requireXML(t, chart{Series: []chartSeries{{Points: []point{{5, 5}}}}}.svg())
}
