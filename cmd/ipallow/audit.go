package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/audit"
	"github.com/ipallow/ipallow/cmd/internal/reqlog"
	"github.com/ipallow/ipallow/cmd/internal/visible"
	"github.com/ipallow/ipallow/listfile"
	"github.com/spf13/cobra"
)

func init() { commands = append(commands, newAuditCommand) }

// An auditOutput is the answer of --json.
type auditOutput struct {
	*audit.Report
	Logs     []string       `json:"logs"`
	Lines    int64          `json:"lines"`
	BadLines int64          `json:"bad_lines"`
	Bad      []auditBadLine `json:"bad_lines_shown"`
	Seconds  float64        `json:"seconds"`
	places   map[string][]listfile.Item
}

type auditBadLine struct {
	Log    string `json:"log"`
	Line   int64  `json:"line"`
	Text   string `json:"text"`
	Reason string `json:"reason"`
}

func newAuditCommand() *cobra.Command {
	var (
		lists, listFormat    string
		log                  reqlog.Options
		top                  int
		asJSON, strict, deny bool
	)
	cmd := &cobra.Command{
		Use:   "audit --lists FILE LOG...",
		Short: "Replay request logs against allowlists before they are switched on",
		Long: `Replay request logs against allowlists before they are switched on.

The report says how many requests would have been served and denied, by key and
by address, and which entries no request has used. Logs are read in parallel and
in constant memory, also compressed with gzip; - is the standard input:

  csv    a header that names the columns (key, address); the logs.csv that
         ipallowd exports is read as it is
  jsonl  an object a line with the fields key and address; an array of them and
         the records of ipallowd's API are read too
  nginx  the combined format with the key in one more pair of quotation marks:
         log_format keyed '$remote_addr - $remote_user [$time_local] "$request" '
           '$status $body_bytes_sent "$http_referer" "$http_user_agent" "$api_key_id"';

--key-field and --address-field name other columns or fields; a field of nested
objects has dots (client.ip). An address may have a port: 203.0.113.5:443 and
[2001:db8::1]:443. A log of which no line can be read is an error. Lines that cannot be read are counted and the first
20 are shown with their numbers; --strict makes them an error.

It is a report: the exit status is 0 even if requests would be denied, unless
--fail-on-denied is given.`,
		Example: `  ipallow audit --lists lists.json access.log.gz
  zcat access.log.*.gz | ipallow audit --lists lists.csv -
  ipallow audit --lists lists.json --json requests.csv | jq '.keys[0]'
  ipallow audit --lists lists.json --address-field client.ip --key-field auth.key_id app.jsonl`,
		Args: atLeastOne("at least one log, or - for the standard input"),
	}
	f := cmd.Flags()
	policy := policyFlags(f)
	f.StringVar(&lists, "lists", "", "`file` of allowlists (required)")
	f.StringVar(&listFormat, "format", "", "`format` of the lists: json, csv or text (default: by name and content)")
	f.StringVar(&log.Format, "log-format", "", "`format` of the logs: csv, jsonl or nginx (default: by content)")
	f.StringVar(&log.KeyField, "key-field", "", "`name` of the column or field of the key")
	f.StringVar(&log.AddrField, "address-field", "", "`name` of the column or field of the address")
	f.IntVar(&top, "top", 10, "how many `rows` the tables have")
	f.BoolVar(&asJSON, "json", false, "print the whole report as JSON")
	f.BoolVar(&strict, "strict", false, "end with status 1 if a line cannot be read")
	f.BoolVar(&deny, "fail-on-denied", false, "end with status 1 if a request would be denied")
	cobra.CheckErr(cmd.MarkFlagRequired("lists"))
	completeLists(cmd)
	completeValues(cmd, "log-format", logFormats...)
	cmd.RunE = func(cmd *cobra.Command, logs []string) error {
		if top < 0 {
			return usage(fmt.Errorf("--top is %d; it must be 0 or more", top))
		}
		if err := stdinOnce(lists, logs, "log"); err != nil {
			return err
		}
		l, err := loadLists(lists, cmd.InOrStdin(), listfile.Options{Format: listFormat}, *policy)
		if err != nil {
			return err
		}
		out := auditOutput{Logs: logs, Bad: []auditBadLine{}, places: map[string][]listfile.Item{}}
		for key, list := range l.Lists {
			out.places[key] = list.Items
		}
		auditor := audit.New(l.Engine.Snapshot())
		started := time.Now()
		var read logsRead
		for _, path := range logs {
			stats, err := readLog(cmd, path, func(r io.Reader) (reqlog.Stats, error) { return auditor.Add(cmd.Context(), r, log) })
			if err == nil {
				err = read.add(cmd, path, stats)
			}
			if err != nil {
				return logError(path, err)
			}
			out.Lines += stats.Lines
			out.BadLines += stats.BadLines
			for _, b := range stats.Bad {
				if len(out.Bad) < reqlog.MaxBad {
					out.Bad = append(out.Bad, auditBadLine{path, b.Line, b.Text, b.Reason})
				}
			}
		}
		if err := read.none(); err != nil {
			return err
		}
		out.Seconds = time.Since(started).Seconds()
		out.Report = auditor.Report()
		if asJSON {
			err = printJSON(cmd.OutOrStdout(), out, "  ")
		} else {
			err = out.print(visible.Writer(cmd.OutOrStdout()), top)
		}
		switch {
		case err != nil:
			return err
		case strict && out.BadLines > 0:
			return fmt.Errorf("%s of the logs cannot be read, which --strict makes an error", count(int(out.BadLines), "line", "lines"))
		case deny && out.Denied > 0:
			return result(exitDenied)
		}
		return nil
	}
	return cmd
}

// logsRead is how much of the logs was requests. A report of nothing looks like
// one of a log in which all is well.
type logsRead struct{ records int64 }

// add is an error if no line of a log can be read, and warns of an empty one.
func (l *logsRead) add(cmd *cobra.Command, path string, stats reqlog.Stats) error {
	l.records += stats.Records
	switch {
	case stats.Records > 0:
	case stats.Lines > 0:
		reason := "see audit --log-format, --key-field and --address-field"
		if len(stats.Bad) > 0 {
			reason = fmt.Sprintf("line %d: %s", stats.Bad[0].Line, stats.Bad[0].Reason)
		}
		return fmt.Errorf("none of its %s can be read as a request (%s)", count(int(stats.Lines), "line", "lines"), reason)
	default:
		fmt.Fprintf(cmd.ErrOrStderr(), "ipallow: warning: %s has no request\n", path)
	}
	return nil
}

// none is an error if all logs were empty.
func (l *logsRead) none() error {
	if l.records > 0 {
		return nil
	}
	return usage(errors.New("the logs have no request"))
}

// logError says what to do about a log that cannot be read to its end.
func logError(path string, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("the compressed log breaks off; fetch it again, or wait until it is written")
	}
	return usage(fmt.Errorf("%s: %w", path, err))
}

// readLog opens a log and shows the progress on a terminal.
func readLog(cmd *cobra.Command, path string, read func(io.Reader) (reqlog.Stats, error)) (reqlog.Stats, error) {
	if path == "-" {
		return read(cmd.InOrStdin())
	}
	f, err := os.Open(path)
	var missing *fs.PathError
	if errors.As(err, &missing) {
		return reqlog.Stats{}, usage(missing.Err)
	}
	if err != nil {
		return reqlog.Stats{}, usage(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return reqlog.Stats{}, err
	}
	if info.IsDir() {
		return reqlog.Stats{}, usage(errors.New("it is a directory; name the log files in it"))
	}
	size := info.Size()
	if !info.Mode().IsRegular() {
		size = -1
	}
	bar := newProgress(cmd.ErrOrStderr(), size, path)
	if bar == nil {
		return read(f)
	}
	stats, err := read(io.TeeReader(f, bar))
	bar.finish()
	return stats, err
}

func (o *auditOutput) print(w io.Writer, top int) error {
	percent := func(n int64) float64 { return 100 * float64(n) / float64(max(o.Requests, 1)) }
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\trequests\tshare\t\n")
	for _, row := range []struct {
		name string
		n    int64
	}{
		{"served, in the list", o.Allowed}, {"served, key without a list", o.Unrestricted},
		{"DENIED", o.Denied}, {"without a key, for authentication", o.NoKey}, {"in all", o.Requests},
	} {
		fmt.Fprintf(t, "%s\t%d\t%.2f %%\t\n", row.name, row.n, percent(row.n))
	}
	t.Flush()

	shown := 0
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, k := range o.Keys {
		if k.Denied == 0 || shown == top {
			break
		}
		if shown++; shown == 1 {
			fmt.Fprintf(t, "\nkeys with denied requests\tdenied\tserved\tentries\n")
		}
		fmt.Fprintf(t, "  %s\t%d\t%d\t%d\n", quote(k.Key), k.Denied, k.Allowed, k.Entries)
	}
	denied := 0
	for _, k := range o.Keys {
		if k.Denied > 0 {
			denied++
		}
	}
	if denied > shown {
		fmt.Fprintf(t, "  and %d more keys (--top)\n", denied-shown)
	}
	open := 0
	for _, k := range o.Keys {
		if k.Entries > 0 {
			continue
		}
		if open++; open <= top {
			if open == 1 {
				fmt.Fprintf(t, "\nkeys without a list\tserved\n")
			}
			fmt.Fprintf(t, "  %s\t%d\n", quote(k.Key), k.Unrestricted)
		}
	}
	if open > top {
		fmt.Fprintf(t, "  and %d more keys (--top)\n", open-top)
	}
	for i, a := range o.DeniedAddrs[:min(top, len(o.DeniedAddrs))] {
		if i == 0 {
			fmt.Fprintf(t, "\ndenied addresses\tdenied\n")
		}
		fmt.Fprintf(t, "  %s\t%d\n", a.Addr, a.Denied)
	}
	if n := len(o.DeniedAddrs); n > top {
		fmt.Fprintf(t, "  and %d more addresses (--top)\n", n-top)
	}
	if o.AddrsMissing > 0 {
		fmt.Fprintf(t, "  There were too many to count each: a count may be too low by up to %d.\n", o.AddrsMissing)
	}
	for i, e := range o.Unused[:min(top, len(o.Unused))] {
		if i == 0 {
			fmt.Fprintf(t, "\nentries never used\tkey\tplace\n")
		}
		place := ""
		if items := o.places[e.Key]; e.Index < len(items) {
			place = items[e.Index].Pos.String()
		}
		if e.Label != "" {
			e.Prefix += " (" + quote(e.Label) + ")"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", e.Prefix, quote(e.Key), place)
	}
	if n := len(o.Unused); n > top {
		fmt.Fprintf(t, "  and %d more of %d entries (--top, or --json)\n", n-top, o.Entries)
	}
	for i, b := range o.Bad {
		if i == 0 {
			fmt.Fprintf(t, "\nlines that cannot be read\treason\n")
		}
		fmt.Fprintf(t, "  %s:%d\t%s\n", b.Log, b.Line, b.Reason)
	}
	if n := o.BadLines - int64(len(o.Bad)); n > 0 {
		fmt.Fprintf(t, "  and %d more\n", n)
	}
	t.Flush()
	_, err := fmt.Fprintf(w, "\n%s in %.1f s", count(int(o.Lines), "line", "lines"), o.Seconds)
	if err == nil && o.Seconds >= 0.1 {
		_, err = fmt.Fprintf(w, ", %.1f million a second", float64(o.Lines)/1e6/o.Seconds)
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}
