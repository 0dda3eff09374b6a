// Command benchmarks measures ipallow beside other ways to hold the allowlists
// of many keys: the same lists, the same queries, the peers in turn.
//
//	go run ./benchmarks -out docs
//
// It writes a summary between two marks of DIR/performance.md, the figures of every cell
// to DIR/performance-tables.md and the charts to DIR/performance/, or summary and tables
// to standard output. It ends with 1 if a peer answers wrongly or Check allocates, whatever
// the times are.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var (
		quick  = fs.Bool("quick", false, "measure a few small cells once, for the sake of agreement and exact figures")
		cells  = fs.String("cells", "", "measure only the cells whose names match this `regexp`, such as Check/keys=1000/")
		count  = fs.Int("count", 6, "rounds")
		out    = fs.String("out", "", "write performance.md, performance-tables.md and performance/*.svg in this `directory`")
		bgp    = fs.String("bgp", "", "routing table for Large: a `file` with one prefix a line, gzipped or not (default: a generated one)")
		peer   = fs.Float64("peer-mem", 4, "`GiB` that one peer may hold; one that needs more is left out")
		allMem = fs.Float64("mem", 10, "`GiB` that all peers of a cell may hold together")
	)
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	match, err := regexp.Compile(*cells)
	if err == nil && (*count < 1 || fs.NArg() > 0) {
		err = errors.New("give a -count of at least 1 and no arguments but flags")
	}
	if err != nil {
		fmt.Fprintln(stderr, "compare:", err)
		return 2
	}
	opts := options{
		count: *count, minTime: 20 * time.Millisecond,
		peerMem: uint64(*peer * (1 << 30)), allMem: uint64(*allMem * (1 << 30)), bgp: *bgp,
		keys: []int{1e3, 1e5, 1e6}, prefixes: []int{1e3, 1e5, 1e6},
		entries: []int{5, 20}, families: []string{"4", "6", "mixed"},
		memoryKeys: []int{1e5, 1e6}, updateKeys: []int{1e6}, replaceKeys: []int{1e5, 1e6}, loadKeys: []int{1e6, 1e7}, alternation: time.Second,
	}
	if *quick {
		opts.count, opts.minTime, opts.alternation = 1, time.Millisecond, 100*time.Millisecond
		opts.keys, opts.prefixes, opts.entries = []int{1e3}, []int{1e3}, []int{5}
		opts.memoryKeys, opts.updateKeys, opts.replaceKeys = []int{1e5}, []int{1e3}, []int{1e3}
		opts.loadKeys = []int{1e4}
	}
	r := &runner{results: newResults(), opts: opts, cells: match, progress: stderr, start: time.Now()}
	if err := r.measure(); err != nil {
		fmt.Fprintln(stderr, "compare:", err)
		return 1
	}
	if len(r.all) == 0 {
		fmt.Fprintf(stderr, "compare: no cell matches %q; names look like Check/keys=1000/entries=5/family=4/result=hit\n", *cells)
		return 2
	}
	cs := charts(r.results)
	env := newEnvironment(args, opts.count)
	text, all := report(r.results, env, cs), tables(r.results, env)
	if len(r.failed) > 0 {
		// Figures of peers that disagree are worth nothing.
		fmt.Fprintf(stderr, "compare: %d checks failed; nothing is written\n", len(r.failed))
		for _, f := range r.failed {
			fmt.Fprintln(stderr, " ", f)
		}
		return 1
	}
	if *out == "" {
		fmt.Fprint(stdout, text, "\n", all)
		return 0
	}
	if err := write(*out, text, all, cs); err != nil {
		fmt.Fprintln(stderr, "compare:", err)
		return 1
	}
	r.say("done")
	return 0
}

// measure runs all workloads. Those whose figures include the collector's
// work have it as every program does; the others build their peers with it
// turned down.
func (r *runner) measure() error {
	r.engineMemory(r.opts.memoryKeys)
	r.memory(r.opts.keys)
	r.set(r.opts.keys)
	r.updates(r.opts.updateKeys, r.opts.alternation)
	r.replace(r.opts.replaceKeys)
	r.parallel(r.opts.keys)
	r.load(r.opts.loadKeys)

	defer debug.SetGCPercent(debug.SetGCPercent(300))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(int64(r.opts.allMem + 4<<30)))
	if err := r.longChange(r.opts.prefixes); err != nil {
		return err
	}
	if err := r.large(r.opts.prefixes); err != nil {
		return err
	}
	r.check(r.opts.keys)
	return nil
}

func write(dir, text, tables string, cs []chart) error {
	name := filepath.Join(dir, "performance.md")
	doc, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		doc, err = []byte(newDocument), nil
	}
	if err != nil {
		return err
	}
	next, err := insert(string(doc), text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	pictures := filepath.Join(dir, "performance")
	if err := os.MkdirAll(pictures, 0o777); err != nil {
		return err
	}
	for _, c := range cs {
		if err := os.WriteFile(filepath.Join(pictures, c.File), []byte(c.svg()), 0o666); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, tablesFile), []byte(tables), 0o666); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(next), 0o666)
}
