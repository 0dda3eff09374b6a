package main

import "slices"

func entryCases() []entryCase {
	return slices.Concat(
		formCases(), mappedCases(), hostBitCases(), zoneCases(),
		numberCases(), lengthCases(), decorationCases(), ipv6SyntaxCases(),
		limitCases(), rangeCases(), orderCases(), suggestCases(),
	)
}

func accept(name, entry, canonical, reason string) entryCase {
	return entryCase{Name: name, Reason: reason, Entry: entry, Want: entryWant{Canonical: canonical}}
}

func refuse(name, entry, code, reason string) entryCase {
	return entryCase{Name: name, Reason: reason, Entry: entry, Want: entryWant{Code: code}}
}

func (c entryCase) with(p policy) entryCase {
	c.Policy = p
	return c
}

// suggest is what may be written instead, or that there is nothing.
func (c entryCase) suggest(s ...string) entryCase {
	c.Want.Suggest = append([]string{}, s...)
	return c
}

// formCases are the four forms and their canonical text.
func formCases() []entryCase {
	return []entryCase{
		accept("form: ipv4 address", "203.0.113.5", "203.0.113.5/32", "a single IPv4 address is stored with length 32"),
		accept("form: ipv4 network", "203.0.113.0/24", "203.0.113.0/24", "an IPv4 network is stored as itself"),
		accept("form: ipv6 address", "2001:db8::1", "2001:db8::1/128", "a single IPv6 address is stored with length 128"),
		accept("form: ipv6 network", "2001:db8::/48", "2001:db8::/48", "an IPv6 network is stored as itself"),
		accept("form: ipv4 address with /32", "203.0.113.5/32", "203.0.113.5/32", "a network of full length is one address"),
		accept("form: ipv6 address with /128", "2001:db8::1/128", "2001:db8::1/128", "a network of full length is one address"),
		accept("form: ipv4 /31", "198.51.100.254/31", "198.51.100.254/31", "two addresses, the first even"),
		accept("form: ipv6 /127", "2001:db8::2/127", "2001:db8::2/127", "two addresses, the first even"),
		accept("form: ipv4 one digit each", "1.1.1.1", "1.1.1.1/32", "the shortest text of an IPv4 address"),
		accept("form: ipv4 three digits each", "198.100.200.155", "198.100.200.155/32", "the longest text of an IPv4 address"),
		accept("form: ipv4 zeros inside", "203.0.0.0", "203.0.0.0/32", "an address that ends in zeros is still a single address, not a network"),
		accept("form: ipv4 255 inside", "203.255.255.255", "203.255.255.255/32", "255 is a legal number; broadcast means nothing here"),
		accept("form: ipv6 ends in zeros", "2001:db8::", "2001:db8::/128", "without a length it is a single address, not a network"),
		accept("form: documentation 192.0.2.0/24", "192.0.2.0/24", "192.0.2.0/24", "documentation ranges are accepted"),
		accept("form: documentation 198.51.100.0/24", "198.51.100.0/24", "198.51.100.0/24", "documentation ranges are accepted"),
		accept("form: documentation 2001:db8::/33", "2001:db8::/33", "2001:db8::/33", "documentation ranges are accepted, within the limit on length"),

		accept("rfc5952: upper case", "2001:DB8::ABCD:EF", "2001:db8::abcd:ef/128", "canonical letters are lower case (RFC 5952, 4.3)"),
		accept("rfc5952: leading zeros in groups", "2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1/128", "leading zeros in IPv6 groups are legal and are dropped (4.1)"),
		accept("rfc5952: all groups written", "2001:db8:0:0:0:0:0:1", "2001:db8::1/128", "a run of zero groups is shortened as far as it goes (4.2.1)"),
		accept("rfc5952: shortened too little", "2001:db8:0::1", "2001:db8::1/128", "the double colon takes in the zero groups beside it (4.2.1)"),
		accept("rfc5952: one zero group", "2001:db8::3:4:5:6:7", "2001:db8:0:3:4:5:6:7/128", "a single zero group is not shortened (4.2.2)"),
		accept("rfc5952: one zero group at the end", "2001:db8:3:4:5:6:7::", "2001:db8:3:4:5:6:7:0/128", "the double colon may stand for one group in the input, not in the canonical text (4.2.2)"),
		accept("rfc5952: one zero group at the start", "::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8/128", "the same at the start (4.2.2)"),
		accept("rfc5952: longest run second", "2001:0:0:1:0:0:0:1", "2001:0:0:1::1/128", "the longest run is shortened (4.2.3)"),
		accept("rfc5952: longest run first", "2001:0:0:0:1:0:0:1", "2001::1:0:0:1/128", "the longest run is shortened (4.2.3)"),
		accept("rfc5952: equal runs", "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1/128", "of equal runs the first is shortened (4.2.3)"),
		accept("rfc5952: the later of equal runs shortened", "2001:db8:0:0:1::1", "2001:db8::1:0:0:1/128", "the writer chose the other run (4.2.3)"),
		accept("rfc5952: run at the end", "2001:db8:1:2:0:0:0:0/64", "2001:db8:1:2::/64", "the run is the last four groups"),
		accept("rfc5952: run at the start", "0:0:0:0:0:0:0:2", "::2/128", "the run is the first seven groups").with(policy{"allow_non_public": true}),
		accept("rfc5952: no zero group", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6/128", "nothing to shorten"),
		accept("rfc5952: zeros inside a group", "2001:db8::1000:10", "2001:db8::1000:10/128", "only leading zeros are dropped, not trailing ones"),
		accept("rfc5952: embedded ipv4", "2001:db8::192.0.2.33", "2001:db8::c000:221/128", "the last 32 bits may be written as IPv4 (RFC 4291, 2.2); canonical text is hexadecimal"),
		accept("rfc5952: embedded ipv4, full length", "2001:db8:0:0:0:0:192.0.2.33/128", "2001:db8::c000:221/128", "six groups and an IPv4 address"),
		accept("rfc5952: network, expanded", "2001:0DB8:0000::/48", "2001:db8::/48", "the address part of a network is rewritten too"),
		accept("rfc5952: longest text", "2001:0db8:ffff:ffff:ffff:ffff:255.255.255.255/128", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128", "a buffer for 39 or 45 characters is too small"),
	}
}

// mappedCases are IPv4-mapped addresses and their neighbours.
func mappedCases() []entryCase {
	return []entryCase{
		accept("mapped: dotted", "::ffff:203.0.113.5", "203.0.113.5/32", "the same thing as its IPv4 form"),
		accept("mapped: upper case", "::FFFF:203.0.113.5", "203.0.113.5/32", "letters have no case"),
		accept("mapped: hexadecimal", "::ffff:cb00:7105", "203.0.113.5/32", "a comparison of texts would miss it"),
		accept("mapped: expanded", "0:0:0:0:0:ffff:203.0.113.5", "203.0.113.5/32", "without the double colon"),
		accept("mapped: padded", "0000:0000:0000:0000:0000:ffff:cb00:7105", "203.0.113.5/32", "all digits written"),
		accept("mapped: /128", "::ffff:203.0.113.5/128", "203.0.113.5/32", "the length loses 96"),
		accept("mapped: /120", "::ffff:203.0.113.0/120", "203.0.113.0/24", "the length loses 96"),
		accept("mapped: /120 hexadecimal", "::ffff:cb00:7100/120", "203.0.113.0/24", "the length loses 96"),
		accept("mapped: /105", "::ffff:8.0.0.0/105", "8.0.0.0/9", "the shortest that the default limit on IPv4 lets pass"),
		refuse("mapped: /104", "::ffff:8.0.0.0/104", tooBroad, "an IPv4 /8; it must be unmapped before the limit is checked"),
		refuse("mapped: /96, all of IPv4", "::ffff:0:0/96", tooBroad, "looks narrower than /33 and is 0.0.0.0/0"),
		refuse("mapped: /96 dotted", "::ffff:0.0.0.0/96", tooBroad, "looks narrower than /33 and is 0.0.0.0/0"),
		accept("mapped: /96 where the policy lets it", "::ffff:0:0/96", "0.0.0.0/0", "96 is the shortest length that unmaps").with(policy{"min_bits4": 0}),
		refuse("mapped: /95", "::ffff:0:0/95", invalidSyntax, "a mapped network shorter than /96 is neither IPv4 nor anything a person means"),
		refuse("mapped: /33", "::ffff:0:0/33", invalidSyntax, "long enough for IPv6, but a mapped network shorter than /96"),
		refuse("mapped: /0", "::ffff:0:0/0", invalidSyntax, "a mapped network shorter than /96, even where /0 itself would be too broad"),
		refuse("mapped: ipv4 length", "::ffff:203.0.113.0/24", invalidSyntax, "the length counts from the start of the IPv6 address, so this is shorter than /96"),
		refuse("mapped: host bits", "::ffff:203.0.113.5/120", hostBitsSet, "host bits are judged after unmapping; both readings are IPv4").suggest("203.0.113.0/24", "203.0.113.5"),
		refuse("mapped: private", "::ffff:10.0.0.1", notPublic, "unmapped before the ranges are checked"),
		refuse("mapped: loopback in hexadecimal", "::ffff:7f00:1", notPublic, "unmapped before the ranges are checked"),
		refuse("mapped: private /104", "::ffff:10.0.0.0/104", notPublic, "an IPv4 /8, and not_public comes before too_broad"),
		refuse("mapped: length 129", "::ffff:203.0.113.5/129", invalidSyntax, "too long by one"),
		accept("mapped: the limit of ipv6 does not apply", "::ffff:8.0.0.0/105", "8.0.0.0/9", "it is IPv4, so only the limit on IPv4 counts").with(policy{"min_bits6": 128}),
		refuse("mapped: host bits in an earlier number", "::ffff:203.0.113.0/119", hostBitsSet, "an IPv4 /23 that begins at an odd third number").suggest("203.0.112.0/23", "203.0.113.0"),
		refuse("mapped: the limit of ipv4 applies", "::ffff:203.0.112.0/119", tooBroad, "an IPv4 /23 where /24 is the limit").with(policy{"min_bits4": 24}),
		accept("unmapped: one group below", "::fffe:203.0.113.5", "::fffe:cb00:7105/128", "the group before the last 32 bits must be ffff"),
		accept("unmapped: ffff one group earlier", "::ffff:0:203.0.113.5", "::ffff:0:cb00:7105/128", "the IPv4-translated form of RFC 2765 is not IPv4-mapped").with(policy{"allow_non_public": true}),
		accept("unmapped: a bit above", "::1:ffff:203.0.113.5", "::1:ffff:cb00:7105/128", "all of the first 80 bits must be zero"),
		accept("unmapped: right after the mapped range", "::1:0:0:0", "::1:0:0:0/128", "one after ::ffff:ffff:ffff"),
		accept("unmapped: right before the mapped range", "::fffe:ffff:ffff", "::fffe:ffff:ffff/128", "one before ::ffff:0:0"),
		accept("unmapped: network over the mapped range", "::/80", "::/80", "it does not begin as a mapped address does, so it is plain IPv6"),
	}
}

func hostBitCases() []entryCase {
	return []entryCase{
		refuse("host bits: ipv4 /24", "203.0.113.5/24", hostBitsSet, "either the network or the address was meant; both are offered").suggest("203.0.113.0/24", "203.0.113.5"),
		refuse("host bits: lowest bit", "203.0.113.1/31", hostBitsSet, "one bit is enough").suggest("203.0.113.0/31", "203.0.113.1"),
		refuse("host bits: highest host bit", "203.0.113.128/24", hostBitsSet, "the first bit after the length").suggest("203.0.113.0/24", "203.0.113.128"),
		refuse("host bits: inside a byte", "203.0.113.4/29", hostBitsSet, "the length ends inside a byte").suggest("203.0.113.0/29", "203.0.113.4"),
		refuse("host bits: in an earlier byte", "203.0.113.0/23", hostBitsSet, "the last byte is zero, the one before is not").suggest("203.0.112.0/23", "203.0.113.0"),
		refuse("host bits: ipv6 /64", "2001:db8::1/64", hostBitsSet, "as for IPv4").suggest("2001:db8::/64", "2001:db8::1"),
		refuse("host bits: ipv6 lowest bit", "2001:db8::1/127", hostBitsSet, "one bit is enough").suggest("2001:db8::/127", "2001:db8::1"),
		refuse("host bits: ipv6 /48 beside the boundary", "2001:db8:0:8000::/48", hostBitsSet, "the first bit after the length").suggest("2001:db8::/48", "2001:db8:0:8000::"),
		refuse("host bits: ipv6 /65", "2001:db8:0:0:4000::/65", hostBitsSet, "the first bit after a length that is beyond 64").suggest("2001:db8::/65", "2001:db8:0:0:4000::"),
		refuse("host bits: ipv6 written long", "2001:0DB8:0:0:0:0:0:00FF/120", hostBitsSet, "the readings are canonical text").suggest("2001:db8::/120", "2001:db8::ff"),
		accept("host bits: none, inside a byte", "203.0.113.8/29", "203.0.113.8/29", "the bit set is the last of the network"),
		accept("host bits: none, ipv6 /65", "2001:db8:0:0:8000::/65", "2001:db8:0:0:8000::/65", "the bit set is the last of the network"),
	}
}

func zoneCases() []entryCase {
	return []entryCase{
		refuse("zone: interface name", "fe80::1%eth0", zoneNotAllowed, "a zone means something on one machine only").suggest(),
		refuse("zone: interface number", "fe80::1%1", zoneNotAllowed, "numbers are zones too, and fe80::1 is suggested where the policy accepts it").with(policy{"allow_non_public": true}).suggest("fe80::1"),
		refuse("zone: with a length", "fe80::1%eth0/64", zoneNotAllowed, "split at the slash first: netip.ParseAddr takes eth0/64 for the zone; and the zone comes before the host bits"),
		refuse("zone: network", "fe80::%eth0/10", zoneNotAllowed, "the zone comes before too_broad and not_public"),
		refuse("zone: global address", "2001:db8::1%eth0", zoneNotAllowed, "also where the address is public").suggest("2001:db8::1"),
		refuse("zone: global network", "2001:db8::%eth0/48", zoneNotAllowed, "also where the network is public").suggest("2001:db8::/48"),
		refuse("zone: full length", "2001:db8::1%eth0/128", zoneNotAllowed, "a length of 128 changes nothing").suggest("2001:db8::1"),
		refuse("zone: loopback", "::1%lo", zoneNotAllowed, "the zone comes before not_public, and ::1 is not suggested, since the policy refuses it").suggest(),
		refuse("zone: multicast", "ff02::1%en0", zoneNotAllowed, "the zone comes before not_public").suggest(),
		refuse("zone: upper case address", "FE80::A%eth0", zoneNotAllowed, "the suggestion is canonical text").with(policy{"allow_non_public": true}).suggest("fe80::a"),
		refuse("zone: percent-encoded", "fe80::1%25eth0", zoneNotAllowed, "the URL form of RFC 6874 is a zone named 25eth0 here"),
		refuse("zone: length too long", "fe80::1%eth0/129", invalidSyntax, "invalid_syntax comes before the zone"),
		refuse("zone: length padded", "fe80::1%eth0/064", invalidSyntax, "invalid_syntax comes before the zone"),
		refuse("zone: length missing", "fe80::1%eth0/", invalidSyntax, "invalid_syntax comes before the zone"),
		refuse("zone: behind the length", "fe80::/64%eth0", invalidSyntax, "a length is digits; a zone stands before the slash (RFC 4007, 11.7)"),
		refuse("zone: empty", "fe80::1%", invalidSyntax, "a zone has one character at least (RFC 4007, 11.2)"),
		refuse("zone: on ipv4", "203.0.113.5%eth0", invalidSyntax, "IPv4 addresses have no zones (RFC 4007), so this is none of the forms"),
		refuse("zone: alone", "%eth0", invalidSyntax, "no address"),
		refuse("zone: in brackets", "[fe80::1%eth0]", invalidSyntax, "brackets make it invalid before the zone is looked at"),
		refuse("zone: behind a bad address", "fe80::g%eth0", invalidSyntax, "the address is not one"),
		refuse("zone: mapped network too short", "::ffff:203.0.113.0%eth0/95", invalidSyntax, "invalid_syntax comes before the zone"),
		refuse("zone: begins with white space", "fe80::1% eth0", zoneNotAllowed, "a zone is what the system calls the interface"),
		refuse("zone: of Windows", "fe80::1%Ethernet 2", zoneNotAllowed, "RFC 4007 leaves zones to the system, and Windows has spaces in them").suggest(),
		refuse("zone: of Hyper-V", "2001:db8::1%vEthernet (Default Switch)", zoneNotAllowed, "spaces and brackets that are round").suggest("2001:db8::1"),
		refuse("zone: a VLAN", "2001:db8::1%eth0.100", zoneNotAllowed, "a dot").suggest("2001:db8::1"),
		refuse("zone: beyond ASCII", "2001:db8::1%br\u00fccke", zoneNotAllowed, "any valid UTF-8").suggest("2001:db8::1"),
		refuse("zone: a replacement character", "2001:db8::1%\ufffd", zoneNotAllowed, "U+FFFD that was written is valid UTF-8").suggest("2001:db8::1"),
		refuse("zone: percent sign in it", "2001:db8::1%a%b", zoneNotAllowed, "the zone begins at the first percent sign").suggest("2001:db8::1"),
		refuse("zone: punctuation", `2001:db8::1%"a",<b>*`, zoneNotAllowed, "only control characters and brackets are no zone").suggest("2001:db8::1"),
		refuse("zone: white space only", "2001:db8::1% ", zoneNotAllowed, "one character is enough").suggest("2001:db8::1"),
		refuse("zone: colon in it", "2001:db8::1%a:b", zoneNotAllowed, "the address ends at the percent sign").suggest("2001:db8::1"),
		refuse("zone: line feed in it", "2001:db8::1%a\nb", invalidSyntax, "a control character (U+000A)"),
		refuse("zone: nul in it", "2001:db8::1%a\u0000", invalidSyntax, "a control character (U+0000)"),
		refuse("zone: delete in it", "2001:db8::1%a\u007fb", invalidSyntax, "a control character (U+007F)"),
		refuse("zone: next line in it", "2001:db8::1%a\u0085b", invalidSyntax, "a control character of the second block (U+0085)"),
		refuse("zone: opening bracket in it", "2001:db8::1%a[b", invalidSyntax, "brackets are around the address in URLs and peers"),
		refuse("zone: closing bracket in it", "2001:db8::1%a]b", invalidSyntax, "brackets are around the address in URLs and peers"),
		refuse("zone: 128 bytes in all", "2001:db8::1%"+times("z", 116), zoneNotAllowed, "exactly the limit on a text").suggest("2001:db8::1"),
		refuse("zone: 129 bytes in all", "2001:db8::1%"+times("z", 117), invalidSyntax, "one byte over the limit on a text"),
		refuse("zone: 128 bytes of two each", "2001:db8::1%"+times("\u00e9", 58), zoneNotAllowed, "the limit counts bytes").suggest("2001:db8::1"),
		refuse("zone: 130 bytes of two each", "2001:db8::1%"+times("\u00e9", 59), invalidSyntax, "the limit counts bytes, and there are 71 characters"),
		refuse("zone: network without it too broad", "2001:db8::%eth0/16", zoneNotAllowed, "what the policy refuses is not suggested").suggest(),
	}
}
