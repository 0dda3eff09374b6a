package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/workload"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func init() { commands = append(commands, newBenchCommand) }

func newBenchCommand() *cobra.Command {
	var keys []int
	var entries, rounds int
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "A short measurement on this machine",
		Long: `A short measurement on this machine.

For each number of keys: what a Check takes, against a map of slices of
netip.Prefix in the same run, in turns; a CheckBatch of 64; the memory a key
takes; a Set; and a Replace of everything. Keys have 33 characters, IPv4 and IPv6
entries are mixed four to one, and half of the addresses are in the list.

The figures are medians of a few rounds on a machine that may be busy: they are
rough, and only those of one run can be compared.`,
		Example: `  ipallow bench
  ipallow bench --keys 1000000 --entries 20`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().IntSliceVar(&keys, "keys", []int{1_000, 100_000}, "`numbers` of keys")
	cmd.Flags().IntVar(&entries, "entries", 5, "`number` of entries of each key")
	cmd.Flags().IntVar(&rounds, "rounds", 6, "`number` of rounds")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, n := range keys {
			if n < 1 || n > 10_000_000 {
				return usage(errors.New("--keys must be from 1 to 10000000"))
			}
		}
		if entries < 1 || entries > 1000 || rounds < 1 {
			return usage(errors.New("--entries must be from 1 to 1000, and --rounds at least 1"))
		}
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "%s, %d processors, %s/%s, %s, %d entries a key, medians of %d rounds\n\n",
			cpu(), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH, runtime.Version(), entries, rounds)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "keys\tCheck\tmap\tratio\tin batches\ta second\tbytes a key\tSet\tReplace\t")
		for _, n := range keys {
			note(cmd.ErrOrStderr(), fmt.Sprintf("measuring %d keys ...", n))
			m, err := measure(n, entries, rounds)
			if err != nil {
				return err
			}
			fmt.Fprintf(t, "%d\t%.0f ns\t%.0f ns\t%.2f\t%.0f ns\t%.1f million\t%.0f\t%.1f us\t%v\t\n", n, m.check, m.plain,
				m.check/m.plain, m.batch, 1e3/m.check, m.bytes, m.set/1e3, m.replace.Round(time.Millisecond))
		}
		note(cmd.ErrOrStderr(), "")
		return t.Flush()
	}
	return cmd
}

// note shows a line of progress on a terminal, in place of the one before.
func note(w io.Writer, text string) {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(f, "\r\x1b[K%s", text)
	}
}

// A measurement is in nanoseconds but for bytes and replace.
type measurement struct {
	check, plain, batch, set, bytes float64
	replace                         time.Duration
}

func measure(n, entries, rounds int) (m measurement, err error) {
	w := workload.Shape{Keys: n, Entries: entries, Family: "mixed", Result: "mixed", Seed: 1}.New()
	lists := make(map[string][]netip.Prefix, n)
	for i, k := range w.Keys {
		lists[k] = w.Lists[i]
	}
	policy := ipallow.Policy{MaxEntries: entries, MinBits4: 0, MinBits6: 0, AllowNonPublic: true}
	engine := ipallow.New(&ipallow.Options{Policy: &policy})
	before := heap()
	started := time.Now()
	err = engine.Replace(func(yield func(string, []ipallow.Entry) bool) {
		list := make([]ipallow.Entry, entries)
		for i, k := range w.Keys {
			for j, p := range w.Lists[i] {
				list[j].Prefix = p
			}
			if !yield(k, list) {
				return
			}
		}
	})
	if err != nil {
		return m, err
	}
	m.replace = time.Since(started)
	m.bytes = float64(heap()-before) / float64(n)

	texts, addrs := make([]string, len(w.Queries)), make([]netip.Addr, len(w.Queries))
	for i, q := range w.Queries {
		texts[i], addrs[i] = q.Key, q.Addr
		if engine.Check(q.Key, q.Addr).OK() != q.Hit || plainCheck(lists, q.Key, q.Addr) != q.Hit {
			return m, fmt.Errorf("the verdict on %q and %v is wrong; please report this", q.Key, q.Addr)
		}
	}
	var check, plain, batch, set []float64
	verdicts := make([]ipallow.Verdict, 64)
	hits := 0
	for range rounds {
		check = append(check, each(len(texts), func(i int) {
			if engine.Check(texts[i], addrs[i]).OK() {
				hits++
			}
		}))
		plain = append(plain, each(len(texts), func(i int) {
			if plainCheck(lists, texts[i], addrs[i]) {
				hits--
			}
		}))
		batch = append(batch, each(len(texts)/64, func(i int) {
			engine.CheckBatch(texts[64*i:64*i+64], addrs[64*i:64*i+64], verdicts)
		})/64)
	}
	if hits != 0 {
		return m, errors.New("the engine and the map disagree; please report this")
	}
	for i := range 200 {
		list := make([]ipallow.Entry, entries)
		for j, p := range w.Lists[(i*7919)%n] {
			list[j].Prefix = p
		}
		started := time.Now()
		if err := engine.Set(w.Keys[(i*104729)%n], list); err != nil {
			return m, err
		}
		set = append(set, float64(time.Since(started)))
	}
	m.check, m.plain, m.batch, m.set = median(check), median(plain), median(batch), median(set)
	return m, nil
}

// each calls f for 0 to n-1 and returns nanoseconds a call.
func each(n int, f func(int)) float64 {
	started := time.Now()
	for i := range n {
		f(i)
	}
	return float64(time.Since(started)) / float64(n)
}

func plainCheck(lists map[string][]netip.Prefix, key string, addr netip.Addr) bool {
	for _, p := range lists[key] {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// cpu is the processor's name where the system tells it.
func cpu() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "processor unknown"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "processor unknown"
}
