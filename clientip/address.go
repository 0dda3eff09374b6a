package clientip

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ipallow/ipallow/internal/canon"
)

// maxAddrText is the length of the longest text of an IP address: IPv6 with
// all digits written and the last 32 bits in dotted decimal.
const maxAddrText = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")

// FromPeer returns the address of a TCP peer, given as [net/http] writes it
// in Request.RemoteAddr: an address with a port, "192.0.2.1:1234" or
// "[2001:db8::1]:1234". An address without a port is accepted too, since
// other frameworks give the peer that way.
//
// "", and all that begins with "@" or "/", is a unix socket:
// PeerWithoutAddress. Anything else is PeerUnreadable.
func FromPeer(remoteAddr string) Result {
	if remoteAddr == "" || remoteAddr[0] == '@' || remoteAddr[0] == '/' {
		return Result{Reason: PeerWithoutAddress}
	}
	addr, ok := parseAddrPort(remoteAddr)
	if !ok {
		return Result{Reason: PeerUnreadable}
	}
	return Result{Addr: addr, Reason: Found}
}

// readListElement reads an element of X-Forwarded-For or a single-value
// header. "unknown" is what some proxies write to hide the client.
func readListElement(s string) (netip.Addr, Reason) {
	s = trimSpace(s)
	if strings.IndexByte(s, ',') >= 0 {
		return netip.Addr{}, ElementUnreadable // also in a zone: it is two values joined
	}
	if addr, ok := parseAddrPort(s); ok {
		return addr, Found
	}
	if equalFold(s, "unknown") {
		return netip.Addr{}, ElementHidden
	}
	return netip.Addr{}, ElementUnreadable
}

// parseAddrPort reads an address, or an address with a port: IPv4, IPv4:port,
// IPv6, [IPv6] or [IPv6]:port. IPv6 without brackets has no port: two colons
// or more are all the address's own.
func parseAddrPort(s string) (netip.Addr, bool) {
	if s == "" {
		return netip.Addr{}, false
	}
	if s[0] == '[' {
		return parseBracketed(s, false)
	}
	host, port, hasPort := strings.Cut(s, ":")
	switch {
	case !hasPort:
		return parseIPv4(s)
	case strings.IndexByte(port, ':') >= 0:
		return parseIPv6(s)
	case !isPort(port):
		return netip.Addr{}, false
	}
	return parseIPv4(host)
}

// parseBracketed reads "[IPv6]" or "[IPv6]:port". RFC 7239, section 6.3
// allows an obfuscated port in Forwarded, and obfuscated says so.
func parseBracketed(s string, obfuscated bool) (netip.Addr, bool) {
	host, rest, ok := strings.Cut(s[1:], "]")
	if !ok {
		return netip.Addr{}, false
	}
	if rest != "" {
		if rest[0] != ':' || !isPort(rest[1:]) && !(obfuscated && isObfuscated(rest[1:])) {
			return netip.Addr{}, false
		}
	}
	return parseIPv6(host)
}

func parseIPv4(s string) (netip.Addr, bool) {
	if len(s) > len("255.255.255.255") {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(s)
	return addr, err == nil && addr.Is4()
}

// parseIPv6 drops the zone before it parses: netip interns zones, which a
// stranger's text must not fill.
func parseIPv6(s string) (netip.Addr, bool) {
	s, zone, zoned := strings.Cut(s, "%")
	if zoned && !isZone(zone) || len(s) > maxAddrText {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || !addr.Is6() {
		return netip.Addr{}, false
	}
	return canon.Addr(addr), true
}

// isZone reports whether s can be a zone. RFC 4007 leaves their names to the
// system, and Windows has "Ethernet 2": any UTF-8 without control characters,
// and without the brackets that are around an address with a zone and a port.
func isZone(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsAny(s, "[]") && !strings.ContainsFunc(s, unicode.IsControl)
}

// isPort reports whether s is a port: one to five digits (RFC 7239, section
// 6), at most 65535. Leading zeros are in that grammar.
func isPort(s string) bool {
	if s == "" || len(s) > 5 {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

// trimSpace drops optional white space (RFC 9110, section 5.6.3): spaces and
// tabs, nothing else. strings.TrimSpace would drop line ends and Unicode
// spaces too, and so read what is no address as one.
func trimSpace(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// equalFold compares s with the lower-case ASCII text lower, in any ASCII
// case. strings.EqualFold would take the Kelvin sign for the k of "unknown".
func equalFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
