package main

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/alike"
	"github.com/ipallow/ipallow/cmd/internal/visible"
	"github.com/ipallow/ipallow/listfile"
	"github.com/spf13/cobra"
)

func init() { commands = append(commands, newExplainCommand) }

// An explanation is the reason of one verdict, in the shape of --json.
type explanation struct {
	Key     string          `json:"key"`
	Address netip.Addr      `json:"address"`
	Verdict ipallow.Verdict `json:"verdict"`
	Entry   *explained      `json:"entry,omitempty"`
	Nearest []explained     `json:"nearest,omitempty"` // if denied
	Similar []string        `json:"similar_keys,omitempty"`
}

// An explained is one entry with its place.
type explained struct {
	Entry string `json:"entry"`
	Label string `json:"label,omitempty"`
	Index int    `json:"index"` // from 0, as in the engine; texts count from 1
	Place string `json:"place"`
	First string `json:"first"`
	Last  string `json:"last"`
	Bits  int    `json:"common_bits"` // that it shares with the address

	length int
}

func newExplainCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain --lists FILE --key KEY ADDR...",
		Short: "Say which entry lets an address in, or why none does",
		Long: `Say which entry lets an address in, or why none does.

For a served address: the most specific entry that contains it, its label, and
where it stands. For a denied one: the entries that come nearest, and the
addresses that they cover. For a key without a list: the keys whose names are
alike. Entries are counted from 1, and in --json from 0. The exit status is 0 if
all would be served, and 1 if one would be denied.`,
		Example: `  ipallow explain --lists lists.json --key key-1 203.0.113.5
  ipallow explain --lists lists.json --key key-1 --json 203.0.114.5`,
		Args: atLeastOne("at least one address, or - for addresses on the standard input"),
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
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
			x := explain(l, t.key, a)
			verdicts = append(verdicts, x.Verdict)
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), x, "")
			} else {
				err = x.print(visible.Writer(cmd.OutOrStdout()))
			}
			if err != nil {
				return err
			}
		}
		return served(verdicts...)
	}
	return cmd
}

func explain(l *loaded, key string, a netip.Addr) explanation {
	x := l.Engine.Explain(key, a)
	out := explanation{Key: key, Address: a, Verdict: x.Verdict}
	entries, _ := l.Engine.Snapshot().Entries(key)
	switch {
	case x.Matched:
		e := describe(l.Lists[key], entries, x.Index, x.Addr)
		out.Entry = &e
	case x.Verdict == ipallow.Unrestricted:
		out.Similar = alike.Names(l.Order, key)
	default:
		for i := range entries {
			if entries[i].Prefix.Addr().BitLen() == x.Addr.BitLen() {
				out.Nearest = append(out.Nearest, describe(l.Lists[key], entries, i, x.Addr))
			}
		}
		slices.SortStableFunc(out.Nearest, func(a, b explained) int {
			return cmp.Or(cmp.Compare(b.Bits, a.Bits), cmp.Compare(a.length, b.length))
		})
		out.Nearest = out.Nearest[:min(3, len(out.Nearest))]
	}
	return out
}

func describe(list *listfile.List, entries []ipallow.Entry, i int, a netip.Addr) explained {
	p := entries[i].Prefix
	first, last := p.Addr().AsSlice(), p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 1 << (7 - bit%8)
	}
	to, _ := netip.AddrFromSlice(last) // 4 or 16 bytes, as AsSlice gave them
	common, text := 0, a.AsSlice()
	for common < len(first)*8 && (first[common/8]^text[common/8])>>(7-common%8)&1 == 0 {
		common++
	}
	return explained{
		Entry: entries[i].String(), Label: entries[i].Label, Index: i, Place: list.Items[i].Pos.String(),
		First: p.Addr().String(), Last: to.String(), Bits: common, length: p.Bits(),
	}
}

func (x *explanation) print(w io.Writer) (err error) {
	label := func(e *explained) string {
		if e.Label == "" {
			return ""
		}
		return " (" + quote(e.Label) + ")"
	}
	switch {
	case x.Entry != nil:
		_, err = fmt.Fprintf(w, "%s is %s: it is in %s%s, entry %d, at %s\n", x.Address, x.Verdict, x.Entry.Entry, label(x.Entry), x.Entry.Index+1, x.Entry.Place)
	case x.Verdict == ipallow.Unrestricted:
		_, err = fmt.Fprintf(w, "%s is %s: the key %s has no list, so every address is served\n", x.Address, x.Verdict, quote(x.Key))
	default:
		_, err = fmt.Fprintf(w, "%s is %s: no entry of %s contains it\n", x.Address, x.Verdict, quote(x.Key))
		if err == nil && len(x.Nearest) == 0 {
			_, err = fmt.Fprintf(w, "  the list has no entry of its family\n")
		}
		for i := range x.Nearest {
			e := &x.Nearest[i]
			if err == nil {
				_, err = fmt.Fprintf(w, "  nearest: %s%s, at %s, which covers %s to %s; it has the first %d bits in common\n",
					e.Entry, label(e), e.Place, e.First, e.Last, e.Bits)
			}
		}
	}
	return err
}
