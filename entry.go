package ipallow

import (
	"net/netip"

	"github.com/ipallow/ipallow/internal/canon"
	"github.com/ipallow/ipallow/internal/entrytext"
)

// An Entry is one line of an allowlist: a network, or a single address
// written as a network of full length, and a label for people.
//
// An entry is canonical when its prefix is masked (no host bits set) and is
// not an IPv4-mapped IPv6 prefix. [ParseEntry] and [Policy.ParseList] return
// canonical entries, and an [Engine] stores nothing else.
//
// The zero Entry has no valid prefix, matches nothing and passes no
// validation.
type Entry struct {
	Prefix netip.Prefix
	Label  string
}

// EntryText is an entry as a person or a program writes it, before parsing.
// Its JSON form, {"entry": "203.0.113.0/24", "label": "office"}, is that of
// the management API and of the command-line tool.
type EntryText struct {
	Entry string `json:"entry"`
	Label string `json:"label,omitempty"`
}

// ParseEntry reads one of the four text forms: an IPv4 address, an IPv4
// network in CIDR notation (RFC 4632, section 3.1), an IPv6 address (RFC
// 4291, section 2.2), or an IPv6 network (RFC 4291, section 2.3). The result
// is canonical: a single address has length 32 or 128, and the IPv4-mapped
// forms (RFC 4291, section 2.5.5.2) are IPv4.
//
// No policy is applied, neither to the entry (0.0.0.0/0 parses) nor to what the
// error suggests. The error is an [*EntryError] with Index 0 and the code
// [CodeInvalidSyntax], [CodeZoneNotAllowed] or [CodeHostBitsSet].
//
// ParseEntry allocates nothing unless it fails.
func ParseEntry(s string) (Entry, error) {
	p, r := entrytext.Parse(s)
	if r != nil {
		return Entry{}, (*Policy)(nil).fault(r, s)
	}
	return Entry{Prefix: p}, nil
}

// String returns the canonical text of the entry's prefix: CIDR notation,
// also for a single address, IPv6 as RFC 5952, section 4 wants it. The label
// is not part of it. The zero Entry gives "invalid Prefix".
func (e Entry) String() string {
	if p, ok := canon.Prefix(e.Prefix); ok {
		return p.String()
	}
	return e.Prefix.String()
}
