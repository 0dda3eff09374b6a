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
		{"192.168.0.0/16", "private (RFC 1918)", newNetwork(16, 192, 168, 0, 0), false, false},
		{"224.0.0.0/4", "multicast", newNetwork(4, 224, 0, 0, 0), false, true},
		{"240.0.0.0/4", "reserved", newNetwork(4, 240, 0, 0, 0), true, true},
		{"::", "unspecified", newNetwork(128, 0, 0, 0, 0, 0, 0, 0, 0), true, true},
		{"::1", "loopback", newNetwork(128, 0, 0, 0, 0, 0, 0, 0, 1), true, false},
		{"fc00::/7", "unique local", newNetwork(7, 0xfc00, 0, 0, 0, 0, 0, 0, 0), false, false},
		{"fe80::/10", "link-local", newNetwork(10, 0xfe80, 0, 0, 0, 0, 0, 0, 0), false, false},
		{"ff00::/8", "multicast", newNetwork(8, 0xff00, 0, 0, 0, 0, 0, 0, 0), false, true},
	}
}

// outside are the canonical texts of the addresses one before and one after
// the ranges, written by hand.
var outside = map[string]string{
	"after 0.0.0.0/8":       "1.0.0.0/32",
	"before 10.0.0.0/8":     "9.255.255.255/32",
	"after 10.0.0.0/8":      "11.0.0.0/32",
	"before 100.64.0.0/10":  "100.63.255.255/32",
	"after 100.64.0.0/10":   "100.128.0.0/32",
	"before 127.0.0.0/8":    "126.255.255.255/32",
	"after 127.0.0.0/8":     "128.0.0.0/32",
	"before 169.254.0.0/16": "169.253.255.255/32",
	"after 169.254.0.0/16":  "169.255.0.0/32",
	"before 172.16.0.0/12":  "172.15.255.255/32",
	"after 172.16.0.0/12":   "172.32.0.0/32",
	"before 192.168.0.0/16": "192.167.255.255/32",
	"after 192.168.0.0/16":  "192.169.0.0/32",
	"before 224.0.0.0/4":    "223.255.255.255/32",
	"after ::1":             "::2/128",
	"before fc00::/7":       "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
	"after fc00::/7":        "fe00::/128",
	"before fe80::/10":      "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
	"after fe80::/10":       "fec0::/128",
	"before ff00::/8":       "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
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
		accept("range: four addresses from ::", "::/126", "::/126", "::2 and ::3 are not in the list of ranges"),
		refuse("range: :: and ::1 together", "::/127", notPublic, "no address in it can be a client's, though it is two ranges"),
		refuse("range: 224/4 and 240/4 together", "224.0.0.0/3", notPublic, "no address in it can be a client's, though it is two ranges").with(wide),
		accept("range: twice 10/8 where it is allowed", "10.0.0.0/7", "10.0.0.0/7", "11.0.0.0/8 is public").with(wide),
		accept("range: twice fc00::/7 where it is allowed", "fc00::/6", "fc00::/6", "fe00::/9 is not in the list of ranges").with(wide),
		accept("range: benchmarking is not listed", "198.18.0.0/15", "198.18.0.0/15", "RFC 2544 space is not among the ranges"),
		accept("range: protocol assignments are not listed", "192.0.0.0/24", "192.0.0.0/24", "RFC 6890 space is not among the ranges"),
		accept("range: discard prefix is not listed", "100::/64", "100::/64", "RFC 6666 space is not among the ranges"),
		accept("range: 6to4 is not listed", "2002:cb00:7105::/48", "2002:cb00:7105::/48", "RFC 3056 space is not among the ranges"),
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
