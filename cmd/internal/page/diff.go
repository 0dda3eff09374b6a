package page

import (
	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// A change is how one entry differs between two lists.
type change struct {
	Kind     changeKind
	Entry    string
	Label    string
	OldLabel string // of a relabelled entry
}

type changeKind string

const (
	added      changeKind = "added"
	removed    changeKind = "removed"
	relabelled changeKind = "relabelled"
	kept       changeKind = "kept"
)

// Mark is the sign before the entry, so that the colour is not needed.
func (c change) Mark() string {
	switch c.Kind {
	case added:
		return "+"
	case removed:
		return "−"
	case relabelled:
		return "~"
	}
	return "="
}

// diff compares two lists by their entries, whatever their order: the removed
// ones first, in the order of before, then those of after in its order.
func diff(before, after []manage.ListEntry) []change {
	labels := make(map[string]string, len(before))
	for _, e := range before {
		labels[canonical(e.Entry)] = e.Label
	}
	in := make(map[string]bool, len(after))
	for _, e := range after {
		in[canonical(e.Entry)] = true
	}
	var out []change
	for _, e := range before {
		if !in[canonical(e.Entry)] {
			out = append(out, change{Kind: removed, Entry: canonical(e.Entry), Label: e.Label})
		}
	}
	for _, e := range after {
		c := change{Kind: kept, Entry: canonical(e.Entry), Label: e.Label}
		switch old, was := labels[c.Entry]; {
		case !was:
			c.Kind = added
		case old != e.Label:
			c.Kind, c.OldLabel = relabelled, old
		}
		out = append(out, c)
	}
	return out
}

// canonical returns the entry as the page writes it, or the text itself if it
// is no entry.
func canonical(text string) string {
	e, err := ipallow.ParseEntry(text)
	if err != nil {
		return text
	}
	return short(e.Prefix)
}

// texts returns a stored list as a user would write it.
func texts(entries []ipallow.Entry) []manage.ListEntry {
	out := make([]manage.ListEntry, len(entries))
	for i, e := range entries {
		out[i] = manage.ListEntry{Entry: short(e.Prefix), Label: e.Label}
	}
	return out
}
