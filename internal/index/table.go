package index

import "net/netip"

// A Table is one list alone. The zero Table is empty; it is immutable.
type Table struct {
	// A short list is rec, a record with an empty key, which recPad bytes
	// follow, and labels, which is nil if there are none. A long one is long.
	// None of them is written after Compile.
	rec    []byte
	labels []string
	long   *labelledList
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
		t.long = compileLong(entries, nil)
	}
	return t
}

// Len returns the number of entries.
func (t *Table) Len() int {
	switch {
	case t.long != nil:
		return len(t.long.prefixes)
	case t.rec == nil:
		return 0
	}
	return recEntries(t.rec)
}

// Contains reports whether an entry contains addr, in any form. The zero Addr is in no table.
func (t *Table) Contains(addr netip.Addr) bool {
	if t.long != nil {
		return t.long.contains(newQuery(addr))
	}
	return t.rec != nil && matchRecord(t.rec, addr) == Allowed
}

// Lookup returns the most specific entry that contains addr, which is valid and canonical; of equal
// entries the first.
func (t *Table) Lookup(addr netip.Addr) (Entry, bool) {
	if t.long != nil {
		i, _ := t.long.lookup(addr)
		if i < 0 {
			return Entry{}, false
		}
		return t.long.entry(i), true
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
