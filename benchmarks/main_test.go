package main

import (
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The quick run asserts that all peers agree and that Check allocates
// nothing; its times are nobody's claim.
func TestQuickRun(t *testing.T) {
	dir := t.TempDir()
	doc := filepath.Join(dir, "performance.md")
	require.NoError(t, os.WriteFile(doc, []byte("# Ours\n\nbefore\n"+beginMark+"\nold\n"+endMark+"\nafter\n"), 0o666))

	var stdout, stderr strings.Builder
	require.Zero(t, run([]string{"-quick", "-out", dir}, &stdout, &stderr), "%s", &stderr)
	require.Empty(t, stdout.String())

	b, err := os.ReadFile(doc)
	require.NoError(t, err)
	text := string(b)
	require.True(t, strings.HasPrefix(text, "# Ours\n\nbefore\n"+beginMark), "what stands before the mark stays")
	require.True(t, strings.HasSuffix(text, endMark+"\nafter\n"), "and what stands behind it")
	require.NotContains(t, text, "\nold\n")
	b, err = os.ReadFile(filepath.Join(dir, tablesFile))
	require.NoError(t, err)
	all := string(b)
	require.NotContains(t, text+all, dir, "a directory of the machine is no part of the report")
	for _, k := range peerKinds {
		require.Contains(t, all, " "+k.name+" |")
	}
	for _, w := range []string{wCheck, wLarge, wSet, wUpdates, wReplace, wMemory, wPar, wLongChange, wLongKeys, wLoad} {
		require.Contains(t, all, "| `"+w+"/", "a cell of every workload")
	}
	require.Contains(t, text, "("+tablesFile+")")

	pictures, err := filepath.Glob(filepath.Join(dir, "performance", "*.svg"))
	require.NoError(t, err)
	require.Len(t, pictures, 6)
	for _, p := range pictures {
		b, err := os.ReadFile(p)
		require.NoError(t, err)
		requireXML(t, string(b))
		require.Contains(t, text, "(performance/"+filepath.Base(p)+")", "the document shows every picture")
	}
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		why  string
		says string
	}{
		{[]string{"-h"}, 0, "help was asked for", "-cells"},
		{[]string{"-cells", "("}, 2, "no regular expression", "missing closing )"},
		{[]string{"-count", "0"}, 2, "no round is no measurement", "-count of at least 1"},
		{[]string{"Check"}, 2, "an argument that is no flag", "no arguments but flags"},
		{[]string{"-quick", "-cells", "Chekc"}, 2, "no cell has the name", "no cell matches"},
		{[]string{"-quick", "-cells", "Large", "-bgp", "testdata/none.txt"}, 1, "no such file", "none.txt"},
	} {
		var stdout, stderr strings.Builder
		require.Equal(t, tt.code, run(tt.args, &stdout, &stderr), "%v: %s", tt.args, tt.why)
		require.Contains(t, stderr.String(), tt.says, "%v: %s", tt.args, tt.why)
		require.Empty(t, stdout.String(), "%v: %s", tt.args, tt.why)
	}
}

func TestRoutesFromFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "table.txt")
	require.NoError(t, os.WriteFile(name, []byte("# comment\n\n192.0.2.0/24\n192.0.2.0/24\n2001:db8::/32\n"), 0o666))
	list, err := readRoutes(name)
	require.NoError(t, err)
	require.Len(t, list, 2, "comments and repetitions are no prefixes")

	require.NoError(t, os.WriteFile(name, []byte("192.0.2.0\n"), 0o666))
	_, err = readRoutes(name)
	require.ErrorContains(t, err, "table.txt:1: ")
}

func TestGeneratedRoutesHaveTheLengthsOfATable(t *testing.T) {
	list := generatedRoutes(50_000)
	four, slash24 := 0, 0
	for _, p := range list {
		require.Equal(t, p.Masked(), p)
		if p.Addr().Is4() {
			four++
			if p.Bits() == 24 {
				slash24++
			}
		}
	}
	n := float64(len(list))
	require.InDelta(t, 0.849, float64(four)/n, 0.01)
	require.InDelta(t, 0.506, float64(slash24)/n, 0.01)
	slices.SortFunc(list, func(a, b netip.Prefix) int { return a.Compare(b) })
	require.Len(t, slices.Compact(list), int(n), "all are different")
}

// A peer that answers wrongly must be found, or agreement says nothing.
func TestAgreeFindsAWrongPeer(t *testing.T) {
	group := cell{Workload: wCheck, Keys: 100, Entries: 5, Family: "mixed"}
	w := shapeOf(group, 3*queries).New()
	qs := split(w.Queries)
	check := func(p Peer) []string {
		r := &runner{results: newResults(), progress: io.Discard}
		r.agree(group, []contender{{"it", p}}, qs)
		return r.failed
	}
	right := new(slicePeer)
	right.Load(w.Keys, w.Lists)
	require.Empty(t, check(right))

	short := new(slicePeer)
	short.Load(w.Keys, w.Lists)
	short.m[w.Keys[7]] = short.m[w.Keys[7]][1:]
	require.NotEmpty(t, check(short), "one entry of one key is missing")

	few := new(slicePeer)
	few.Load(w.Keys[1:], w.Lists[1:])
	require.NotEmpty(t, check(few), "one key is missing")
	require.NotEmpty(t, check(loopPeer{}), "all is denied")
}

// Both loops of a peer must make all the queries they are timed for.
func TestLoopsMakeAllQueries(t *testing.T) {
	group := cell{Workload: wCheck, Keys: 100, Entries: 5, Family: "mixed"}
	w := shapeOf(group, 3*queries).New()
	for _, k := range peerKinds {
		p := k.make()
		p.Load(w.Keys, w.Lists)
		for o, qs := range split(w.Queries) {
			want := uint64(0)
			for _, q := range qs {
				want += uint64(toVerdict(q.Hit))
			}
			require.Equal(t, want, p.Run(qs), "%s, %s, Run", k.name, o)
			require.Equal(t, want, p.Chain(qs), "%s, %s, Chain", k.name, o)
		}
	}
}

func requireXML(t *testing.T, s string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(s))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			require.NoError(t, err, "%s", s)
		}
	}
}

// Keys with equal hashes are one chain of numbers, in which each is found.
func TestArenasWithEqualHashes(t *testing.T) {
	group := cell{Workload: wCheck, Keys: 20, Entries: 40, Family: "mixed"}
	w := shapeOf(group, 2000).New()
	p := &arenaPeer{hash: func(key string) uint64 { return uint64(len(key)) }}
	p.Load(w.Keys, w.Lists)
	require.Len(t, p.m, 20)
	for _, q := range w.Queries {
		require.Equal(t, toVerdict(q.Hit), p.Check(q.Key, q.Addr), "%q, %v", q.Key, q.Addr)
	}
	require.Equal(t, unrestricted, p.Check("x", w.Queries[0].Addr))
	require.Equal(t, unrestricted, p.Check("?"+w.Keys[0][1:], w.Queries[0].Addr))
}
