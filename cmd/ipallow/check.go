package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/alike"
	"github.com/ipallow/ipallow/listfile"
	"github.com/spf13/cobra"
)

func init() { commands = append(commands, newCheckCommand) }

// onlyKey is the name of the list of a file that names no key.
const onlyKey = "(the list)"

// A target is the flags that choose a list.
type target struct {
	file, format, key string
	policy            *ipallow.Policy
	unknown           bool // a key without a list is no mistake
}

func (t *target) flags(cmd *cobra.Command) {
	t.policy = policyFlags(cmd.Flags())
	cmd.Flags().StringVar(&t.file, "lists", "", "`file` of allowlists, or - (required)")
	cmd.Flags().StringVar(&t.format, "format", "", "`format` of the lists: json, csv or text (default: by name and content)")
	cmd.Flags().StringVar(&t.key, "key", "", "the `key` that the requests are made with; may be left out if the file has one list")
	cobra.CheckErr(cmd.MarkFlagRequired("lists"))
	completeLists(cmd)
}

// load reads the lists and settles the key.
func (t *target) load(cmd *cobra.Command) (*loaded, error) {
	opts := listfile.Options{Format: t.format, Key: t.key}
	if t.key == "" {
		opts.Key = onlyKey
	}
	l, err := loadLists(t.file, cmd.InOrStdin(), opts, *t.policy)
	if err != nil {
		return nil, err
	}
	if t.key != "" {
		return l, t.known(cmd, l)
	}
	if len(l.Order) != 1 {
		return nil, usage(fmt.Errorf("%s has %s; choose one with --key", t.file, count(len(l.Order), "list", "lists")))
	}
	t.key = l.Order[0]
	return l, nil
}

// known warns of a key that no list has. That is a mistyped one, as a rule, and
// its verdict would be that every address is served.
func (t *target) known(cmd *cobra.Command, l *loaded) error {
	if l.Lists[t.key] != nil || t.unknown {
		return nil
	}
	text := fmt.Sprintf("no list in %s is for the key %s%s", t.file, quote(t.key), alike.DidYouMean(alike.Names(l.Order, t.key)))
	if cmd.Name() == "check" {
		return usage(fmt.Errorf("%s\na key without a list is served from everywhere; "+
			"if that is what you ask for, add --allow-unknown", text))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "ipallow: warning: %s\n", text)
	return nil
}

// stdinOnce is an error if the standard input is named twice: for the lists
// and among the arguments, or two times there.
func stdinOnce(lists string, args []string, what string) error {
	n := 0
	for _, arg := range args {
		if arg == "-" {
			n++
		}
	}
	switch {
	case lists == "-" && n > 0:
		return usage(fmt.Errorf("the standard input can be the lists or the %s, not both", what))
	case n > 1:
		return usage(errors.New("the standard input can be read once; write one -"))
	}
	return nil
}

// addresses reads the addresses of the command line, where - stands for those
// of the standard input, one a line.
func addresses(cmd *cobra.Command, args []string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	add := func(text, where string) error {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return usage(fmt.Errorf("%s%s is not an address; write one such as 203.0.113.5 or 2001:db8::1", where, quote(text)))
		}
		addrs = append(addrs, a)
		return nil
	}
	for _, arg := range args {
		if arg != "-" {
			if err := add(arg, ""); err != nil {
				return nil, err
			}
			continue
		}
		s := bufio.NewScanner(cmd.InOrStdin())
		for line := 1; s.Scan(); line++ {
			text := strings.TrimSpace(s.Text())
			if text == "" || text[0] == '#' {
				continue
			}
			if err := add(text, fmt.Sprintf("standard input, line %d: ", line)); err != nil {
				return nil, err
			}
		}
		if err := s.Err(); err != nil {
			return nil, usage(fmt.Errorf("standard input: %w", err))
		}
	}
	if len(addrs) == 0 {
		return nil, usage(errors.New("the standard input has no address; write one a line"))
	}
	return addrs, nil
}

// served is nil, or the result that says that a request would be denied.
func served(verdicts ...ipallow.Verdict) error {
	for _, v := range verdicts {
		if !v.OK() {
			return result(exitDenied)
		}
	}
	return nil
}

func newCheckCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check --lists FILE --key KEY ADDR...",
		Short: "Say whether requests from addresses would be served",
		Long: `Say whether requests from addresses would be served.

A line for each address has its verdict: allowed, or denied. - reads addresses
from the standard input, one a line. The exit status is 0 if all would be
served, and 1 if one would be denied. A key that no list of the file is for is
an error, with the keys whose names are alike; with --allow-unknown it is
unrestricted, as it is for the engine.`,
		Example: `  ipallow check --lists lists.json --key key-1 203.0.113.5 2001:db8::1
  ipallow check --lists office.txt - < addresses.txt
  ipallow check --lists lists.json --key key-1 --json 203.0.113.5`,
		Args: atLeastOne("at least one address, or - for addresses on the standard input"),
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
	cmd.Flags().BoolVar(&t.unknown, "allow-unknown", false, "a key without a list is not an error: it is served from everywhere")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := stdinOnce(t.file, args, "addresses"); err != nil {
			return err
		}
		l, err := t.load(cmd)
		if err != nil {
			return err
		}
		addrs, err := addresses(cmd, args)
		if err != nil {
			return err
		}
		var verdicts []ipallow.Verdict
		for _, a := range addrs {
			v := l.Engine.Check(t.key, a)
			verdicts = append(verdicts, v)
			if err := printCheck(cmd.OutOrStdout(), t.key, a, v, asJSON); err != nil {
				return err
			}
		}
		return served(verdicts...)
	}
	return cmd
}

func printCheck(w io.Writer, key string, a netip.Addr, v ipallow.Verdict, asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprintf(w, "%s %s\n", a, v)
		return err
	}
	return printJSON(w, struct {
		Key     string          `json:"key"`
		Address netip.Addr      `json:"address"`
		Verdict ipallow.Verdict `json:"verdict"`
		Served  bool            `json:"served"`
	}{key, a, v, v.OK()}, "")
}
