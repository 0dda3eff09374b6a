package ipallow

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
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

// maxEntryText is the length in bytes of the longest text that is read as an entry. The longest
// valid one has 49: an IPv4-mapped address with all digits written and a three-digit length. One
// with a zone, which is refused for its zone and with words, is longer.
const maxEntryText = 128

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
	p, r := parsePrefix(s)
	if r != nil {
		return Entry{}, r.fault(s, nil)
	}
	return Entry{Prefix: p}, nil
}

// String returns the canonical text of the entry's prefix: CIDR notation,
// also for a single address, IPv6 as RFC 5952, section 4 wants it. The label
// is not part of it. The zero Entry gives "invalid Prefix".
func (e Entry) String() string {
	if p, ok := canonicalPrefix(e.Prefix); ok {
		return p.String()
	}
	return e.Prefix.String()
}

// canonicalPrefix is the one place where a prefix gets the form that entries
// are stored and matched in: masked, and IPv4 where it is IPv4-mapped.
//
// A prefix that begins inside ::ffff:0:0/96 but is shorter than /96 is not
// an IPv4 network; it stays IPv6 here, and validation refuses it.
func canonicalPrefix(p netip.Prefix) (netip.Prefix, bool) {
	if !p.IsValid() {
		return p, false
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

// canonicalAddr is the form in which a client address is matched: IPv4 where
// it is IPv4-mapped, and without a zone.
func canonicalAddr(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	return a.Unmap().WithZone("")
}

// comparePrefixes orders canonical prefixes by address and then by length, so
// that a prefix stands behind all that cover it.
func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// parsePrefix reads an entry's text. It splits at the slash first and refuses
// zones itself, because netip.ParseAddr takes all that follows a % as the
// zone: "fe80::1%eth0/64" is an address with the zone "eth0/64" to it.
func parsePrefix(s string) (netip.Prefix, *refusal) {
	if len(s) > maxEntryText {
		return netip.Prefix{}, explainSyntax(s)
	}
	text, length, isNet := strings.Cut(s, "/")
	bare, zone, zoned := strings.Cut(text, "%")
	addr, err := netip.ParseAddr(bare)
	if err != nil || zoned && (!addr.Is6() || !isZone(zone)) {
		return netip.Prefix{}, explainSyntax(s)
	}
	bits := addr.BitLen()
	if isNet {
		n, ok := parseLength(length)
		if !ok || n > bits {
			return netip.Prefix{}, explainSyntax(s)
		}
		bits = n
	}
	p := netip.PrefixFrom(addr, bits)
	if addr.Is4In6() {
		if bits < 96 {
			return netip.Prefix{}, badSyntax(shortMapped)
		}
		p = netip.PrefixFrom(addr.Unmap(), bits-96)
	}
	if zoned {
		return netip.Prefix{}, zoneRefused(s, p.Masked())
	}
	if m := p.Masked(); m != p {
		return netip.Prefix{}, hostBitsSet(p, bits)
	}
	return p, nil
}

const shortMapped = "an IPv4-mapped network needs a length of /96 or longer"

// parseLength reads a prefix length as RFC 4632 writes it: decimal digits
// only, no sign, no leading zero.
func parseLength(s string) (int, bool) {
	if s == "" || len(s) > 3 || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// isZone reports whether z can be a zone, so that an address with it is well-formed and merely
// not wanted. RFC 4007 leaves zones to the system: there are "eth0.100" and "vEthernet (Default
// Switch)". Brackets are around addresses with zones in URLs and peers.
func isZone(z string) bool {
	return z != "" && utf8.ValidString(z) && !strings.ContainsAny(z, "[]") && !strings.ContainsFunc(z, unicode.IsControl)
}

// entryText is a canonical prefix as a person would type it: a single
// address without its length.
func entryText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// zoneRefused is the refusal of the text s, which is p with a zone. A zone may be any text, so what
// looks like several entries, of which the first has a zone, is one too: all of them were meant.
func zoneRefused(s string, p netip.Prefix) *refusal {
	r := &refusal{
		code:     CodeZoneNotAllowed,
		reason:   "a zone names an interface of one machine and means nothing to others; write the address without it",
		networks: []netip.Prefix{p},
	}
	for _, parts := range [][]string{strings.FieldsFunc(s, isSeparator), strings.Fields(s)} {
		if all := several(s, parts); all != nil {
			r.networks = all.networks
			break
		}
	}
	return r
}

// hostBitsSet is the refusal of the prefix p, which was written with the given length.
func hostBitsSet(p netip.Prefix, length int) *refusal {
	return &refusal{
		code: CodeHostBitsSet,
		reason: "the address has bits set beyond the length /" + strconv.Itoa(length) +
			"; write the network, or the single address without a length",
		networks: []netip.Prefix{p.Masked(), netip.PrefixFrom(p.Addr(), p.Addr().BitLen())},
		either:   true,
	}
}
