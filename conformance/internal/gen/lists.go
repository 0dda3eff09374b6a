package main

import (
	"fmt"
	"slices"
)

func listCases() []listCase {
	return slices.Concat(
		shapeCases(), countCases(), duplicateCases(), faultCases(),
		warningCases(), labelCases(), labelByteCases(),
	)
}

// texts makes entries without labels.
func texts(entries ...string) []text {
	list := []text{}
	for _, e := range entries {
		list = append(list, text{Entry: e})
	}
	return list
}

// hosts are the addresses 198.51.100.1 to 198.51.100.n, canonical or not.
func hosts(n int, suffix string) []text {
	list := []text{}
	for i := range n {
		list = append(list, text{Entry: fmt.Sprintf("198.51.100.%d%s", i+1, suffix)})
	}
	return list
}

func keep(name, reason string, entries, canonical []text, redundantAt ...int) listCase {
	warnings := []warning{}
	for _, i := range redundantAt {
		warnings = append(warnings, warning{Index: i, Code: redundant})
	}
	return listCase{Name: name, Reason: reason, Entries: entries, Want: listWant{Entries: canonical, Warnings: warnings}}
}

func reject(name, reason string, entries []text, faults ...fault) listCase {
	return listCase{Name: name, Reason: reason, Entries: entries, Want: listWant{Faults: faults}}
}

func (c listCase) with(p policy) listCase {
	c.Policy = p
	return c
}

func at(i int, code string) fault { return fault{Index: i, Code: code} }

// again is the fault of entry i, which repeats entry first.
func again(i, first int) fault { return fault{Index: i, Code: duplicate, First: &first} }

// whole is the fault of having too many entries; it belongs to no entry.
func whole() fault { return fault{Index: -1, Code: tooManyEntries} }

func shapeCases() []listCase {
	return []listCase{
		keep("list: empty", "an empty list is valid; it leaves the key unrestricted", texts(), texts()),
		keep("list: one entry", "the plain case", texts("203.0.113.0/24"), texts("203.0.113.0/24")),
		keep("list: both families", "the order is kept", texts("2001:db8::/48", "203.0.113.0/24"), texts("2001:db8::/48", "203.0.113.0/24")),
		keep("list: order is that of the input", "positions are what Explain speaks of, so nothing is sorted", texts("203.0.113.9", "203.0.113.1", "192.0.2.7"), texts("203.0.113.9/32", "203.0.113.1/32", "192.0.2.7/32")),
		keep("list: stored canonical", "what was set is read back in canonical form", texts("2001:DB8:0::1", "::ffff:203.0.113.5", "198.51.100.7"), texts("2001:db8::1/128", "203.0.113.5/32", "198.51.100.7/32")),
		keep("list: labels stay with their entries", "an entry without a label between two with one",
			[]text{{Entry: "203.0.113.5", Label: "office"}, {Entry: "198.51.100.7"}, {Entry: "2001:db8::1", Label: "office"}},
			[]text{{Entry: "203.0.113.5/32", Label: "office"}, {Entry: "198.51.100.7/32"}, {Entry: "2001:db8::1/128", Label: "office"}}),
		keep("list: neighbours are not joined", "two halves of a network stay two entries", texts("203.0.113.0/25", "203.0.113.128/25"), texts("203.0.113.0/25", "203.0.113.128/25")),
		keep("list: same address in both families' digits", "32.1.13.184 has the first bits of 2001:db8:: and nothing else in common", texts("32.1.13.184", "2001:db8::"), texts("32.1.13.184/32", "2001:db8::/128")),
	}
}

func countCases() []listCase {
	mixed := append(hosts(20, ""), text{Entry: "nonsense"})
	private := append(hosts(20, ""), text{Entry: "10.0.0.1"})
	repeated := append(hosts(20, ""), text{Entry: "198.51.100.1"})
	return []listCase{
		keep("count: 19", "one below the limit", hosts(19, ""), hosts(19, "/32")),
		keep("count: 20", "exactly the limit", hosts(20, ""), hosts(20, "/32")),
		reject("count: 21", "one above the limit; the fault is that of the list, index -1", hosts(21, ""), whole()),
		reject("count: 40", "twice the limit is still one fault", hosts(40, ""), whole()),
		reject("count: 21, one faulty", "the list is checked whole: the faulty entry and the count", mixed, at(20, invalidSyntax), whole()),
		reject("count: 21, one private", "the list is checked whole, also behind the twentieth entry", private, at(20, notPublic), whole()),
		reject("count: 21 with a duplicate", "20 different networks, but the list has 21 entries as written", repeated, again(20, 0), whole()),
		keep("count: 0 under a limit of 0", "the empty list has no entries", texts(), texts()).with(policy{"max_entries": 0}),
		reject("count: 1 under a limit of 0", "no entries are allowed", texts("203.0.113.5"), whole()).with(policy{"max_entries": 0}),
		keep("count: 1 under a limit of 1", "exactly the limit", texts("203.0.113.5"), texts("203.0.113.5/32")).with(policy{"max_entries": 1}),
		reject("count: 2 under a limit of 1", "one above the limit", texts("203.0.113.5", "203.0.113.6"), whole()).with(policy{"max_entries": 1}),
		keep("count: 21 under a limit of 21", "the limit can be widened", hosts(21, ""), hosts(21, "/32")).with(policy{"max_entries": 21}),
		keep("count: 100 under a limit of 100000", "an organisation-wide list", hosts(100, ""), hosts(100, "/32")).with(policy{"max_entries": 100000}),
		reject("count: 21 under a limit of 20 and others widened", "each limit is a field of its own", hosts(21, ""), whole()).with(policy{"min_bits4": 0, "min_bits6": 0, "max_label": 1000, "allow_non_public": true}),
	}
}

func duplicateCases() []listCase {
	many := append(hosts(60, ""), text{Entry: "198.51.100.33"})
	return []listCase{
		reject("duplicate: same text", "the plain case", texts("203.0.113.5", "203.0.113.5"), again(1, 0)),
		reject("duplicate: address and /32", "the same canonical prefix", texts("203.0.113.5", "203.0.113.5/32"), again(1, 0)),
		reject("duplicate: address and /128", "the same canonical prefix", texts("2001:db8::1/128", "2001:db8::1"), again(1, 0)),
		reject("duplicate: mapped after ipv4", "the same thing as its IPv4 form", texts("203.0.113.5", "::ffff:203.0.113.5"), again(1, 0)),
		reject("duplicate: ipv4 after mapped", "the same thing as its IPv4 form", texts("::ffff:203.0.113.0/120", "203.0.113.0/24"), again(1, 0)),
		reject("duplicate: two spellings of mapped", "dotted and hexadecimal", texts("::ffff:203.0.113.5", "::ffff:cb00:7105"), again(1, 0)),
		reject("duplicate: upper and lower case", "the same canonical prefix", texts("2001:db8::a", "2001:DB8::A"), again(1, 0)),
		reject("duplicate: short and long ipv6", "the same canonical prefix", texts("2001:db8:0:0::/64", "2001:db8::/64"), again(1, 0)),
		reject("duplicate: three times", "both name the first", texts("203.0.113.5", "203.0.113.5", "203.0.113.5"), again(1, 0), again(2, 0)),
		reject("duplicate: two pairs", "each names its own first", texts("203.0.113.5", "198.51.100.7", "198.51.100.7", "203.0.113.5"), again(2, 1), again(3, 0)),
		reject("duplicate: different labels", "the label is not part of the prefix", []text{{Entry: "203.0.113.5", Label: "a"}, {Entry: "203.0.113.5", Label: "b"}}, again(1, 0)),
		reject("duplicate: far behind", "the first stands 28 entries earlier", many, again(60, 32)).with(policy{"max_entries": 100}),
		reject("duplicate: not of a network with host bits", "an entry with host bits has no canonical prefix, so only its own fault is reported", texts("203.0.113.5/24", "203.0.113.0/24"), at(0, hostBitsSet)),
		reject("duplicate: host bits before duplicate", "the second entry has host bits, and is no repetition", texts("203.0.113.0/24", "203.0.113.5/24"), at(1, hostBitsSet)),
		reject("duplicate: too broad twice", "too_broad comes before duplicate", texts("8.0.0.0/8", "8.0.0.0/8"), at(0, tooBroad), at(1, tooBroad)),
		reject("duplicate: not public twice", "not_public comes before duplicate", texts("10.0.0.1", "10.0.0.1"), at(0, notPublic), at(1, notPublic)),
		reject("duplicate: bad syntax twice", "invalid_syntax comes before duplicate", texts("nonsense", "nonsense"), at(0, invalidSyntax), at(1, invalidSyntax)),
		reject("duplicate: zone twice", "zone_not_allowed comes before duplicate", texts("2001:db8::1%a", "2001:db8::1%a"), at(0, zoneNotAllowed), at(1, zoneNotAllowed)),
		reject("duplicate: of private, where the policy allows it", "with not_public out of the way, duplicate is the first that fits", texts("10.0.0.1", "10.0.0.1"), again(1, 0)).with(policy{"allow_non_public": true}),
		reject("duplicate: of an entry with a bad label", "the prefix of the first is canonical, whatever its label", []text{{Entry: "203.0.113.5", Label: "a\tb"}, {Entry: "203.0.113.5"}}, at(0, labelInvalid), again(1, 0)),
		keep("duplicate: not the same length", "the same first address, but another prefix; it is covered, which is legal", texts("203.0.113.0/24", "203.0.113.0/25"), texts("203.0.113.0/24", "203.0.113.0/25"), 1),
	}
}

func faultCases() []listCase {
	return []listCase{
		reject("faults: every code of an entry at once", "a list is checked whole: every faulty entry is reported",
			[]text{{Entry: "203.0.113.5"}, {Entry: "10.1"}, {Entry: "fe80::1%eth0"}, {Entry: "203.0.113.5/24"}, {Entry: "8.0.0.0/8"}, {Entry: "10.0.0.1"}, {Entry: "203.0.113.5"}, {Entry: "192.0.2.1", Label: "a\nb"}},
			at(1, invalidSyntax), at(2, zoneNotAllowed), at(3, hostBitsSet), at(4, tooBroad), at(5, notPublic), again(6, 0), at(7, labelInvalid)),
		reject("faults: first and last", "the good entries between them are not stored either", texts("x", "203.0.113.5", "198.51.100.0/24", "y"), at(0, invalidSyntax), at(3, invalidSyntax)),
		reject("faults: one in twenty", "one faulty entry refuses the list", append(hosts(19, ""), text{Entry: "198.51.100.256"}), at(19, invalidSyntax)),
		reject("faults: empty text", "an entry without text is a fault, not nothing", texts("203.0.113.5", ""), at(1, invalidSyntax)),
		reject("faults: a single empty text", "a list with one empty entry is not the empty list, which would open the key", texts(""), at(0, invalidSyntax)),
		reject("faults: only bad ones", "a list that loses all its entries is not an empty list", texts("10.0.0.1", "8.0.0.0/8", "10.0.0.0/8"), at(0, notPublic), at(1, tooBroad), at(2, notPublic)),
		reject("faults: entry and label", "the label's fault stands beside that of the entry", []text{{Entry: "10.1", Label: "a\u0000b"}}, at(0, invalidSyntax), at(0, labelInvalid)),
		reject("faults: duplicate and label", "the label's fault stands beside that of the entry", []text{{Entry: "203.0.113.5"}, {Entry: "203.0.113.5", Label: times("x", 101)}}, again(1, 0), at(1, labelTooLong)),
		reject("faults: covered and private", "a warning never stands in place of a fault", texts("203.0.113.0/24", "203.0.113.5", "192.168.0.1"), at(2, notPublic)),
		reject("faults: limits of the policy", "one entry below each limit", texts("198.51.0.0/16", "2001:db8::/47", "198.51.0.0/17", "2001:db8::/48"), at(0, tooBroad), at(1, tooBroad)).with(policy{"min_bits4": 17, "min_bits6": 48}),
	}
}

func warningCases() []listCase {
	none := "no warning: "
	return []listCase{
		keep("redundant: address in network", "covered by the entry before it; legal", texts("203.0.113.0/24", "203.0.113.5"), texts("203.0.113.0/24", "203.0.113.5/32"), 1),
		keep("redundant: address before its network", "the order does not matter", texts("203.0.113.5", "203.0.113.0/24"), texts("203.0.113.5/32", "203.0.113.0/24"), 0),
		keep("redundant: nested three deep", "all but the broadest", texts("203.0.113.128/25", "203.0.113.0/24", "203.0.113.129"), texts("203.0.113.128/25", "203.0.113.0/24", "203.0.113.129/32"), 0, 2),
		keep("redundant: ipv6", "as for IPv4", texts("2001:db8::/48", "2001:db8:0:1::/64"), texts("2001:db8::/48", "2001:db8:0:1::/64"), 1),
		keep("redundant: ipv6 beyond 64 bits", "the lower half decides", texts("2001:db8::8000:0:0:0/65", "2001:db8::8000:0:0:1", "2001:db8::1"), texts("2001:db8:0:0:8000::/65", "2001:db8::8000:0:0:1/128", "2001:db8::1/128"), 1),
		keep("redundant: mapped in ipv4", "unmapped first", texts("203.0.113.0/24", "::ffff:203.0.113.5"), texts("203.0.113.0/24", "203.0.113.5/32"), 1),
		keep("redundant: first address of the network", "the lower edge", texts("203.0.113.0/24", "203.0.113.0"), texts("203.0.113.0/24", "203.0.113.0/32"), 1),
		keep("redundant: last address of the network", "the upper edge", texts("203.0.113.0/24", "203.0.113.255"), texts("203.0.113.0/24", "203.0.113.255/32"), 1),
		keep("redundant: one before the network", none+"the address is outside", texts("203.0.113.0/24", "203.0.112.255"), texts("203.0.113.0/24", "203.0.112.255/32")),
		keep("redundant: one after the network", none+"the address is outside", texts("203.0.113.0/24", "203.0.114.0"), texts("203.0.113.0/24", "203.0.114.0/32")),
		keep("redundant: whole and two halves", "each half is covered; the whole is covered by no single entry", texts("203.0.113.0/25", "203.0.113.0/24", "203.0.113.128/25"), texts("203.0.113.0/25", "203.0.113.0/24", "203.0.113.128/25"), 0, 2),
		keep("redundant: other family", none+"::/0 covers no IPv4 network", texts("::/0", "203.0.113.5"), texts("::/0", "203.0.113.5/32")).with(policy{"min_bits6": 0}),
		keep("redundant: ipv6 network over the mapped range", none+"a mapped entry is IPv4, and ::/80 is not", texts("::/80", "::ffff:203.0.113.5"), texts("::/80", "203.0.113.5/32")),
		keep("redundant: same first bits in both families", none+"2001:db8::/33 begins with the bits of 32.1.13.184", texts("2001:db8::/33", "32.1.13.184"), texts("2001:db8::/33", "32.1.13.184/32")),
		keep("redundant: labels do not matter", "a label does not make a covered entry less redundant", []text{{Entry: "203.0.113.0/24", Label: "office"}, {Entry: "203.0.113.5", Label: "printer"}}, []text{{Entry: "203.0.113.0/24", Label: "office"}, {Entry: "203.0.113.5/32", Label: "printer"}}, 1),
		keep("redundant: everything under 0.0.0.0/0", "the widest network there is", texts("203.0.113.5", "0.0.0.0/0", "198.51.100.0/24"), texts("203.0.113.5/32", "0.0.0.0/0", "198.51.100.0/24"), 0, 2).with(policy{"min_bits4": 0}),
		keep("redundant: behind a gap", "the covering entry is not the nearest in order", texts("198.51.100.0/24", "198.51.100.0/28", "198.51.100.200"), texts("198.51.100.0/24", "198.51.100.0/28", "198.51.100.200/32"), 1, 2),
	}
}
