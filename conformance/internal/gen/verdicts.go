package main

import (
	"fmt"
	"slices"
)

func verdictCases() []verdictCase {
	return slices.Concat(
		unrestrictedCases(), plainCases(), familyCases(), clientZoneCases(),
		specificCases(), longListCases(), edgeCases(),
	)
}

func allow(name, reason string, entries []text, address string, index int, entry string) verdictCase {
	return verdictCase{Name: name, Reason: reason, Entries: entries, Address: address,
		Want: verdictWant{Verdict: allowed, Match: &match{Index: index, Entry: entry, Label: entries[index].Label}}}
}

func deny(name, reason string, entries []text, address string) verdictCase {
	return verdictCase{Name: name, Reason: reason, Entries: entries, Address: address, Want: verdictWant{Verdict: denied}}
}

func open(name, reason, address string) verdictCase {
	return verdictCase{Name: name, Reason: reason, Entries: []text{}, Address: address, Want: verdictWant{Verdict: unrestricted}}
}

func (c verdictCase) with(p policy) verdictCase {
	c.Policy = p
	return c
}

func unrestrictedCases() []verdictCase {
	return []verdictCase{
		open("unrestricted: ipv4", "an empty list restricts nothing", "203.0.113.5"),
		open("unrestricted: ipv6", "an empty list restricts nothing", "2001:db8::1"),
		open("unrestricted: no address", "any client address, and none at all", ""),
		open("unrestricted: mapped", "any client address", "::ffff:203.0.113.5"),
		open("unrestricted: zone", "any client address", "fe80::1%eth0"),
		open("unrestricted: private", "which entries are public says nothing about clients", "10.0.0.1"),
	}
}

func plainCases() []verdictCase {
	office := []text{{Entry: "203.0.113.0/24", Label: "office"}}
	single := texts("203.0.113.5")
	return []verdictCase{
		allow("plain: address", "the entry itself", single, "203.0.113.5", 0, "203.0.113.5/32"),
		deny("plain: another address", "no entry matches", single, "203.0.113.6"),
		allow("plain: in the network, with label", "the match has its label", office, "203.0.113.77", 0, "203.0.113.0/24"),
		deny("plain: outside the network", "no entry matches", office, "203.0.112.77"),
		deny("plain: no address", "the client address is unknown, and the key has a list", office, ""),
		deny("plain: no address, everything listed", "no address is in no list, be it 0.0.0.0/0 and ::/0", texts("0.0.0.0/0", "::/0"), "").with(policy{"min_bits4": 0, "min_bits6": 0}),
		deny("plain: 0.0.0.0 is an address", "it matches as any other, and here nothing does", single, "0.0.0.0"),
		deny("plain: :: is an address", "it matches as any other, and here nothing does", single, "::"),
		deny("plain: byte order", "the address with its bytes turned round", texts("1.2.3.4"), "4.3.2.1"),
		allow("plain: second entry", "any entry may match", texts("198.51.100.0/24", "203.0.113.0/24"), "203.0.113.5", 1, "203.0.113.0/24"),
		allow("plain: last of twenty", "all entries are looked at", hosts(20, ""), "198.51.100.20", 19, "198.51.100.20/32"),
		allow("plain: first of twenty", "all entries are looked at", hosts(20, ""), "198.51.100.1", 0, "198.51.100.1/32"),
		deny("plain: none of twenty", "all entries are looked at", hosts(20, ""), "198.51.100.21"),
		deny("plain: before all of twenty", "all entries are looked at", hosts(20, ""), "198.51.100.0"),
		deny("plain: between two entries", "a gap of one address", texts("203.0.113.4", "203.0.113.6"), "203.0.113.5"),
		allow("plain: high addresses", "the first bit is set; a signed comparison fails", texts("127.255.255.0/24", "200.0.0.0/9"), "200.127.255.255", 1, "200.0.0.0/9").with(policy{"allow_non_public": true}),
		deny("plain: high address over a low network", "the first bit is set; a signed comparison fails", texts("8.0.0.0/9"), "136.0.0.1"),
		allow("plain: last ipv4 address", "the distance to the end is zero", texts("255.255.255.255"), "255.255.255.255", 0, "255.255.255.255/32").with(policy{"allow_non_public": true}),
		allow("plain: last ipv6 address", "the distance to the end is zero", texts("ffff::/33", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128").with(policy{"allow_non_public": true}),
		allow("plain: everything in ipv4, first", "0.0.0.0/0 holds 0.0.0.0", texts("0.0.0.0/0"), "0.0.0.0", 0, "0.0.0.0/0").with(policy{"min_bits4": 0}),
		allow("plain: everything in ipv4, last", "0.0.0.0/0 holds 255.255.255.255", texts("0.0.0.0/0"), "255.255.255.255", 0, "0.0.0.0/0").with(policy{"min_bits4": 0}),
		allow("plain: everything in ipv6, first", "::/0 holds ::", texts("::/0"), "::", 0, "::/0").with(policy{"min_bits6": 0}),
		allow("plain: everything in ipv6, last", "::/0 holds the last address", texts("::/0"), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0, "::/0").with(policy{"min_bits6": 0}),
		allow("plain: private client where private is listed", "a server inside a private network", texts("10.0.0.0/9"), "10.20.30.40", 0, "10.0.0.0/9").with(policy{"allow_non_public": true}),
		deny("plain: loopback is not let in of itself", "no address is exempt", single, "127.0.0.1"),
		deny("plain: ipv6 loopback is not let in of itself", "no address is exempt", single, "::1"),
	}
}

func familyCases() []verdictCase {
	v4 := texts("203.0.113.0/24")
	six := policy{"min_bits6": 0}
	return []verdictCase{
		allow("family: mapped client", "a client address in IPv4-mapped form is matched as IPv4", v4, "::ffff:203.0.113.5", 0, "203.0.113.0/24"),
		allow("family: mapped client in hexadecimal", "the same address", v4, "::ffff:cb00:7105", 0, "203.0.113.0/24"),
		allow("family: mapped client, expanded", "the same address", v4, "0:0:0:0:0:ffff:cb00:7105", 0, "203.0.113.0/24"),
		deny("family: mapped client elsewhere", "matched as IPv4, and outside", v4, "::ffff:203.0.114.5"),
		allow("family: mapped entry", "stored as IPv4, and reported so", texts("::ffff:203.0.113.0/120"), "203.0.113.5", 0, "203.0.113.0/24"),
		allow("family: mapped entry and client", "both are IPv4", texts("::ffff:203.0.113.5"), "::ffff:203.0.113.5", 0, "203.0.113.5/32"),
		deny("family: mapped client and an ipv6 network over it", "the client is IPv4, and ::/80 is IPv6", texts("::/80"), "::ffff:203.0.113.5"),
		deny("family: mapped client and ::/0", "the client is IPv4, and ::/0 is IPv6", texts("::/0"), "::ffff:203.0.113.5").with(six),
		deny("family: ipv4 client and ::/0", "::/0 holds no IPv4 address", texts("::/0"), "203.0.113.5").with(six),
		deny("family: ipv6 client and 0.0.0.0/0", "0.0.0.0/0 holds no IPv6 address", texts("0.0.0.0/0"), "2001:db8::1").with(policy{"min_bits4": 0}),
		deny("family: :: and 0.0.0.0/0", "the IPv6 address of all zeros is not IPv4", texts("0.0.0.0/0"), "::").with(policy{"min_bits4": 0}),
		deny("family: ipv4 client, ipv6 list", "the other family", texts("2001:db8::/33"), "203.0.113.5"),
		deny("family: ipv6 client, ipv4 list", "the other family", v4, "2001:db8::1"),
		deny("family: ipv4-compatible client", "::203.0.113.5 is not the mapped form", v4, "::203.0.113.5"),
		deny("family: ipv4-translated client", "::ffff:0:203.0.113.5 is not the mapped form", v4, "::ffff:0:203.0.113.5"),
		deny("family: nat64 client", "64:ff9b::203.0.113.5 is an IPv6 address", v4, "64:ff9b::203.0.113.5"),
		deny("family: 6to4 client", "2002:cb00:7105::1 is an IPv6 address", v4, "2002:cb00:7105::1"),
		deny("family: ipv4 client with the first bits of an ipv6 network", "32.1.13.184 has the bits of 2001:db8", texts("2001:db8::/33"), "32.1.13.184"),
		deny("family: ipv6 client with the bits of an ipv4 address in front", "2001:db8:: begins with the bits of 32.1.13.184", texts("32.1.13.184"), "2001:db8::"),
		deny("family: ipv4 client with the last bits of an ipv6 address", "::cb00:7105 ends in the bits of 203.0.113.5", texts("::cb00:7105"), "203.0.113.5").with(policy{"allow_non_public": true}),
		allow("family: ipv4-compatible entry and client", "plain IPv6 on both sides", texts("::cb00:7105"), "::203.0.113.5", 0, "::cb00:7105/128").with(policy{"allow_non_public": true}),
		allow("family: ipv6 part of a mixed list", "each family has its own entries", texts("203.0.113.0/24", "2001:db8::/48", "198.51.100.7"), "2001:db8::5", 1, "2001:db8::/48"),
		allow("family: ipv4 part of a mixed list", "positions count over both families", texts("2001:db8::/48", "2001:db8:1::/48", "198.51.100.7"), "198.51.100.7", 2, "198.51.100.7/32"),
		allow("family: client in upper case", "letters have no case", texts("2001:db8::abcd"), "2001:DB8::ABCD", 0, "2001:db8::abcd/128"),
		allow("family: client written long", "texts are not compared", texts("2001:db8::1"), "2001:0db8:0000:0000:0000:0000:0000:0001", 0, "2001:db8::1/128"),
		allow("family: client with embedded ipv4", "another way to write the same address", texts("2001:db8::c000:221"), "2001:db8::192.0.2.33", 0, "2001:db8::c000:221/128"),
	}
}

func clientZoneCases() []verdictCase {
	lan := policy{"allow_non_public": true}
	return []verdictCase{
		allow("zone on client: link-local network", "a zone on a client address is ignored", texts("fe80::/64"), "fe80::1%eth0", 0, "fe80::/64").with(lan),
		allow("zone on client: single address", "a zone on a client address is ignored", texts("fe80::1"), "fe80::1%eth0", 0, "fe80::1/128").with(lan),
		allow("zone on client: number", "a zone on a client address is ignored", texts("fe80::1"), "fe80::1%3", 0, "fe80::1/128").with(lan),
		allow("zone on client: global address", "a zone on a client address is ignored", texts("2001:db8::/48"), "2001:db8::1%eth0", 0, "2001:db8::/48"),
		allow("zone on client: mapped", "both rules hold: the zone is ignored and the address is IPv4", texts("203.0.113.0/24"), "::ffff:203.0.113.5%eth0", 0, "203.0.113.0/24"),
		deny("zone on client: outside", "ignoring the zone lets nobody in", texts("2001:db8::/48"), "2001:db8:1::1%eth0"),
		deny("zone on client: mapped, outside", "ignoring the zone lets nobody in", texts("203.0.113.0/24"), "::ffff:203.0.114.5%eth0"),
		allow("zone on client: ::/0", "a zoned address is an IPv6 address", texts("::/0"), "fe80::1%eth0", 0, "::/0").with(policy{"min_bits6": 0}),
	}
}

func specificCases() []verdictCase {
	nest := []text{{Entry: "203.0.113.0/24", Label: "building"}, {Entry: "203.0.113.128/25", Label: "floor"}, {Entry: "203.0.113.200", Label: "desk"}}
	turned := []text{nest[2], nest[1], nest[0]}
	mixed := []text{nest[1], nest[0], nest[2]}
	six := []text{{Entry: "2001:db8::/64", Label: "lan"}, {Entry: "2001:db8::/48", Label: "site"}, {Entry: "2001:db8::1:0/112", Label: "rack"}, {Entry: "2001:db8::1:1", Label: "host"}}
	return []verdictCase{
		allow("specific: the address itself", "three match, the longest prefix is reported", nest, "203.0.113.200", 2, "203.0.113.200/32"),
		allow("specific: the middle one", "two match, the longer prefix is reported", nest, "203.0.113.201", 1, "203.0.113.128/25"),
		allow("specific: the outer one", "one matches", nest, "203.0.113.5", 0, "203.0.113.0/24"),
		deny("specific: outside all", "none matches", nest, "203.0.112.200"),
		allow("specific: the address itself, narrow first", "the order of the list does not matter", turned, "203.0.113.200", 0, "203.0.113.200/32"),
		allow("specific: the middle one, narrow first", "the order of the list does not matter", turned, "203.0.113.201", 1, "203.0.113.128/25"),
		allow("specific: the outer one, narrow first", "the position is that in the list, not in a sorted one", turned, "203.0.113.5", 2, "203.0.113.0/24"),
		allow("specific: mixed order", "the order of the list does not matter", mixed, "203.0.113.200", 2, "203.0.113.200/32"),
		allow("specific: mapped client", "matched as IPv4, the longest prefix is reported", nest, "::ffff:203.0.113.200", 2, "203.0.113.200/32"),
		allow("specific: ipv6 host", "four match, the longest prefix is reported", six, "2001:db8::1:1", 3, "2001:db8::1:1/128"),
		allow("specific: ipv6 rack", "three match", six, "2001:db8::1:2", 2, "2001:db8::1:0/112"),
		allow("specific: ipv6 lan", "two match", six, "2001:db8::2:1", 0, "2001:db8::/64"),
		allow("specific: ipv6 site", "one matches", six, "2001:db8:0:1::1", 1, "2001:db8::/48"),
		deny("specific: ipv6 outside", "none matches", six, "2001:db8:1::1"),
		allow("specific: same first address", "/24 and /25 begin at the same address", texts("203.0.113.0/24", "203.0.113.0/25"), "203.0.113.0", 1, "203.0.113.0/25"),
		allow("specific: same last address", "/24 and /25 end at the same address", texts("203.0.113.128/25", "203.0.113.0/24"), "203.0.113.255", 0, "203.0.113.128/25"),
		allow("specific: everything and one", "a /32 inside 0.0.0.0/0", texts("0.0.0.0/0", "203.0.113.5"), "203.0.113.5", 1, "203.0.113.5/32").with(policy{"min_bits4": 0}),
		allow("specific: everything but one", "the default of the same list", texts("0.0.0.0/0", "203.0.113.5"), "203.0.113.6", 0, "0.0.0.0/0").with(policy{"min_bits4": 0}),
	}
}

// longListCases have 64 entries: an implementation may hold a long list in
// another way than a short one.
func longListCases() []verdictCase {
	var list []text
	for i := range 32 {
		list = append(list,
			text{Entry: fmt.Sprintf("198.51.%d.0/24", 2*i), Label: fmt.Sprintf("net %d", i)},
			text{Entry: fmt.Sprintf("2001:db8:%x::/48", 2*i+1)})
	}
	list[63] = text{Entry: "198.51.10.7", Label: "inner"}
	long := policy{"max_entries": 100}
	return []verdictCase{
		allow("long list: first entry", "64 entries", list, "198.51.0.255", 0, "198.51.0.0/24").with(long),
		allow("long list: last ipv4 network", "64 entries", list, "198.51.62.0", 62, "198.51.62.0/24").with(long),
		allow("long list: an ipv6 network", "64 entries", list, "2001:db8:3d:ffff:ffff:ffff:ffff:ffff", 61, "2001:db8:3d::/48").with(long),
		allow("long list: most specific", "the last entry lies in the eleventh", list, "198.51.10.7", 63, "198.51.10.7/32").with(long),
		allow("long list: around the most specific", "the eleventh entry", list, "198.51.10.8", 10, "198.51.10.0/24").with(long),
		allow("long list: mapped client", "matched as IPv4", list, "::ffff:198.51.62.255", 62, "198.51.62.0/24").with(long),
		allow("long list: zone on client", "the zone is ignored", list, "2001:db8:1::1%eth0", 1, "2001:db8:1::/48").with(long),
		deny("long list: in a gap", "every other /24 is listed", list, "198.51.11.7").with(long),
		deny("long list: ipv6 in a gap", "every other /48 is listed", list, "2001:db8:2::").with(long),
		deny("long list: no address", "64 entries, and none holds it", list, "").with(long),
	}
}

// edgeCases are the first and last address of networks of many lengths, and
// the addresses one before and one after. The lengths are those at which the
// part of the address that decides crosses a byte, a group or a half.
func edgeCases() []verdictCase {
	wide := policy{"min_bits4": 1, "min_bits6": 1, "allow_non_public": true}
	var cases []verdictCase
	for _, e := range []struct {
		text string
		network
		policy
	}{
		{"128.0.0.0/1", newNetwork(1, 128, 0, 0, 0), wide},
		{"11.128.0.0/9", newNetwork(9, 11, 128, 0, 0), nil},
		{"198.20.0.0/15", newNetwork(15, 198, 20, 0, 0), nil},
		{"198.51.0.0/16", newNetwork(16, 198, 51, 0, 0), nil},
		{"198.51.128.0/17", newNetwork(17, 198, 51, 128, 0), nil},
		{"203.0.112.0/23", newNetwork(23, 203, 0, 112, 0), nil},
		{"203.0.113.0/24", newNetwork(24, 203, 0, 113, 0), nil},
		{"203.0.113.128/25", newNetwork(25, 203, 0, 113, 128), nil},
		{"203.0.113.6/31", newNetwork(31, 203, 0, 113, 6), nil},
		{"203.0.113.255/32", newNetwork(32, 203, 0, 113, 255), nil},
		{"8000::/1", newNetwork(1, 0x8000, 0, 0, 0, 0, 0, 0, 0), wide},
		{"2001:db8:8000::/33", newNetwork(33, 0x2001, 0xdb8, 0x8000, 0, 0, 0, 0, 0), nil},
		{"2001:db8:7::/48", newNetwork(48, 0x2001, 0xdb8, 7, 0, 0, 0, 0, 0), nil},
		{"2001:db8:0:ff00::/56", newNetwork(56, 0x2001, 0xdb8, 0, 0xff00, 0, 0, 0, 0), nil},
		{"2001:db8:0:2::/63", newNetwork(63, 0x2001, 0xdb8, 0, 2, 0, 0, 0, 0), nil},
		{"2001:db8:0:1::/64", newNetwork(64, 0x2001, 0xdb8, 0, 1, 0, 0, 0, 0), nil},
		{"2001:db8:0:1:8000::/65", newNetwork(65, 0x2001, 0xdb8, 0, 1, 0x8000, 0, 0, 0), nil},
		{"2001:db8::2:0:0/96", newNetwork(96, 0x2001, 0xdb8, 0, 0, 0, 2, 0, 0), nil},
		{"2001:db8::6/127", newNetwork(127, 0x2001, 0xdb8, 0, 0, 0, 0, 0, 6), nil},
		{"2001:db8::ffff:ffff:ffff:ffff/128", newNetwork(128, 0x2001, 0xdb8, 0, 0, 0xffff, 0xffff, 0xffff, 0xffff), nil},
	} {
		e.check(e.text)
		list := []text{{Entry: e.text, Label: "edge"}}
		name := "edge " + e.text + ": "
		cases = append(cases, allow(name+"first", "the first address is inside", list, e.firstText(), 0, e.text).with(e.policy))
		if last := e.lastText(); last != e.firstText() {
			cases = append(cases, allow(name+"last", "the last address is inside", list, last, 0, e.text).with(e.policy))
		}
		if before := e.before(); before != "" {
			cases = append(cases, deny(name+"one before", "the address before the first is outside", list, before).with(e.policy))
		}
		if after := e.after(); after != "" {
			cases = append(cases, deny(name+"one after", "the address after the last is outside", list, after).with(e.policy))
		}
	}
	return cases
}
