package ipallow

import (
	"math/bits"
	"net/netip"
	"strings"
)

// What suggestions are made of, and the check that one can be entered.

// checked returns the suggestion if it can be entered as it stands, else "".
func checked(suggestion string) string {
	if len(suggestion) > maxEntryText {
		return ""
	}
	p, fault := parsePrefixPlain(suggestion)
	if !fault {
		return ""
	}
	return entryText(p)
}

// parsePrefixPlain is parsePrefix without the search for words, which would
// call back into this file.
func parsePrefixPlain(s string) (netip.Prefix, bool) {
	text, length, isNet := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, false
	}
	n := addr.BitLen()
	if isNet {
		var ok bool
		if n, ok = parseLength(length); !ok || n > addr.BitLen() {
			return netip.Prefix{}, false
		}
	}
	if addr.Is4In6() && n < 96 {
		return netip.Prefix{}, false
	}
	p, _ := canonicalPrefix(netip.PrefixFrom(addr, n))
	return p, p.Addr() == addr.Unmap()
}

// maskedText is the network of the given length around addr.
func maskedText(addr string, n int) string {
	a, err := netip.ParseAddr(addr)
	if err != nil || n > a.BitLen() {
		return ""
	}
	return netip.PrefixFrom(a, n).Masked().String()
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// maskLength returns the length that a netmask, or an inverted one as access
// lists of routers have it, stands for.
func maskLength(mask string) (int, bool) {
	a, err := netip.ParseAddr(mask)
	if err != nil || !a.Is4() {
		return 0, false
	}
	b := a.As4()
	m := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	if m>>31 == 0 && m != 0 {
		m = ^m
	}
	n := bits.LeadingZeros32(^m)
	return n, m<<n == 0
}

// lastAddr is the highest address in p.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
