package index

import "net/netip"

// A List is the list of one key where it is stored in an index.
type List struct {
	shard shard
	rec   []byte
}

// Len returns the number of entries.
func (l *List) Len() int {
	if it := l.shard.item(0, l.rec); it.long != nil {
		return len(it.long.prefixes)
	}
	return recEntries(l.rec)
}

// Entries yields the entries in the order in which they were set.
func (l *List) Entries(yield func(Entry) bool) { l.shard.entries(l.rec, yield) }

// Lookup returns the most specific entry that contains addr, which is canonical, and its index, or
// an index of -1. Of equal entries it is the first.
func (l *List) Lookup(addr netip.Addr) (Entry, int) {
	i, prefix := -1, netip.Prefix{}
	if it := l.shard.item(0, l.rec); it.long == nil {
		i, prefix = lookupSmall(l.rec, addr)
	} else if addr.IsValid() {
		i, prefix = it.long.lookup(addr)
	}
	if i < 0 {
		return Entry{}, i
	}
	return Entry{Prefix: prefix, Label: l.shard.label(l.rec, i)}, i
}
