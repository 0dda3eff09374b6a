package ipallow

import "net/netip"

// nonPublicRanges are the addresses that can never be a client's public
// address, from the IANA special-purpose registries (RFC 6890). The
// documentation ranges of RFC 5737 and RFC 3849 are not among them, so that
// examples can be typed as they stand. The table is never written.
var nonPublicRanges = [...]struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), `an address of "this network" (RFC 791, section 3.2)`},
	{netip.MustParsePrefix("10.0.0.0/8"), "private address space (RFC 1918)"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared address space of carriers (RFC 6598)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback (RFC 1122, section 3.2.1.3)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local (RFC 3927)"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private address space (RFC 1918)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private address space (RFC 1918)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved (RFC 1112, section 4)"},
	// The two above are neighbours; a prefix over both is in neither.
	{netip.MustParsePrefix("224.0.0.0/3"), "multicast and reserved space (RFC 5771; RFC 1112, section 4)"},
	{netip.MustParsePrefix("::/128"), "the unspecified address (RFC 4291, section 2.5.2)"},
	{netip.MustParsePrefix("::1/128"), "loopback (RFC 4291, section 2.5.3)"},
	{netip.MustParsePrefix("::/127"), "the unspecified address and loopback (RFC 4291, section 2.5)"},
	{netip.MustParsePrefix("fc00::/7"), "unique local address space (RFC 4193)"},
	{netip.MustParsePrefix("fe80::/10"), "link-local (RFC 4291, section 2.5.6)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast (RFC 4291, section 2.7)"},
}

// nonPublic returns what the canonical prefix p is part of, or "" if some
// address in it may be a client's public address.
func nonPublic(p netip.Prefix) string {
	for i := range nonPublicRanges {
		r := &nonPublicRanges[i]
		if r.prefix.Bits() <= p.Bits() && r.prefix.Contains(p.Addr()) {
			return r.what
		}
	}
	return ""
}
