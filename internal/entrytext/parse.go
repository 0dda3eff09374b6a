package entrytext

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ipallow/ipallow/internal/canon"
)

// maxText is the length in bytes of the longest text that is read as an entry. The longest
// valid one has 49: an IPv4-mapped address with all digits written and a three-digit length. One
// with a zone, which is refused for its zone and with words, is longer.
const maxText = 128

// Parse reads an entry's text: the canonical prefix, or why it is none. It splits at the slash
// first and refuses zones itself, because netip.ParseAddr takes all that follows a % as the zone:
// "fe80::1%eth0/64" is an address with the zone "eth0/64" to it.
func Parse(s string) (netip.Prefix, *Refusal) {
	if len(s) > maxText {
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
	given := netip.PrefixFrom(addr, bits)
	if zoned {
		p, r := unmap(given)
		if r != nil {
			return netip.Prefix{}, r
		}
		masked, _ := canon.Prefix(p)
		return netip.Prefix{}, zoneRefused(s, masked)
	}
	return exact(given)
}

// Check is Parse for an entry that comes as a prefix.
func Check(given netip.Prefix) (netip.Prefix, *Refusal) {
	if !given.IsValid() {
		return given, badSyntax("it is not a valid prefix; " + fourForms)
	}
	return exact(given)
}

// exact returns the canonical form of a valid prefix that has no host bits.
func exact(given netip.Prefix) (netip.Prefix, *Refusal) {
	p, r := unmap(given)
	if r != nil {
		return p, r
	}
	if canonical, _ := canon.Prefix(p); canonical != p {
		return p, hostBitsSet(p, given.Bits())
	}
	return p, nil
}

func unmap(p netip.Prefix) (netip.Prefix, *Refusal) {
	p, ok := canon.Unmap(p)
	if !ok {
		return p, badSyntax(shortMapped)
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

// Text is a canonical prefix as a person would type it: a single
// address without its length.
func Text(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// zoneRefused is the refusal of the text s, which is p with a zone. A zone may be any text, so what
// looks like several entries, of which the first has a zone, is one too: all of them were meant.
func zoneRefused(s string, p netip.Prefix) *Refusal {
	r := &Refusal{
		Kind:     Zone,
		Reason:   "a zone names an interface of one machine and means nothing to others; write the address without it",
		Networks: []netip.Prefix{p},
	}
	for _, parts := range [][]string{strings.FieldsFunc(s, isSeparator), strings.Fields(s)} {
		if all := several(s, parts); all != nil {
			r.Networks = all.Networks
			break
		}
	}
	return r
}

// hostBitsSet is the refusal of the prefix p, which was written with the given length.
func hostBitsSet(p netip.Prefix, length int) *Refusal {
	masked, _ := canon.Prefix(p)
	return &Refusal{
		Kind: HostBits,
		Reason: "the address has bits set beyond the length /" + strconv.Itoa(length) +
			"; write the network, or the single address without a length",
		Networks: []netip.Prefix{masked, netip.PrefixFrom(p.Addr(), p.Addr().BitLen())},
		Either:   true,
	}
}
