package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/visible"
	"github.com/ipallow/ipallow/listfile"
	"github.com/spf13/cobra"
)

func init() { commands = append(commands, newValidateCommand) }

// A finding is one fault or warning, in the shape of --json.
type finding struct {
	File       string       `json:"file"`
	Line       int          `json:"line"`
	Key        string       `json:"key,omitempty"`
	Index      int          `json:"index"` // from 0; -1: the whole list
	Entry      string       `json:"entry"`
	Code       ipallow.Code `json:"code"`
	Reason     string       `json:"reason"`
	Suggestion string       `json:"suggestion,omitempty"`
	// Suggestions are entries to take as they stand, as in ipallow.EntryError.
	Suggestions []string `json:"suggestions,omitempty"`
}

// A validation is the answer of --json.
type validation struct {
	Valid    bool      `json:"valid"`
	Lists    int       `json:"lists"`
	Entries  int       `json:"entries"`
	Faults   []finding `json:"faults"`
	Warnings []finding `json:"warnings"`
}

func newValidateCommand() *cobra.Command {
	var opts listfile.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Report every fault of allowlists, with file and line",
		Long: `Report every fault of allowlists, with file and line.

Files are JSON, CSV or text with one entry a line, each also compressed with
gzip; - is the standard input. An entry that another one covers is a warning
and no fault. The exit status is 0 if all lists are valid, 1 if one is not, and
2 if a file cannot be read or holds no list. A valid list can still lock somebody
out: "ipallow audit" says who, of a log. Lines count from 1, and "index" in
--json from 0, as in the engine.

  JSON  {"keys": {"key-1": ["203.0.113.0/24", {"entry": "2001:db8::1", "label": "office"}]}}
        or an array, or lines, of {"key": "key-1", "entries": [...]}
  CSV   a header with entry and, if wanted, key and label
  text  203.0.113.0/24 # label
        [key-1] on a line of its own begins the list of a key`,
		Example: `  ipallow validate lists.json
  ipallow validate --json lists.csv | jq '.faults[].code'
  printf '10.0.0.0/8\n' | ipallow validate --allow-non-public --min-bits4 8 -`,
		Args: atLeastOne("at least one file of allowlists, or - for the standard input"),
	}
	policy := policyFlags(cmd.Flags())
	cmd.Flags().StringVar(&opts.Format, "format", "", "`format` of the files: json, csv or text (default: by name and content)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	completeValues(cmd, "format", listFormats...)
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		if err := stdinOnce("", files, ""); err != nil {
			return err
		}
		v := validation{Faults: []finding{}, Warnings: []finding{}}
		for _, file := range files {
			lists, err := readLists(file, cmd.InOrStdin(), opts)
			if err != nil {
				return err
			}
			for i := range lists {
				v.add(&lists[i], *policy)
			}
		}
		v.Valid = len(v.Faults) == 0
		if err := v.write(cmd.OutOrStdout(), asJSON); err != nil {
			return err
		}
		if !v.Valid {
			return result(exitDenied)
		}
		return nil
	}
	return cmd
}

// add validates one list.
func (v *validation) add(l *listfile.List, policy ipallow.Policy) {
	v.Lists++
	v.Entries += len(l.Items)
	entries, err := policy.ParseEntries(l.Texts())
	var invalid *ipallow.ValidationError
	if errors.As(err, &invalid) {
		// Warnings are about the others; an entry without a prefix has none.
		entries = make([]ipallow.Entry, len(l.Items))
		for i, it := range l.Items {
			entries[i], _ = ipallow.ParseEntry(it.Entry)
		}
		for _, f := range invalid.Entries {
			v.Faults = append(v.Faults, place(l, f.Index, finding{Code: f.Code, Reason: f.Reason, Suggestion: f.Suggestion, Suggestions: f.Suggestions}))
			if f.Index >= 0 {
				entries[f.Index] = ipallow.Entry{}
			}
		}
	}
	for _, w := range ipallow.Warnings(entries) {
		v.Warnings = append(v.Warnings, place(l, w.Index, finding{Code: w.Code, Reason: w.Reason}))
	}
}

// place fills in where entry i of a list stands.
func place(l *listfile.List, i int, f finding) finding {
	pos := l.Pos
	if i >= 0 {
		pos = l.Items[i].Pos
		f.Entry = l.Items[i].Entry
	}
	f.File, f.Line, f.Key, f.Index = pos.File, pos.Line, l.Key, i
	return f
}

func (v *validation) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(w, v, "  ")
	}
	w = visible.Writer(w)
	for _, f := range v.Faults {
		f.print(w, "")
	}
	for _, f := range v.Warnings {
		f.print(w, "warning: ")
	}
	state := "valid"
	if !v.Valid {
		state = "NOT valid"
	}
	_, err := fmt.Fprintf(w, "%s: %s with %s, %s, %s\n", state, count(v.Lists, "list", "lists"),
		count(v.Entries, "entry", "entries"), count(len(v.Faults), "fault", "faults"), count(len(v.Warnings), "warning", "warnings"))
	return err
}

func (f *finding) print(w io.Writer, kind string) {
	fmt.Fprintf(w, "%s:%d: %s", f.File, f.Line, kind)
	if f.Key != "" {
		fmt.Fprintf(w, "key %s: ", quote(f.Key))
	}
	if f.Index >= 0 {
		fmt.Fprintf(w, "%s: ", quote(f.Entry))
	}
	fmt.Fprintf(w, "%s: %s\n", f.Code, f.Reason)
	switch {
	case f.Suggestion != "":
		fmt.Fprintf(w, "    suggestion: %s\n", f.Suggestion)
	case len(f.Suggestions) > 0:
		fmt.Fprintf(w, "    suggestions: %s\n", strings.Join(f.Suggestions, ", "))
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
