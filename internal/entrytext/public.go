package entrytext

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ipallow/ipallow/internal/canon"
)

// nonPublicRanges are the addresses that can never be a client's public address, from the IANA
// special-purpose registries (RFC 6890), and the prefixes in which translators put IPv4 addresses.
// Not among them are the documentation ranges (RFC 5737, RFC 3849, RFC 9637), so that examples can
// be typed as they stand, nor 6to4, Teredo and AS112. The table is never written.
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
	{netip.MustParsePrefix("192.0.0.0/24"), "address space for protocol assignments (RFC 6890, section 2.1)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private address space (RFC 1918)"},
	{netip.MustParsePrefix("198.18.0.0/15"), "address space for benchmarks (RFC 2544, appendix C.2.2)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved (RFC 1112, section 4)"},
	{netip.MustParsePrefix("::/128"), "the unspecified address (RFC 4291, section 2.5.2)"},
	{netip.MustParsePrefix("::1/128"), "loopback (RFC 4291, section 2.5.3)"},
	{netip.MustParsePrefix("::/96"), "the IPv4-compatible form of IPv4 (RFC 4291, section 2.5.5.1)"},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), "the IPv4-translated form of IPv4 (RFC 7915, section 2)"},
	{netip.MustParsePrefix("64:ff9b::/96"), "IPv4 behind a translator (RFC 6052, section 2.1)"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "IPv4 behind a local translator (RFC 8215)"},
	{netip.MustParsePrefix("100::/64"), "address space for discarding (RFC 6666)"},
	{netip.MustParsePrefix("2001:2::/48"), "address space for benchmarks (RFC 5180, section 8)"},
	{netip.MustParsePrefix("5f00::/16"), "address space for segment routing (RFC 9602)"},
	{netip.MustParsePrefix("fc00::/7"), "unique local address space (RFC 4193)"},
	{netip.MustParsePrefix("fe80::/10"), "link-local (RFC 4291, section 2.5.6)"},
	{netip.MustParsePrefix("fec0::/10"), "site-local (RFC 3879)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast (RFC 4291, section 2.7)"},
}

// carriers are the ranges that carry IPv4. In the last one RFC 6052, section 2.2, allows lengths
// other than /96.
var carriers = [...]netip.Prefix{
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("::ffff:0:0:0/96"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
}

// nonPublicSpans are the ranges as first and last addresses, in order, those side by side joined:
// a network over several of them is in none of them and all the same not public.
var nonPublicSpans = func() (spans [][2]netip.Addr) {
	ranges := slices.Clone(nonPublicRanges[:])
	slices.SortFunc(ranges, func(a, b struct {
		prefix netip.Prefix
		what   string
	}) int {
		return canon.Compare(a.prefix, b.prefix)
	})
	for _, r := range ranges {
		first, last := r.prefix.Addr(), canon.Last(r.prefix)
		if n := len(spans); n > 0 && first.BitLen() == spans[n-1][1].BitLen() && first.Compare(spans[n-1][1].Next()) <= 0 {
			if spans[n-1][1].Less(last) {
				spans[n-1][1] = last
			}
			continue
		}
		spans = append(spans, [2]netip.Addr{first, last})
	}
	return spans
}()

// NonPublic reports whether no address in the canonical prefix p can be a client's public address.
func NonPublic(p netip.Prefix) bool {
	first := p.Addr()
	i, found := slices.BinarySearchFunc(nonPublicSpans, first, func(s [2]netip.Addr, a netip.Addr) int { return s[0].Compare(a) })
	if !found {
		i--
	}
	return i >= 0 && !nonPublicSpans[i][1].Less(first) && !nonPublicSpans[i][1].Less(canon.Last(p))
}

// NonPublicName says what the prefix p, which is not public, is part of or made of.
func NonPublicName(p netip.Prefix) string {
	var parts []string
	for _, r := range nonPublicRanges {
		if r.prefix.Bits() <= p.Bits() && r.prefix.Contains(p.Addr()) {
			return r.what
		}
		if p.Overlaps(r.prefix) {
			parts = append(parts, r.what)
		}
	}
	return strings.Join(parts, " and ")
}

// Carried returns the IPv4 network that the canonical IPv6 prefix p carries: in the last 32 bits
// (RFC 4291, section 2.5.5.1; RFC 7915, section 2; RFC 6052, section 2.1), or, in the prefix for
// local use (RFC 8215), around the bits 64 to 71 (RFC 6052, section 2.2, /48).
func Carried(p netip.Prefix) (netip.Prefix, bool) {
	b := p.Addr().As16()
	if local := carriers[len(carriers)-1]; local.Contains(p.Addr()) && p.IsSingleIP() &&
		b[6]|b[7] != 0 && b[8] == 0 && [5]byte(b[11:]) == [5]byte{} {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}), 32), true
	}
	for _, c := range carriers {
		if c.Contains(p.Addr()) && p.Bits() >= 96 {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[12:])), p.Bits()-96), true
		}
	}
	return netip.Prefix{}, false
}
