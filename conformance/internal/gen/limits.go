package main

// limitCases are the limits on length, at, below and above.
func limitCases() []entryCase {
	return []entryCase{
		refuse("limit: ipv4 /8", "8.0.0.0/8", tooBroad, "shorter than /9 by one"),
		accept("limit: ipv4 /9", "8.0.0.0/9", "8.0.0.0/9", "exactly the limit"),
		accept("limit: ipv4 /10", "8.0.0.0/10", "8.0.0.0/10", "longer than the limit by one"),
		refuse("limit: ipv4 /1", "128.0.0.0/1", tooBroad, "half of IPv4"),
		refuse("limit: ipv4 /0", "0.0.0.0/0", tooBroad, "everybody"),
		refuse("limit: ipv6 /32", "2001:db8::/32", tooBroad, "shorter than /33 by one; that it is for documentation does not help"),
		accept("limit: ipv6 /33", "2400::/33", "2400::/33", "exactly the limit"),
		accept("limit: ipv6 /34", "2400::/34", "2400::/34", "longer than the limit by one"),
		refuse("limit: ipv6 /32 elsewhere", "2400::/32", tooBroad, "shorter than /33 by one"),
		refuse("limit: ipv6 /1", "8000::/1", tooBroad, "half of IPv6"),
		refuse("limit: ipv6 /0", "::/0", tooBroad, "everybody; it does not begin as a mapped address does"),
		refuse("limit: ipv4 /16 under a limit of 17", "198.51.0.0/16", tooBroad, "shorter by one").with(policy{"min_bits4": 17}),
		accept("limit: ipv4 /17 under a limit of 17", "198.51.0.0/17", "198.51.0.0/17", "exactly the limit").with(policy{"min_bits4": 17}),
		accept("limit: ipv4 /32 under a limit of 32", "198.51.100.7", "198.51.100.7/32", "single addresses only").with(policy{"min_bits4": 32}),
		refuse("limit: ipv4 /31 under a limit of 32", "198.51.100.6/31", tooBroad, "single addresses only").with(policy{"min_bits4": 32}),
		accept("limit: ipv4 /8 under a limit of 8", "8.0.0.0/8", "8.0.0.0/8", "the policy can be widened").with(policy{"min_bits4": 8}),
		accept("limit: ipv4 /0 under a limit of 0", "0.0.0.0/0", "0.0.0.0/0", "widened to everybody; 0.0.0.0/0 is not wholly inside a range that is not public").with(policy{"min_bits4": 0}),
		refuse("limit: ipv6 /47 under a limit of 48", "2001:db8::/47", tooBroad, "shorter by one").with(policy{"min_bits6": 48}),
		accept("limit: ipv6 /48 under a limit of 48", "2001:db8::/48", "2001:db8::/48", "exactly the limit").with(policy{"min_bits6": 48}),
		accept("limit: ipv6 /32 under a limit of 32", "2001:db8::/32", "2001:db8::/32", "the policy can be widened, and documentation ranges are accepted").with(policy{"min_bits6": 32}),
		accept("limit: ipv6 /0 under a limit of 0", "::/0", "::/0", "widened to everybody").with(policy{"min_bits6": 0}),
		accept("limit: ipv6 unaffected by that of ipv4", "2400::/33", "2400::/33", "the limits are two").with(policy{"min_bits4": 32}),
		accept("limit: ipv4 unaffected by that of ipv6", "8.0.0.0/9", "8.0.0.0/9", "the limits are two").with(policy{"min_bits6": 128}),
		refuse("limit: ipv6 /127 under a limit of 128", "2001:db8::/127", tooBroad, "single addresses only").with(policy{"min_bits6": 128}),
	}
}

// orderCases fit several codes; the first of the order is reported.
func orderCases() []entryCase {
	return []entryCase{
		refuse("order: host bits before too broad", "8.0.0.1/8", hostBitsSet, "host_bits_set comes before too_broad, and 8.0.0.0/8 is not suggested, since the policy refuses it").suggest("8.0.0.1"),
		refuse("order: host bits before not public", "192.168.1.1/24", hostBitsSet, "host_bits_set comes before not_public, and neither reading is suggested").suggest(),
		refuse("order: host bits before both", "10.0.0.1/8", hostBitsSet, "host_bits_set comes before not_public and too_broad").suggest(),
		refuse("order: host bits before too broad, /0", "203.0.113.5/0", hostBitsSet, "host_bits_set comes before too_broad").suggest("203.0.113.5"),
		refuse("order: host bits before too broad, ipv6", "2001:db8::1/32", hostBitsSet, "host_bits_set comes before too_broad").suggest("2001:db8::1"),
		refuse("order: host bits before not public, ipv6", "fe80::1/64", hostBitsSet, "host_bits_set comes before not_public").suggest(),
		refuse("order: loopback /0", "::1/0", hostBitsSet, "host_bits_set comes before too_broad; ::1 is the bit set").suggest(),
		refuse("order: not public before too broad, 10/8", "10.0.0.0/8", notPublic, "private before it is large"),
		refuse("order: not public before too broad, 127/8", "127.0.0.0/8", notPublic, "loopback before it is large"),
		refuse("order: not public before too broad, 224/4", "224.0.0.0/4", notPublic, "multicast before it is large"),
		refuse("order: not public before too broad, fc00::/7", "fc00::/7", notPublic, "unique local before it is large"),
		refuse("order: not public before too broad, fe80::/10", "fe80::/10", notPublic, "link-local before it is large"),
		refuse("order: half public is too broad, 10/7", "10.0.0.0/7", tooBroad, "11.0.0.0/8 is public, so only its size is wrong"),
		refuse("order: half public is too broad, fc00::/6", "fc00::/6", tooBroad, "fe00::/9 is not among the ranges"),
		refuse("order: syntax before host bits", "203.0.113.5/024", invalidSyntax, "invalid_syntax comes first"),
		refuse("order: syntax before not public", "10.0.0.01", invalidSyntax, "invalid_syntax comes first"),
		refuse("order: zone before host bits, too broad and not public", "fe80::1%eth0/9", zoneNotAllowed, "zone_not_allowed comes second"),
	}
}
