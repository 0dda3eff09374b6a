package ipallow

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/ipallow/ipallow/internal/canon"
)

// An Allowlist is a compiled list of entries. It is immutable; its methods
// may be called from any number of goroutines. The nil Allowlist and the
// zero one are empty.
//
// An Allowlist is a set of addresses and no more: Contains of an empty one
// is false. That a key without entries is unrestricted is for an [Engine] to
// say.
type Allowlist struct {
	// A short list is rec, a record with an empty key, which recPad bytes
	// follow, and labels, which is nil if there are none. A long one is large.
	// None of them is written after Compile.
	rec    []byte
	labels []string
	large  *largeList
}

// Compile builds the table of a list. It applies no policy: prefixes of any
// length are taken, and any number of them. Host bits are masked off,
// IPv4-mapped prefixes of /96 and longer are IPv4, and entries without a
// valid prefix, which match nothing, are left out; [Policy.Validate] finds
// them. The slice is not kept.
//
// Cost: O(n log n) for n entries. A list of up to 28 entries takes 5 bytes
// for an IPv4 entry and 9 or 18 for an IPv6 one (up to /64, and longer); a
// longer list is a trie.
func Compile(entries []Entry) *Allowlist {
	canonical := make([]Entry, 0, len(entries))
	for _, e := range entries {
		if p, ok := canon.Prefix(e.Prefix); ok {
			canonical = append(canonical, Entry{Prefix: p, Label: e.Label})
		}
	}
	l := new(Allowlist)
	switch {
	case len(canonical) == 0:
	case len(canonical) <= maxSmall:
		l.rec = appendRecord(nil, "", canonical)
		l.rec = append(l.rec, make([]byte, recPad)...)
		l.labels = labelsOf(canonical)
	default:
		l.large = compileLarge(canonical, nil)
	}
	return l
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

// Len returns the number of entries.
func (l *Allowlist) Len() int {
	switch {
	case l == nil:
		return 0
	case l.large != nil:
		return len(l.large.prefixes)
	case l.rec == nil:
		return 0
	}
	return recEntries(l.rec)
}

// Contains reports whether an entry contains addr. An IPv4-mapped address is
// matched as IPv4 and a zone is ignored. The zero Addr is in no list.
//
// Contains allocates nothing.
func (l *Allowlist) Contains(addr netip.Addr) bool {
	switch {
	case l == nil || !addr.IsValid():
		return false
	case l.large != nil:
		return l.large.contains(newQuery(addr))
	}
	return l.rec != nil && matchRecord(l.rec, addr) == Allowed
}

// Lookup returns the most specific entry that contains addr; of equal
// entries the first.
//
// Lookup allocates nothing. It is slower than Contains.
func (l *Allowlist) Lookup(addr netip.Addr) (Entry, bool) {
	if l == nil || !addr.IsValid() {
		return Entry{}, false
	}
	addr = canon.Addr(addr)
	if l.large != nil {
		i, _ := l.large.lookup(addr)
		if i < 0 {
			return Entry{}, false
		}
		return l.large.entry(i), true
	}
	if l.rec == nil {
		return Entry{}, false
	}
	i, p := lookupSmall(l.rec, addr)
	if i < 0 {
		return Entry{}, false
	}
	e := Entry{Prefix: p}
	if l.labels != nil {
		e.Label = l.labels[i]
	}
	return e, true
}
