package main

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/alike"
	"github.com/ipallow/ipallow/cmd/internal/canon"
	"github.com/ipallow/ipallow/cmd/internal/reqlog"
	"github.com/ipallow/ipallow/cmd/internal/suggest"
	"github.com/ipallow/ipallow/cmd/internal/visible"
	"github.com/ipallow/ipallow/listfile"
	"github.com/spf13/cobra"
)

func init() { commands = append(commands, newSuggestCommand) }

// maxPairs is how many different pairs of key and address are kept in memory.
const maxPairs = 4 << 20

func newSuggestCommand() *cobra.Command {
	var (
		key, format string
		log         reqlog.Options
	)
	cmd := &cobra.Command{
		Use:   "suggest LOG...",
		Short: "Find the smallest allowlists that cover the traffic of a log",
		Long: `Find the smallest allowlists that cover the traffic of a log.

For a key, or for each key of the log: among the lists of at most --max-entries
networks within the policy that contain all addresses seen, the one that covers
the fewest addresses which were not seen, and of equal ones the shortest. That is
exact for up to 1,024 different addresses a key; of more, the closest neighbours
are joined first, and the list says so.

Addresses that are not public are left out, and so are, if even the broadest
networks of the policy are too many, those with the fewest requests. They are
named in the table. Logs are those of audit. --format json, csv or text is what
validate and check read. Check a suggestion before you use it: every address of
the log is in the list, an intruder's too. Label the entries, and where addresses
change (mobile networks, cloud runners) list the provider's network.`,
		Example: `  ipallow suggest --key key-1 access.log.gz
  ipallow suggest --max-entries 5 --format csv requests.csv > lists.csv`,
		Args: atLeastOne("at least one log, or - for the standard input"),
	}
	f := cmd.Flags()
	policy := policyFlags(f)
	f.StringVar(&key, "key", "", "only this `key`")
	f.StringVar(&format, "format", "table", "`format` of the output: table, json, csv or text")
	f.StringVar(&log.Format, "log-format", "", "`format` of the logs: csv, jsonl or nginx (default: by content)")
	f.StringVar(&log.KeyField, "key-field", "", "`name` of the column or field of the key")
	f.StringVar(&log.AddrField, "address-field", "", "`name` of the column or field of the address")
	completeValues(cmd, "format", "table", "json", "csv", "text")
	completeValues(cmd, "log-format", logFormats...)
	cmd.RunE = func(cmd *cobra.Command, logs []string) error {
		write, ok := map[string]func(io.Writer, []suggestion) error{
			"table": writeTable, "json": writeJSON, "csv": writeCSV, "text": writeText}[format]
		if !ok {
			return usage(fmt.Errorf("--format is %q; it is one of table, json, csv and text", format))
		}
		if err := stdinOnce("", logs, ""); err != nil {
			return err
		}
		t := traffic{key: key, seen: map[string]map[netip.Addr]int64{}, other: map[string]bool{}}
		var bad int64
		var read logsRead
		for _, path := range logs {
			stats, err := readLog(cmd, path, func(r io.Reader) (reqlog.Stats, error) {
				return reqlog.Scan(cmd.Context(), r, log, t.worker)
			})
			if err == nil {
				err = read.add(cmd, path, stats)
			}
			if err != nil {
				return logError(path, err)
			}
			bad += stats.BadLines
			t.merge()
		}
		if err := read.none(); err != nil {
			return err
		}
		if t.full.Load() {
			return fmt.Errorf("the logs have more than %d different pairs of key and address; choose a key with --key, or fewer logs", maxPairs)
		}
		if bad > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "ipallow: %s passed over that cannot be read; audit shows which\n", count(int(bad), "line", "lines"))
		}
		if key != "" && len(t.seen) == 0 {
			return fmt.Errorf("no request of the logs was made with the key %s%s", quote(key), alike.DidYouMean(alike.Names(t.others(), key)))
		}
		return write(cmd.OutOrStdout(), t.suggest(*policy))
	}
	return cmd
}

// A traffic is the addresses seen with each key.
type traffic struct {
	key   string // "" for all
	seen  map[string]map[netip.Addr]int64
	pairs atomic.Int64
	full  atomic.Bool

	mu      sync.Mutex
	workers []map[string]map[netip.Addr]int64
	other   map[string]bool // keys that were not asked for, at most maxOther
}

// maxOther is how many other keys are remembered, to say which one was meant.
const maxOther = 10_000

// others returns the keys of the log that are not the one asked for.
func (t *traffic) others() []string {
	keys := slices.Collect(maps.Keys(t.other))
	slices.Sort(keys)
	return keys
}

func (t *traffic) worker(int) func([]byte, netip.Addr) {
	mine, others := map[string]map[netip.Addr]int64{}, map[string]bool{}
	t.mu.Lock()
	t.workers = append(t.workers, mine)
	t.mu.Unlock()
	return func(key []byte, addr netip.Addr) {
		// A key longer than the engine's has no list to suggest.
		if len(key) == 0 || len(key) > ipallow.MaxKeyLen {
			return
		}
		if t.key != "" && string(key) != t.key {
			if len(mine) == 0 && !others[string(key)] && len(others) < maxOther {
				t.mu.Lock()
				t.other[string(key)] = true
				t.mu.Unlock()
				others[string(key)] = true
			}
			return
		}
		m := mine[string(key)]
		if m == nil {
			if t.pairs.Add(int64(len(key)/64)) > maxPairs { // its name takes memory too
				t.full.Store(true)
				return
			}
			m = map[netip.Addr]int64{}
			mine[string(key)] = m
		}
		addr = canon.Addr(addr)
		if _, ok := m[addr]; !ok && t.pairs.Add(1) > maxPairs {
			t.full.Store(true)
			return
		}
		m[addr]++
	}
}

// merge adds what the workers of one log have seen.
func (t *traffic) merge() {
	for _, w := range t.workers {
		for key, addrs := range w {
			m := t.seen[key]
			if m == nil {
				t.seen[key] = addrs
				continue
			}
			for a, n := range addrs {
				m[a] += n
			}
		}
	}
	t.workers = nil
}

// A suggestion is the list for one key.
type suggestion struct {
	key string
	suggest.Result
}

func (t *traffic) suggest(policy ipallow.Policy) []suggestion {
	var all []suggestion
	for key, addrs := range t.seen {
		seen := make([]suggest.Seen, 0, len(addrs))
		for a, n := range addrs {
			seen = append(seen, suggest.Seen{Addr: a, Requests: n})
		}
		all = append(all, suggestion{key, suggest.List(seen, policy)})
	}
	slices.SortFunc(all, func(a, b suggestion) int { return cmp.Compare(a.key, b.key) })
	return all
}

// label says what an entry covers.
func label(e suggest.Entry) string {
	return fmt.Sprintf("suggested: %s, %s", count(int(e.Requests), "request", "requests"), count(e.Addresses, "address", "addresses"))
}

func writeTable(w io.Writer, all []suggestion) error {
	t := tabwriter.NewWriter(visible.Writer(w), 0, 0, 2, ' ', 0)
	for i, s := range all {
		if i > 0 {
			fmt.Fprintln(t)
		}
		fmt.Fprintf(t, "key %s\trequests\taddresses seen\tnot seen\n", quote(s.key))
		for _, e := range s.Entries {
			fmt.Fprintf(t, "  %s\t%d\t%d\t%d\n", ipallow.Entry{Prefix: e.Prefix}, e.Requests, e.Addresses, e.Unseen)
		}
		if len(s.Entries) == 0 {
			fmt.Fprintf(t, "  no list within the policy\n")
		}
		if !s.Exact {
			fmt.Fprintf(t, "  There are more than %d addresses: the closest were joined first, and another list may be smaller.\n", suggest.MaxExact)
		}
		for j, o := range s.LeftOut {
			if j == 5 {
				fmt.Fprintf(t, "  LEFT OUT: %d more addresses\n", len(s.LeftOut)-j)
				break
			}
			fmt.Fprintf(t, "  LEFT OUT: %s\t%d\n", o.Addr, o.Requests)
		}
	}
	return t.Flush()
}

func writeJSON(w io.Writer, all []suggestion) error {
	keys := map[string][]ipallow.EntryText{}
	for _, s := range all {
		list := []ipallow.EntryText{}
		for _, e := range s.Entries {
			list = append(list, ipallow.EntryText{Entry: ipallow.Entry{Prefix: e.Prefix}.String(), Label: label(e)})
		}
		keys[s.key] = list
	}
	return printJSON(w, map[string]any{"keys": keys}, "  ")
}

func writeCSV(w io.Writer, all []suggestion) error {
	c := csv.NewWriter(w)
	if err := c.Write([]string{"key", "entry", "label"}); err != nil {
		return err
	}
	for _, s := range all {
		for _, e := range s.Entries {
			if err := c.Write([]string{s.key, ipallow.Entry{Prefix: e.Prefix}.String(), label(e)}); err != nil {
				return err
			}
		}
	}
	c.Flush()
	return c.Error()
}

func writeText(w io.Writer, all []suggestion) error {
	var errs []error
	for _, s := range all {
		// A log says what keys there are: one with a line end could write
		// entries of its own into the list of another.
		if !listfile.IsSection(s.key) {
			return fmt.Errorf("the key %s cannot be written as text; use --format json or csv, or choose a key with --key", quote(s.key))
		}
	}
	for _, s := range all {
		_, err := fmt.Fprintf(w, "[%s]\n", s.key)
		errs = append(errs, err)
		for _, e := range s.Entries {
			_, err := fmt.Fprintf(w, "%s # %s\n", ipallow.Entry{Prefix: e.Prefix}, label(e))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
