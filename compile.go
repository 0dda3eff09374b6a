package ipallow

import (
	"net/netip"

	"github.com/ipallow/ipallow/internal/canon"
	"github.com/ipallow/ipallow/internal/index"
)

// An Allowlist is a compiled list of entries. It is immutable; its methods
// may be called from any number of goroutines. The nil Allowlist and the
// zero one are empty.
//
// An Allowlist is a set of addresses and no more: Contains of an empty one
// is false. That a key without entries is unrestricted is for an [Engine] to
// say.
type Allowlist struct {
	table index.Table
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
	canonical := make([]index.Entry, 0, len(entries))
	for _, e := range entries {
		if p, ok := canon.Prefix(e.Prefix); ok {
			canonical = append(canonical, index.Entry{Prefix: p, Label: e.Label})
		}
	}
	return &Allowlist{index.Compile(canonical)}
}

// Len returns the number of entries.
func (l *Allowlist) Len() int {
	if l == nil {
		return 0
	}
	return l.table.Len()
}

// Contains reports whether an entry contains addr. An IPv4-mapped address is
// matched as IPv4 and a zone is ignored. The zero Addr is in no list.
//
// Contains allocates nothing.
func (l *Allowlist) Contains(addr netip.Addr) bool {
	return l != nil && l.table.Contains(addr)
}

// Lookup returns the most specific entry that contains addr; of equal
// entries the first.
//
// Lookup allocates nothing. It is slower than Contains.
func (l *Allowlist) Lookup(addr netip.Addr) (Entry, bool) {
	if l == nil || !addr.IsValid() {
		return Entry{}, false
	}
	e, ok := l.table.Lookup(canon.Addr(addr))
	return Entry(e), ok
}
