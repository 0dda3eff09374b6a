package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/visible"
	"github.com/ipallow/ipallow/listfile"
)

// A loaded is the lists of a file, compiled.
type loaded struct {
	Engine *ipallow.Engine
	Lists  map[string]*listfile.List // by key; the order of Items is that of the engine's entries
	Order  []string                  // the keys in the order of the file
}

// readLists reads the lists of the file at path, where - is the standard input.
func readLists(path string, in io.Reader, opts listfile.Options) (lists []listfile.List, err error) {
	if path == "-" {
		lists, err = listfile.Read("standard input", in, &opts)
	} else {
		lists, err = listfile.ReadFile(path, &opts)
	}
	if errors.Is(err, listfile.ErrNoLists) {
		err = fmt.Errorf("%w; write one such as {\"keys\": {\"key-1\": [\"203.0.113.0/24\"]}}, "+
			"or an entry on a line of its own", err)
	}
	return lists, usage(err)
}

// loadLists reads and compiles the lists of the file at path. If a list has
// faults, the error has a line for each, with file and line.
func loadLists(path string, in io.Reader, opts listfile.Options, policy ipallow.Policy) (*loaded, error) {
	lists, err := readLists(path, in, opts)
	if err != nil {
		return nil, err
	}
	l := &loaded{
		Engine: ipallow.New(&ipallow.Options{Policy: &policy}),
		Lists:  make(map[string]*listfile.List, len(lists)),
	}
	var faults []string
	err = l.Engine.ReplaceFunc(func(add func(string, []ipallow.Entry)) error {
		for i := range lists {
			list := &lists[i]
			l.Lists[list.Key] = list
			l.Order = append(l.Order, list.Key)
			entries, err := policy.ParseEntries(list.Texts())
			var invalid *ipallow.ValidationError
			switch {
			case errors.As(err, &invalid):
				for _, f := range invalid.Entries {
					faults = append(faults, faultLine(list, f))
				}
			case list.Key == "":
				// The engine has no empty key; a file of one list without a key
				// is asked for under the name that the caller gave it.
				return fmt.Errorf("%s: the list names no key; give one with --key", list.Pos)
			default:
				add(list.Key, entries)
			}
		}
		if len(faults) > 0 {
			const most = 20
			if n := len(faults); n > most {
				faults = append(faults[:most], fmt.Sprintf("and %d more", n-most))
			}
			return fmt.Errorf("the lists have faults (see \"ipallow validate %s\"):\n%s", path, strings.Join(faults, "\n"))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// faultLine is one fault with the place where it stands.
func faultLine(list *listfile.List, f *ipallow.EntryError) string {
	pos, input := list.Pos, ""
	if f.Index >= 0 && f.Index < len(list.Items) {
		pos, input = list.Items[f.Index].Pos, quote(list.Items[f.Index].Entry)+": "
	}
	line := fmt.Sprintf("%s: %s%s: %s", pos, input, f.Code, f.Reason)
	switch {
	case f.Suggestion != "":
		line += fmt.Sprintf(" (%s)", f.Suggestion)
	case len(f.Suggestions) > 0:
		line += fmt.Sprintf(" (%s)", strings.Join(f.Suggestions, ", "))
	}
	return line
}

// quote quotes a text for a message, and shortens it.
func quote(s string) string { return visible.Quote(cut(s)) }

// cut shortens a text for a message.
func cut(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// printJSON writes v for programs, and for people who look at it on a terminal.
func printJSON(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", indent)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(visible.JSON(b.Bytes()))
	return err
}
