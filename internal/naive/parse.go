// Package naive is the slow, obvious implementation of everything that the
// engine does: entries are read letter by letter, lists are loops, an engine
// is a map. Tests and fuzzers compare the real engine with it.
//
// It imports nothing of the project and shares no helper with it, so that a
// fault in the engine's canonical form cannot hide in a fault of the same
// helper here.
package naive

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// The codes of faults, by their names in the specification.
const (
	OK             = ""
	InvalidSyntax  = "invalid_syntax"
	Zone           = "zone_not_allowed"
	HostBits       = "host_bits_set"
	TooBroad       = "too_broad"
	NotPublic      = "not_public"
	Duplicate      = "duplicate"
	TooManyEntries = "too_many_entries"
	LabelTooLong   = "label_too_long"
	LabelInvalid   = "label_invalid"
)

// MaxText is the length in bytes of the longest text that is read at all.
const MaxText = 128

// Parse reads an entry's text. It returns the canonical prefix and OK, or
// the first code that fits.
func Parse(text string) (netip.Prefix, string) {
	var none netip.Prefix
	if len(text) > MaxText || strings.Count(text, "/") > 1 {
		return none, InvalidSyntax
	}
	addrText, lengthText := text, ""
	slash := strings.Index(text, "/")
	if slash >= 0 {
		addrText, lengthText = text[:slash], text[slash+1:]
	}

	zoned := strings.Contains(addrText, "%")
	if zoned {
		percent := strings.Index(addrText, "%")
		zone := addrText[percent+1:]
		addrText = addrText[:percent]
		if zone == "" || !strings.Contains(addrText, ":") {
			return none, InvalidSyntax
		}
		for i, r := range zone {
			_, size := utf8.DecodeRuneInString(zone[i:])
			switch {
			case r == utf8.RuneError && size == 1, // not UTF-8
				r < 0x20, r >= 0x7f && r < 0xa0, // control characters
				r == '[', r == ']':
				return none, InvalidSyntax
			}
		}
	}

	var addr netip.Addr
	var ok bool
	if strings.Contains(addrText, ":") {
		addr, ok = parse6(addrText)
	} else {
		addr, ok = parse4(addrText)
	}
	if !ok {
		return none, InvalidSyntax
	}

	longest := len(addr.AsSlice()) * 8
	length := longest
	if slash >= 0 {
		if length, ok = parseNumber(lengthText, longest); !ok {
			return none, InvalidSyntax
		}
	}
	if v4, mapped := unmap(addr); mapped {
		if length < 96 {
			return none, InvalidSyntax
		}
		addr, length = v4, length-96
	}
	if zoned {
		return none, Zone
	}
	if clearHostBits(addr, length) != addr {
		return none, HostBits
	}
	return netip.PrefixFrom(addr, length), OK
}

// parseNumber reads a decimal number without sign or leading zero.
func parseNumber(s string, limit int) (int, bool) {
	if s == "" || len(s) > 3 || s != "0" && s[0] == '0' {
		return 0, false
	}
	n := 0
	for _, r := range s {
		if r < '0' || r > '9' {
			return 0, false
		}
		n = 10*n + int(r-'0')
	}
	return n, n <= limit
}

// parse4 reads four decimal numbers with dots between them.
func parse4(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	var b [4]byte
	for i, part := range parts {
		n, ok := parseNumber(part, 255)
		if !ok {
			return netip.Addr{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}

// parse6 reads RFC 4291, section 2.2: eight groups of up to four hexadecimal
// digits, one run of groups of zeros left out as "::", and the last two
// groups written as an IPv4 address if the writer likes.
func parse6(s string) (netip.Addr, bool) {
	var none netip.Addr
	if strings.Count(s, "::") > 1 || strings.Contains(s, ":::") {
		return none, false
	}
	left, right, short := strings.Cut(s, "::")
	head, ok := groups(left, !short)
	if !ok {
		return none, false
	}
	tail, ok := groups(right, true)
	if !ok {
		return none, false
	}
	n := len(head) + len(tail)
	if short && n > 14 || !short && n != 16 {
		return none, false
	}
	var b [16]byte
	copy(b[:], head)
	copy(b[16-len(tail):], tail)
	return netip.AddrFrom16(b), true
}

// groups reads groups with colons between them; last says that the final one
// may be an IPv4 address. No text is no groups.
func groups(s string, last bool) ([]byte, bool) {
	if s == "" {
		return nil, true
	}
	var b []byte
	parts := strings.Split(s, ":")
	for i, part := range parts {
		if last && i == len(parts)-1 && strings.Contains(part, ".") {
			v4, ok := parse4(part)
			return append(b, v4.AsSlice()...), ok
		}
		if len(part) < 1 || len(part) > 4 {
			return nil, false
		}
		n := 0
		for _, r := range strings.ToLower(part) {
			d := strings.IndexRune("0123456789abcdef", r)
			if d < 0 {
				return nil, false
			}
			n = 16*n + d
		}
		b = append(b, byte(n>>8), byte(n))
	}
	return b, true
}

// unmap returns the IPv4 address in ::ffff:0:0/96, byte by byte.
func unmap(a netip.Addr) (netip.Addr, bool) {
	if a.Is4() || !a.IsValid() {
		return a, false
	}
	b := a.As16()
	for i := range 10 {
		if b[i] != 0 {
			return a, false
		}
	}
	if b[10] != 0xff || b[11] != 0xff {
		return a, false
	}
	return netip.AddrFrom4([4]byte(b[12:])), true
}

// clearHostBits sets all bits behind the first length to 0, one by one.
func clearHostBits(a netip.Addr, length int) netip.Addr {
	b := a.AsSlice()
	for i := length; i < 8*len(b); i++ {
		b[i/8] &^= 0x80 >> (i % 8)
	}
	cleared, _ := netip.AddrFromSlice(b)
	return cleared
}

// Canonical is the form in which a prefix is stored: masked, IPv4 where it
// is IPv4-mapped. It reports false for a prefix that is not valid.
func Canonical(p netip.Prefix) (netip.Prefix, bool) {
	if !p.IsValid() {
		return p, false
	}
	addr, length := p.Addr(), p.Bits()
	if v4, mapped := unmap(addr); mapped && length >= 96 {
		addr, length = v4, length-96
	}
	return netip.PrefixFrom(clearHostBits(addr, length), length), true
}

// CanonicalAddr is the form in which a client address is matched: without a
// zone, IPv4 where it is IPv4-mapped.
func CanonicalAddr(a netip.Addr) netip.Addr {
	if !a.IsValid() || a.Is4() {
		return a
	}
	a = netip.AddrFrom16(a.As16())
	if v4, mapped := unmap(a); mapped {
		return v4
	}
	return a
}
