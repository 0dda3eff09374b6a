package ipallow

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ipallow/ipallow/internal/canon"
)

// A Warning is something about a valid list that its owner may not have
// meant. It never stops a list from being stored.
type Warning struct {
	// Index is the entry's place in the list, from 0.
	Index int
	// By is the index of the broadest entry that covers it.
	By int
	// Input is the entry's canonical text.
	Input string
	// Code is CodeRedundant.
	Code Code
	// Reason is a sentence for people.
	Reason string
}

// String returns the warning in one line, with the place counted from 1.
func (w Warning) String() string {
	return fmt.Sprintf("entry %d %q: %s: %s", w.Index+1, w.Input, w.Code, w.Reason)
}

// Warnings returns a warning for each entry that another entry of the list
// covers, in the order of the list; nil if there is none. Of two equal
// entries the later one is redundant. Entries without a valid prefix are
// passed over.
//
// Cost: O(n log n) for n entries.
func Warnings(entries []Entry) []Warning {
	type item struct {
		prefix netip.Prefix
		index  int
	}
	items := make([]item, 0, len(entries))
	for i, e := range entries {
		if p, ok := canon.Prefix(e.Prefix); ok {
			items = append(items, item{p, i})
		}
	}
	// In this order, a prefix that the last uncovered one does not cover is
	// not covered at all.
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(canon.Compare(a.prefix, b.prefix), cmp.Compare(a.index, b.index))
	})
	var warnings []Warning
	var top item
	for _, it := range items {
		if !top.prefix.IsValid() || !top.prefix.Contains(it.prefix.Addr()) {
			top = it
			continue
		}
		warnings = append(warnings, Warning{
			Index: it.index, By: top.index, Input: it.prefix.String(), Code: CodeRedundant,
			Reason: fmt.Sprintf("entry %d, %s, already covers it; it can be removed", top.index+1, top.prefix),
		})
	}
	slices.SortFunc(warnings, func(a, b Warning) int { return cmp.Compare(a.Index, b.Index) })
	return warnings
}
