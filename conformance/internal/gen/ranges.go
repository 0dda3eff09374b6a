package main

import "math/big"

// A specialRange is a range that can never be a client's public address, as
// the specification lists them.
type specialRange struct {
	name string
	what string
	network
	// noBefore and noAfter say that the neighbour belongs to another
	// range, or does not exist; those cases are left to that range.
	noBefore, noAfter bool
}

func specialRanges() []specialRange {
	return []specialRange{
		{"0.0.0.0/8", "this network", newNetwork(8, 0, 0, 0, 0), true, false},
		{"10.0.0.0/8", "private (RFC 1918)", newNetwork(8, 10, 0, 0, 0), false, false},
		{"100.64.0.0/10", "shared address space", newNetwork(10, 100, 64, 0, 0), false, false},
		{"127.0.0.0/8", "loopback", newNetwork(8, 127, 0, 0, 0), false, false},
		{"169.254.0.0/16", "link-local", newNetwork(16, 169, 254, 0, 0), false, false},
		{"172.16.0.0/12", "private (RFC 1918)", newNetwork(12, 172, 16, 0, 0), false, false},
		{"192.0.0.0/24", "for protocol assignments", newNetwork(24, 192, 0, 0, 0), false, false},
		{"192.168.0.0/16", "private (RFC 1918)", newNetwork(16, 192, 168, 0, 0), false, false},
		{"198.18.0.0/15", "for benchmarks", newNetwork(15, 198, 18, 0, 0), false, false},
		{"224.0.0.0/4", "multicast", newNetwork(4, 224, 0, 0, 0), false, true},
		{"240.0.0.0/4", "reserved", newNetwork(4, 240, 0, 0, 0), true, true},
		{"::", "unspecified", newNetwork(128, 0, 0, 0, 0, 0, 0, 0, 0), true, true},
		{"::1", "loopback", newNetwork(128, 0, 0, 0, 0, 0, 0, 0, 1), true, true},
		{"::/96", "IPv4-compatible", newNetwork(96, 0, 0, 0, 0, 0, 0, 0, 0), true, false},
		{"::ffff:0:0:0/96", "IPv4-translated", newNetwork(96, 0, 0, 0, 0, 0xffff, 0, 0, 0), false, false},
		{"64:ff9b::/96", "IPv4 behind a translator", newNetwork(96, 0x64, 0xff9b, 0, 0, 0, 0, 0, 0), false, false},
		{"64:ff9b:1::/48", "IPv4 behind a local translator", newNetwork(48, 0x64, 0xff9b, 1, 0, 0, 0, 0, 0), false, false},
		{"100::/64", "for discarding", newNetwork(64, 0x100, 0, 0, 0, 0, 0, 0, 0), false, false},
		{"2001:2::/48", "for benchmarks", newNetwork(48, 0x2001, 2, 0, 0, 0, 0, 0, 0), false, false},
		{"5f00::/16", "for segment routing", newNetwork(16, 0x5f00, 0, 0, 0, 0, 0, 0, 0), false, false},
		{"fc00::/7", "unique local", newNetwork(7, 0xfc00, 0, 0, 0, 0, 0, 0, 0), false, false},
		{"fe80::/10", "link-local", newNetwork(10, 0xfe80, 0, 0, 0, 0, 0, 0, 0), false, true},
		{"fec0::/10", "site-local", newNetwork(10, 0xfec0, 0, 0, 0, 0, 0, 0, 0), true, true},
		{"ff00::/8", "multicast", newNetwork(8, 0xff00, 0, 0, 0, 0, 0, 0, 0), true, true},
	}
}

// outside are the canonical texts of the addresses one before and one after
// the ranges, written by hand.
var outside = map[string]string{
	"after 0.0.0.0/8":        "1.0.0.0/32",
	"before 10.0.0.0/8":      "9.255.255.255/32",
	"after 10.0.0.0/8":       "11.0.0.0/32",
	"before 100.64.0.0/10":   "100.63.255.255/32",
	"after 100.64.0.0/10":    "100.128.0.0/32",
	"before 127.0.0.0/8":     "126.255.255.255/32",
	"after 127.0.0.0/8":      "128.0.0.0/32",
	"before 169.254.0.0/16":  "169.253.255.255/32",
	"after 169.254.0.0/16":   "169.255.0.0/32",
	"before 172.16.0.0/12":   "172.15.255.255/32",
	"after 172.16.0.0/12":    "172.32.0.0/32",
	"before 192.168.0.0/16":  "192.167.255.255/32",
	"after 192.168.0.0/16":   "192.169.0.0/32",
	"before 224.0.0.0/4":     "223.255.255.255/32",
	"before 192.0.0.0/24":    "191.255.255.255/32",
	"after 192.0.0.0/24":     "192.0.1.0/32",
	"before 198.18.0.0/15":   "198.17.255.255/32",
	"after 198.18.0.0/15":    "198.20.0.0/32",
	"after ::/96":            "::1:0:0/128",
	"before ::ffff:0:0:0/96": "::fffe:ffff:ffff:ffff/128",
	"after ::ffff:0:0:0/96":  "::ffff:1:0:0/128",
	"before 64:ff9b::/96":    "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff/128",
	"after 64:ff9b::/96":     "64:ff9b::1:0:0/128",
	"before 64:ff9b:1::/48":  "64:ff9b:0:ffff:ffff:ffff:ffff:ffff/128",
	"after 64:ff9b:1::/48":   "64:ff9b:2::/128",
	"before 100::/64":        "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
	"after 100::/64":         "100:0:0:1::/128",
	"before 2001:2::/48":     "2001:1:ffff:ffff:ffff:ffff:ffff:ffff/128",
	"after 2001:2::/48":      "2001:2:1::/128",
	"before 5f00::/16":       "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
	"after 5f00::/16":        "5f01::/128",
	"before fc00::/7":        "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
	"after fc00::/7":         "fe00::/128",
	"before fe80::/10":       "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
}

// rangeCases are the edges of the ranges that are not public, and networks
// that lie in them, over them and beside them.
func rangeCases() []entryCase {
	var cases []entryCase
	for _, r := range specialRanges() {
		r.check(r.name)
		cases = append(cases, refuse("range "+r.name+": first", r.firstText(), notPublic, "the first address of "+r.name+", "+r.what))
		if r.size().Cmp(big.NewInt(1)) > 0 {
			cases = append(cases, refuse("range "+r.name+": last", r.lastText(), notPublic, "the last address of "+r.name+", "+r.what))
		}
		if !r.noBefore {
			cases = append(cases, accept("range "+r.name+": one before", r.before(), outside["before "+r.name], "the last address before "+r.name+" is not "+r.what))
		}
		if !r.noAfter {
			cases = append(cases, accept("range "+r.name+": one after", r.after(), outside["after "+r.name], "the first address after "+r.name+" is not "+r.what))
		}
	}
	private := policy{"allow_non_public": true}
	wide := policy{"min_bits4": 1, "min_bits6": 1}
	return append(cases,
		refuse("range: first half of 10/8", "10.0.0.0/9", notPublic, "wholly inside, and not too broad"),
		refuse("range: second half of 10/8", "10.128.0.0/9", notPublic, "wholly inside, and not too broad"),
		refuse("range: all of 100.64/10", "100.64.0.0/10", notPublic, "exactly the range is wholly inside it"),
		refuse("range: all of 169.254/16", "169.254.0.0/16", notPublic, "exactly the range is wholly inside it"),
		refuse("range: all of 172.16/12", "172.16.0.0/12", notPublic, "exactly the range is wholly inside it"),
		refuse("range: all of 192.168/16", "192.168.0.0/16", notPublic, "exactly the range is wholly inside it"),
		refuse("range: part of fc00::/7", "fd12:3456:789a::/48", notPublic, "wholly inside"),
		refuse("range: part of ff00::/8", "ff0e::/33", notPublic, "multicast of global scope is no client's address either"),
		refuse("range: all of 10/8 where /8 is allowed", "10.0.0.0/8", notPublic, "exactly the range is wholly inside it").with(policy{"min_bits4": 8}),
		accept("range: twice 100.64/10", "100.0.0.0/9", "100.0.0.0/9", "half of it is public, so it is not wholly inside"),
		accept("range: twice 169.254/16", "169.254.0.0/15", "169.254.0.0/15", "half of it is public"),
		accept("range: twice 172.16/12", "172.0.0.0/11", "172.0.0.0/11", "half of it is public"),
		accept("range: twice 192.168/16", "192.168.0.0/15", "192.168.0.0/15", "half of it is public"),
		refuse("range: four addresses from ::", "::/126", notPublic, "the unspecified address, loopback and two IPv4-compatible ones"),
		refuse("range: all of ::/96", "::/96", notPublic, "exactly the range").suggest(),
		accept("range: twice ::/96", "::/95", "::/95", "::1:0:0 is in no range"),
		refuse("range: fe80::/10 and fec0::/10 together", "fe80::/9", notPublic, "link-local and site-local side by side: no address in it can be a client's").with(wide),
		refuse("range: fe80::/9 is not public before it is too broad", "fe80::/9", notPublic, "two ranges side by side, and not_public comes before too_broad"),
		refuse("range: part of two ranges", "fe80::/9", notPublic, "wide limits do not make it public").with(policy{"min_bits6": 0}),
		accept("range: fe00::/8 where it is allowed", "fe00::/8", "fe00::/8", "fe00::/9 is in no range").with(wide),
		refuse("range: :: and ::1 together", "::/127", notPublic, "no address in it can be a client's").suggest(),
		refuse("range: 224/4 and 240/4 together", "224.0.0.0/3", notPublic, "no address in it can be a client's, though it is two ranges").with(wide),
		accept("range: twice 10/8 where it is allowed", "10.0.0.0/7", "10.0.0.0/7", "11.0.0.0/8 is public").with(wide),
		accept("range: twice fc00::/7 where it is allowed", "fc00::/6", "fc00::/6", "fe00::/9 is not in the list of ranges").with(wide),
		refuse("range: all of 198.18/15", "198.18.0.0/15", notPublic, "benchmarking (RFC 2544)"),
		accept("range: twice 198.18/15", "198.16.0.0/14", "198.16.0.0/14", "half of it is public"),
		refuse("range: all of 192.0.0/24", "192.0.0.0/24", notPublic, "protocol assignments (RFC 6890)"),
		accept("range: twice 192.0.0/24", "192.0.0.0/23", "192.0.0.0/23", "192.0.1.0/24 is no special range"),
		refuse("range: all of 100::/64", "100::/64", notPublic, "discard (RFC 6666)"),
		refuse("range: part of 2001:2::/48", "2001:2:0:7::/64", notPublic, "benchmarking (RFC 5180)"),
		refuse("range: part of 5f00::/16", "5f00:1:2::/48", notPublic, "segment routing (RFC 9602)"),
		refuse("range: part of fec0::/10", "fec0:0:0:1::/64", notPublic, "site-local (RFC 3879)"),
		accept("range: 6to4 is not listed", "2002:cb00:7105::/48", "2002:cb00:7105::/48", "RFC 3056 space is not among the ranges"),
		accept("range: teredo is not listed", "2001:0:cb00:7105::/64", "2001:0:cb00:7105::/64", "RFC 4380 space is not among the ranges"),
		accept("range: as112 is not listed", "192.31.196.0/24", "192.31.196.0/24", "RFC 7535 space is not among the ranges"),
		accept("range: documentation 3fff::/20 is not listed", "3fff:fff::/48", "3fff:fff::/48", "documentation ranges are accepted (RFC 9637)"),
		refuse("carried: translated address", "64:ff9b::203.0.113.5", notPublic, "the translator's form of an IPv4 address: the IPv4 entry is meant").suggest("203.0.113.5"),
		refuse("carried: translated network", "64:ff9b::cb00:7100/120", notPublic, "the translator's form of an IPv4 network").suggest("203.0.113.0/24"),
		refuse("carried: locally translated address", "64:ff9b:1::203.0.113.5", notPublic, "RFC 8215").suggest("203.0.113.5"),
		refuse("carried: IPv4-compatible address", "::203.0.113.5", notPublic, "RFC 4291, 2.5.5.1").suggest("203.0.113.5"),
		refuse("carried: IPv4-translated network", "::ffff:0:203.0.113.0/120", notPublic, "RFC 7915").suggest("203.0.113.0/24"),
		refuse("carried: private address", "64:ff9b::10.0.0.1", notPublic, "10.0.0.1 is not suggested, since the policy refuses it").suggest(),
		refuse("carried: too broad", "64:ff9b::8.0.0.0/104", notPublic, "8.0.0.0/8 is not suggested, since the policy refuses it").suggest(),
		refuse("carried: loopback", "::1", notPublic, "0.0.0.1 is nobody's address either").suggest(),
		accept("carried: allowed by policy", "64:ff9b::203.0.113.5", "64:ff9b::cb00:7105/128", "behind a translator, where the clients have such addresses").with(private),
		accept("range: private addresses in hexadecimal groups", "10:0:0:1::/64", "10:0:0:1::/64", "the group 10 is 0x10, and nothing of this is IPv4"),
		accept("private: 10/9 allowed by policy", "10.0.0.0/9", "10.0.0.0/9", "a server inside a private network").with(private),
		refuse("private: 10/8 still too broad", "10.0.0.0/8", tooBroad, "the policy on ranges does not widen the limit on length").with(private),
		accept("private: 10/8 allowed by both", "10.0.0.0/8", "10.0.0.0/8", "a server inside a private network").with(policy{"allow_non_public": true, "min_bits4": 8}),
		accept("private: loopback allowed by policy", "127.0.0.1", "127.0.0.1/32", "a server inside a private network").with(private),
		accept("private: 0.0.0.0 allowed by policy", "0.0.0.0", "0.0.0.0/32", "the switch is one for all ranges").with(private),
		accept("private: broadcast allowed by policy", "255.255.255.255", "255.255.255.255/32", "the switch is one for all ranges").with(private),
		accept("private: :: allowed by policy", "::", "::/128", "the switch is one for all ranges").with(private),
		accept("private: unique local allowed by policy", "fd00::/48", "fd00::/48", "a server inside a private network").with(private),
		accept("private: mapped private allowed by policy", "::ffff:192.168.0.0/112", "192.168.0.0/16", "unmapped as ever").with(private),
		refuse("private: a zone is still refused", "fe80::1%eth0", zoneNotAllowed, "the policy on ranges does not allow zones").with(private).suggest("fe80::1"),
	)
}
