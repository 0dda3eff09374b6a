package index

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A List is the list of one key where it is stored in an index.
type List struct {
	shard shard
	rec   []byte
}

// Len returns the number of entries.
func (l *List) Len() int {
	if it := l.shard.item(0, l.rec); it.large != nil {
		return len(it.large.prefixes)
	}
	return recEntries(l.rec)
}

// Entries yields the entries in the order in which they were set.
func (l *List) Entries(yield func(Entry) bool) { l.shard.entries(l.rec, yield) }

// Lookup returns the most specific entry that contains addr, which is canonical, and its index, or
// an index of -1. Of equal entries it is the first.
func (l *List) Lookup(addr netip.Addr) (Entry, int) {
	i, prefix := -1, netip.Prefix{}
	if it := l.shard.item(0, l.rec); it.large == nil {
		i, prefix = lookupSmall(l.rec, addr)
	} else if addr.IsValid() {
		i, prefix = it.large.lookup(addr)
	}
	if i < 0 {
		return Entry{}, i
	}
	return Entry{Prefix: prefix, Label: l.shard.label(l.rec, i)}, i
}

// A Table is one list alone. The zero Table is empty; it is immutable.
type Table struct {
	// A short list is rec, a record with an empty key, which recPad bytes
	// follow, and labels, which is nil if there are none. A long one is large.
	// None of them is written after Compile.
	rec    []byte
	labels []string
	large  *largeList
}

// Compile builds the table of canonical entries.
func Compile(entries []Entry) (t Table) {
	switch {
	case len(entries) == 0:
	case len(entries) <= MaxShort:
		t.rec = appendRecord(nil, "", entries)
		t.rec = append(t.rec, make([]byte, recPad)...)
		t.labels = labelsOf(entries)
	default:
		t.large = compileLarge(entries, nil)
	}
	return t
}

// Len returns the number of entries.
func (t *Table) Len() int {
	switch {
	case t.large != nil:
		return len(t.large.prefixes)
	case t.rec == nil:
		return 0
	}
	return recEntries(t.rec)
}

// Contains reports whether an entry contains addr, in any form. The zero Addr is in no table.
func (t *Table) Contains(addr netip.Addr) bool {
	if t.large != nil {
		return t.large.contains(newQuery(addr))
	}
	return t.rec != nil && matchRecord(t.rec, addr) == Allowed
}

// Lookup returns the most specific entry that contains addr, which is valid and canonical; of equal
// entries the first.
func (t *Table) Lookup(addr netip.Addr) (Entry, bool) {
	if t.large != nil {
		i, _ := t.large.lookup(addr)
		if i < 0 {
			return Entry{}, false
		}
		return t.large.entry(i), true
	}
	if t.rec == nil {
		return Entry{}, false
	}
	i, p := lookupSmall(t.rec, addr)
	if i < 0 {
		return Entry{}, false
	}
	e := Entry{Prefix: p}
	if t.labels != nil {
		e.Label = t.labels[i]
	}
	return e, true
}

// compileLarge is the table of canonical entries, from the cache if there is
// one.
func compileLarge(entries []Entry, cache *compileCache) *largeList {
	prefixes := make([]netip.Prefix, len(entries))
	for i, e := range entries {
		prefixes[i] = e.Prefix
	}
	return &largeList{large: cache.get(prefixes), labels: labelsOf(entries)}
}

// labelMemory is how many labels of a list are remembered while it is compiled.
const labelMemory = 1024

// labelsOf returns the labels of the entries, or nil if all are empty. They are copies, so that
// no list keeps the file alive that it was cut out of, and a label that comes again soon is stored
// once. An LRU and not a map of all, which for a list whose labels all differ would be larger than
// what it saves.
func labelsOf(entries []Entry) []string {
	first := slices.IndexFunc(entries, func(e Entry) bool { return e.Label != "" })
	if first < 0 {
		return nil
	}
	// The size is positive, which is all that can be wrong with it.
	stored, _ := simplelru.NewLRU[string, string](labelMemory, nil)
	labels := make([]string, len(entries))
	for i := first; i < len(entries); i++ {
		label, ok := stored.Get(entries[i].Label)
		if !ok {
			label = strings.Clone(entries[i].Label)
			stored.Add(label, label)
		}
		labels[i] = label
	}
	return labels
}
