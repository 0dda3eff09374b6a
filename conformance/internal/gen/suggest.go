package main

// suggestCases are texts that stand for networks and are no entries. What is suggested is all of the
// networks, or nothing where the policy refuses one of them or a list may not have so many.
func suggestCases() []entryCase {
	means := func(name, entry, reason string, networks ...string) entryCase {
		return refuse("suggest: "+name, entry, invalidSyntax, reason).suggest(networks...)
	}
	nine := []string{"203.0.113.1", "203.0.113.2/31", "203.0.113.4/30", "203.0.113.8/31"}
	return []entryCase{
		means("range", "203.0.113.1-203.0.113.9", "the fewest networks that are the range", nine...),
		means("range with spaces", "203.0.113.1 - 203.0.113.9", "spaces around the hyphen change nothing", nine...),
		means("range by its last number", "203.0.113.1-9", "the rest is that of the first address", nine...),
		means("range that is one network", "203.0.113.0-203.0.113.255", "exactly a /24", "203.0.113.0/24"),
		means("range of one address", "203.0.113.5-203.0.113.5", "it begins where it ends", "203.0.113.5"),
		means("ipv6 range", "2001:db8::1-2001:db8::9", "as for IPv4", "2001:db8::1", "2001:db8::2/127", "2001:db8::4/126", "2001:db8::8/127"),
		means("range over a byte", "203.0.113.254-203.0.114.1", "the last byte goes from 255 to 0", "203.0.113.254/31", "203.0.114.0/31"),
		means("range backwards", "203.0.113.9-203.0.113.1", "it holds nothing"),
		means("range across families", "203.0.113.1-2001:db8::9", "it holds nothing"),
		means("range too broad", "8.0.0.0-15.255.255.255", "it is 8.0.0.0/5, which the policy refuses"),
		means("range half private", "9.255.255.0-10.0.0.255", "half of it would be another range"),
		means("range of 30 networks", "203.0.113.1-203.2.255.254", "a list may have 20"),
		means("range under a limit of 4", "203.0.113.1-203.0.113.9", "exactly the limit", nine...).with(policy{"max_entries": 4}),
		means("range under a limit of 3", "203.0.113.1-203.0.113.9", "one above the limit").with(policy{"max_entries": 3}),
		means("range of private addresses where they are allowed", "10.0.0.0-10.0.0.255", "the policy decides", "10.0.0.0/24").with(policy{"allow_non_public": true}),

		means("wildcard", "203.0.113.*", "the last number", "203.0.113.0/24"),
		means("two wildcards", "203.0.*.*", "the last two numbers", "203.0.0.0/16"),
		means("one wildcard for two numbers", "203.0.*", "all that follows", "203.0.0.0/16"),
		means("ipv6 wildcard", "2001:db8:1:*", "all groups that follow", "2001:db8:1::/48"),
		means("wildcard too broad", "203.*.*.*", "203.0.0.0/8 is not suggested, since the policy refuses it"),
		means("wildcard inside", "203.*.113.5", "no network"),
		means("wildcard for everything", "*", "nobody is asked to allow everybody"),

		means("netmask", "203.0.113.0/255.255.255.0", "24 ones", "203.0.113.0/24"),
		means("netmask after a space", "203.0.113.0 255.255.255.0", "as routers print it", "203.0.113.0/24"),
		means("inverted netmask", "203.0.113.0 0.0.0.255", "as access lists of routers have it", "203.0.113.0/24"),
		means("netmask of one address", "203.0.113.5/255.255.255.255", "32 ones", "203.0.113.5"),
		means("netmask with a gap", "203.0.113.0/255.0.255.0", "no network"),
		means("netmask too broad", "8.0.0.0/255.0.0.0", "8.0.0.0/8 is not suggested, since the policy refuses it"),

		means("several: comma", "203.0.113.5,203.0.113.6", "one entry at a time", "203.0.113.5", "203.0.113.6"),
		means("several: comma and space", "203.0.113.5, 203.0.113.6", "one entry at a time", "203.0.113.5", "203.0.113.6"),
		means("several: semicolon", "203.0.113.5;203.0.113.6", "one entry at a time", "203.0.113.5", "203.0.113.6"),
		means("several: lines", "203.0.113.5\n203.0.113.6\n", "one entry at a time", "203.0.113.5", "203.0.113.6"),
		means("several: space", "203.0.113.5 203.0.113.6", "one entry at a time", "203.0.113.5", "203.0.113.6"),
		means("several: both families", "2001:db8::/48, 203.0.113.5", "in the order of the text", "2001:db8::/48", "203.0.113.5"),
		means("several: the same twice", "203.0.113.5, 203.0.113.5/32", "a list has each once", "203.0.113.5"),
		means("several: one is a range", "203.0.113.1-9, 198.51.100.7", "all that they stand for", append(nine[:4:4], "198.51.100.7")...),
		means("several: one is a name", "203.0.113.5, example.com", "half of what was meant would be wrong"),
		means("several: one is private", "203.0.113.5, 10.0.0.1", "half of what was meant would be wrong"),
		means("several: a digit after a space", "203.0.113.5 6", "not 203.0.113.56"),

		means("country", "country:DE", "countries are not looked up"),
		means("country code", "DE", "countries are not looked up"),
		means("as number", "AS64500", "AS numbers are not looked up"),
		means("host name", "example.com", "names are not looked up"),
	}
}
