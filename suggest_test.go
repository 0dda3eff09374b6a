package ipallow

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ipallow/ipallow/internal/entrytext"
	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/naive"
	"github.com/stretchr/testify/require"
)

// What stands for several networks gets all of them, ready to take.
func TestSuggestionsOfSeveral(t *testing.T) {
	oneToNine := "203.0.113.1 203.0.113.2/31 203.0.113.4/30 203.0.113.8/31"
	for _, c := range []struct{ text, want, reason string }{
		{"203.0.113.1-203.0.113.9", oneToNine, "a range"},
		{"203.0.113.1 - 203.0.113.9", oneToNine, "a range with spaces"},
		{"203.0.113.1\u2013203.0.113.9", oneToNine, "a range with the dash of a word processor"},
		{"203.0.113.1..203.0.113.9", oneToNine, "a range as programmers write it"},
		{"203.0.113.1 to 203.0.113.9", oneToNine, "a range in words"},
		{"203.0.113.1-9", oneToNine, "the last number only"},
		{"203.0.113.1 - 9", oneToNine, "the last number only, with spaces"},
		{"203.0.113.250-114.5", "203.0.113.250/31 203.0.113.252/30 203.0.114.0/30 203.0.114.4/31", "the last two numbers"},
		{"::ffff:203.0.113.1-203.0.113.9", oneToNine, "an IPv4-mapped end"},
		{"203.0.113.0-203.0.113.255", "203.0.113.0/24", "a range that is one network"},
		{"203.0.113.5-203.0.113.5", "203.0.113.5", "a range of one address"},
		{"203.0.113.1-203.0.113.254", "203.0.113.1 203.0.113.2/31 203.0.113.4/30 203.0.113.8/29 203.0.113.16/28 203.0.113.32/27 203.0.113.64/26 " +
			"203.0.113.128/26 203.0.113.192/27 203.0.113.224/28 203.0.113.240/29 203.0.113.248/30 203.0.113.252/31 203.0.113.254", "the hosts of a /24"},
		{"2001:db8::1-2001:db8::9", "2001:db8::1 2001:db8::2/127 2001:db8::4/126 2001:db8::8/127", "an IPv6 range"},
		{"2001:db8::1-9", "2001:db8::1 2001:db8::2/127 2001:db8::4/126 2001:db8::8/127", "the last group only"},
		{"203.0.113.9-203.0.113.1", "", "backwards"},
		{"203.0.113.1-2001:db8::9", "", "across families"},
		{"203.0.113.1-office", "", "no end"},
		{"203.0.113.1 - office", "203.0.113.1", "a label behind a dash"}, {"203.0.113.0/24 \u2014 office, 2nd floor", "", "a label with a comma"},
		{"203.0.113.0/24 - office", "203.0.113.0/24", "a label behind a dash"}, {"203.0.113.5/24 - 203.0.114.0/24", "", "from network to network"},
		{"8.0.0.0-15.255.255.255", "", "8.0.0.0/5 is too broad"},
		{"10.0.0.1-10.0.0.9", "", "private"},
		{"9.255.255.0-10.0.0.255", "", "half of it is private"},
		{"203.0.113.1-203.2.255.254", "", "30 networks, and a list may have 20"},

		{"203.0.113.*", "203.0.113.0/24", "a wildcard"},
		{"203.0.*.*", "203.0.0.0/16", "wildcards"},
		{"203.0.*", "203.0.0.0/16", "one wildcard for the rest"},
		{"203.0.113.x", "203.0.113.0/24", "a letter for a wildcard"},
		{"2001:db8:1:*", "2001:db8:1::/48", "a wildcard in IPv6"},
		{"2001:db8:1:*:*:*:*:*", "2001:db8:1::/48", "wildcards in IPv6"},
		{"2001:db8::*", "", "the last group, or all that follows"},
		{"203.*.*.*", "", "203.0.0.0/8 is too broad"},
		{"10.*.*.*", "", "private"},
		{"203.*.113.5", "", "not at the end"},
		{"203.0.113.1*", "", "part of a number"},
		{"*.*.*.*", "", "everything"}, {"*", "", "everything"},

		{"203.0.113.0/255.255.255.0", "203.0.113.0/24", "a netmask"},
		{"203.0.113.0 255.255.255.0", "203.0.113.0/24", "a netmask after a space"},
		{"203.0.113.0\t255.255.255.0", "203.0.113.0/24", "a netmask after a tab"},
		{"203.0.113.0 netmask 255.255.255.0", "203.0.113.0/24", "as ifconfig prints it"},
		{"203.0.113.5 255.255.255.0", "203.0.113.0/24", "an address with the mask of its network"},
		{"203.0.113.0 0.0.0.255", "203.0.113.0/24", "an inverted mask, as in access lists of routers"},
		{"203.0.113.5/255.255.255.255", "203.0.113.5", "a mask for one address"},
		{"2001:db8:1::/ffff:ffff:ffff::", "2001:db8:1::/48", "a netmask of IPv6"},
		{"203.0.113.0/255.0.255.0", "", "no mask"},
		{"203.0.113.5 0.0.0.0", "", "one address to one reader, and all to another"},
		{"8.0.0.0/255.0.0.0", "", "too broad"},

		{"203.0.113.5, 203.0.113.6", "203.0.113.5 203.0.113.6", "two addresses"},
		{"203.0.113.5,203.0.113.6", "203.0.113.5 203.0.113.6", "without a space"},
		{"203.0.113.5;203.0.113.6", "203.0.113.5 203.0.113.6", "semicolon"},
		{"203.0.113.5|203.0.113.6", "203.0.113.5 203.0.113.6", "bar"},
		{"203.0.113.5\n203.0.113.6", "203.0.113.5 203.0.113.6", "two lines"},
		{"203.0.113.5\r\n203.0.113.6\r\n", "203.0.113.5 203.0.113.6", "two lines of Windows"},
		{"203.0.113.5\t203.0.113.6", "203.0.113.5 203.0.113.6", "tab"},
		{"203.0.113.5 203.0.113.6", "203.0.113.5 203.0.113.6", "space"},
		{"203.0.113.5, 2001:db8::/48 ,198.51.100.0/24,", "203.0.113.5 2001:db8::/48 198.51.100.0/24", "of both families, and a separator left behind"},
		{"203.0.113.6, 203.0.113.5, 203.0.113.6/32", "203.0.113.6 203.0.113.5", "in order, equal ones once"},
		{"203.0.113.1-9, 198.51.100.*", oneToNine + " 198.51.100.0/24", "a range and a wildcard"},
		{"203.0.113.1 - 203.0.113.9; 198.51.100.0 255.255.255.0", oneToNine + " 198.51.100.0/24", "spaces within, semicolons between"},
		{`["203.0.113.5", "203.0.113.6"]`, "203.0.113.5 203.0.113.6", "a JSON array"},
		{`"203.0.113.5", "203.0.113.6"`, "203.0.113.5 203.0.113.6", "its inside"},
		{"- 203.0.113.5\n- 203.0.113.6", "203.0.113.5 203.0.113.6", "a list in YAML"},
		{"203.0.113.5 # office\n203.0.113.6 # home", "203.0.113.5 203.0.113.6", "lines with comments"},
		{"[2001:db8::1]:443, 203.0.113.5:443", "2001:db8::1 203.0.113.5", "with ports"},
		{"203.0.113.5, example.com", "", "a name cannot be taken, and half of it would be wrong"},
		{"203.0.113.5, 10.0.0.1", "", "a private one cannot be taken"},
		{"203.0.113.5/24, 203.0.113.6", "", "two readings of the first"},
		{"203.0.113.5, 203.0.113", "", "a short one"},
		{"203.0.113.0/24,203.0.113.6", "203.0.113.0/24 203.0.113.6", "a network first"},
		{strings.Repeat("203.0.113.5,", 200), "203.0.113.5", "longer than an entry may be"},
		{seq(20), strings.ReplaceAll(seq(20), ",", " "), "as many as a list may have"},
		{seq(21), "", "one more"},

		{"203.0.113.5 # office", "203.0.113.5", "a comment"},
		{"203.0.113.5 6", "", "not 203.0.113.56"},
		{"203.0.113.5 office", "", "a label behind it"},
		{"203.0.11 3.5", "", "a space within a number"},
		{"ip4:203.0.113.0/24", "203.0.113.0/24", "as SPF writes it"},
		{"country:DE", "", "a country"}, {"DE", "", "a country"}, {"geoip:de", "", "a country"}, {"region=eu-west-1", "", "a region"},
		{"AS64500", "", "an AS number"}, {"asn:64500", "", "an AS number"}, {"as64500", "", "an AS number"},
		{"00:00:5e:00:53:01", "", "a MAC address"}, {"00-00-5E-00-53-01", "", "a MAC address"},
		{"example.com:443", "", "a host name with a port"}, {"*.example.com", "", "a host name"}, {"my-host", "", "a host name"},

		{"203.0.113.5/24", "203.0.113.0/24 203.0.113.5", "both readings"},
		{"203.0.113.5/8", "203.0.113.5", "203.0.0.0/8 is too broad"},
		{"::ffff:203.0.113.5/96", "203.0.113.5", "0.0.0.0/0 is too broad"},
		{"10.0.0.1/8", "", "both are private"},
		{"2001:db8::1/32", "2001:db8::1", "2001:db8::/32 is too broad"},
		{"9.255.255.255/7", "9.255.255.255", "8.0.0.0/7 is too broad"},

		{"2001:db8::1%Ethernet 2", "2001:db8::1", "without its zone"},
		{"fe80::1%Ethernet 2", "", "fe80::1 is link-local"},
		{"2001:db8::%eth0/48", "2001:db8::/48", "a network without its zone"},
		{"2001:db8::%eth0/16", "", "too broad without its zone"},
		{"fe80::1%", "", "link-local"},

		{"2001:db8::1%eth0, 2001:db8::2", "2001:db8::1 2001:db8::2", "a zone that is another entry"},
		{"2001:db8::%eth0, 2001:db8:1::/48", "2001:db8:: 2001:db8:1::/48", "the length belongs to the other entry"},
		{"2001:db8::1%eth0 2001:db8::2%eth1", "2001:db8::1 2001:db8::2", "with a space between them"},
		{"2001:db8::1%a, b", "2001:db8::1", "a zone with a comma"},

		{"64:ff9b::203.0.113.5", "203.0.113.5", "carries IPv4 (RFC 6052)"},
		{"64:ff9b::cb00:7100/120", "203.0.113.0/24", "carries an IPv4 network"},
		{"64:ff9b:1::203.0.113.5", "203.0.113.5", "carries IPv4 (RFC 8215)"},
		{"64:ff9b:1:cb00:71:500::", "203.0.113.5", "carries IPv4 around the bits 64 to 71 (RFC 6052, section 2.2)"},
		{"::203.0.113.5", "203.0.113.5", "IPv4-compatible"},
		{"::ffff:0:203.0.113.0/120", "203.0.113.0/24", "IPv4-translated"},
		{"64:ff9b::10.0.0.1", "", "carries a private address"},
		{"64:ff9b::8.0.0.0/104", "", "carries 8.0.0.0/8"},
		{"64:ff9b::/96", "", "carries all of IPv4"}, {"::/96", "", "carries all of IPv4"},
		{"64:ff9b:1::/48", "", "shorter than what it carries"},
		{"::1", "", "loopback"}, {"::", "", "unspecified"}, {"100::1", "", "discard"},
	} {
		policy := DefaultPolicy()
		_, err := policy.ParseList([]string{c.text})
		var f *EntryError
		require.ErrorAs(t, err, &f, "%q: %s", c.text, c.reason)
		require.Equal(t, c.want, strings.Join(f.Suggestions, " "), "%q: %s\n%v", c.text, c.reason, err)
		requireSuggestions(t, f, &policy)
		require.NotContains(t, f.Reason, "port", "%q: %s", c.text, c.reason)
		for _, s := range f.Suggestions[:min(len(f.Suggestions), maxShown)] {
			require.Contains(t, err.Error(), s, "a person reads them too")
		}
	}
}

// What a text costs has a bound, whatever it stands for.
func TestSuggestionsAreBounded(t *testing.T) {
	policy := *widest()
	for _, text := range []string{
		strings.Repeat("::1-ff::,", 450), strings.Repeat("::1-ff::,", 14), strings.Repeat("::1-ff:: ", 450),
		strings.Repeat("::%a,", 800), strings.Repeat("::% ", 1000), strings.Repeat("- ", 2000), strings.Repeat("[", 4000), strings.Repeat("\n#", 2000),
		strings.Repeat("a=", 60), strings.Repeat("ip:", 40) + "::1", strings.Repeat("://", 42), strings.Repeat("%", 128), strings.Repeat("'", 127),
		strings.Repeat("a:1 ", 1000), strings.Repeat("1/", 2000), strings.Repeat("\u200b", 1300), strings.Repeat("*.", 2000), strings.Repeat("..", 2000), strings.Repeat("- ;", 1300),
	} {
		start := time.Now()
		for range 20 {
			_, err := policy.ParseList([]string{text})
			var f *EntryError
			require.ErrorAs(t, err, &f)
			require.LessOrEqual(t, len(f.Suggestions), entrytext.MaxMeant+254)
			require.Less(t, len(err.Error()), maxFaultText)
		}
		// Each takes a few milliseconds at the most; what is not bounded takes minutes.
		require.Less(t, time.Since(start), 20*time.Second, "%.40q", text)
	}
}

// seq is n addresses with commas between them.
func seq(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint("203.0.113.", i+1)
	}
	return strings.Join(list, ",")
}

// What is not an address is called what it is.
func TestReasons(t *testing.T) {
	for _, c := range []struct{ text, word string }{
		{"country:DE", "countries"}, {"DE", "country"}, {"geoip2:de", "countries"}, {"Region:eu", "places"},
		{"AS64500", "AS numbers"}, {"ASN64500", "AS numbers"}, {"asn:64500", "AS numbers"},
		{"example.com", "host name"}, {"example.com:443", "host name"}, {"*.example.com", "host name"}, {"any", "host name"},
		{"00:00:5e:00:53:01", "MAC"}, {"203.0.113.5:443", "port"}, {"203.0.113.0/24:443", "port"}, {"[2001:db8::1]:443", "ports"},
		{"https://203.0.113.5/", "URL"}, {"203.0.113.5-203.0.113.9", "ranges"}, {"203.0.113.9-203.0.113.5", "ends before it begins"},
		{"203.0.113.*", "wildcards"}, {"203.0.113.0/255.255.255.0", "netmasks"}, {"203.0.113.5, 203.0.113.6", "several"},
		{"203.0.113.5/33", "at most /32"}, {"203.0.113.5/", "missing"}, {"203.0.113.5 # x", "comment"}, {" 203.0.113.5", "white space"},
		{"203.0.113.1-203.2.255.254", "a list may have 20 entries"}, {"203.0.113.0/24 - 203.0.114.0/24", "ranges"}, {"203.0.113.0/203.0.113.255", "neither a length nor a netmask"},
		{"203.*.*.*", "203.0.0.0/8 would be refused too (too_broad)"}, {"203.0.113.5, 10.0.0.1", "10.0.0.1 would be refused too (not_public)"},
		{"fe80::1%eth0", "fe80::1 would be refused too (not_public)"}, {"::ffff:203.0.113.5/96", "/96"}, {"10.0.0.1/8", "10.0.0.1 would be refused too (not_public)"},
		{"203.0.113.5 office", "label"}, {strings.Repeat("1", 200), "too long"},
		{"192.0.0.8", "protocol assignments"}, {"198.18.0.1", "benchmarks"}, {"100::1", "discarding"}, {"5f00::1", "segment routing"},
		{"fec0::1", "site-local"}, {"2001:2::1", "benchmarks"}, {"64:ff9b::1.2.3.4", "IPv4 address or network that it carries"},
		{"224.0.0.0/3", "multicast (RFC 5771) and reserved"}, {"fe80::/9", "link-local (RFC 4291, section 2.5.6) and site-local"},
		{"8.0.0.0/8", "8,388,608 addresses"}, {"2001:db8::/32", "2^95 addresses"},
	} {
		_, err := DefaultPolicy().ParseList([]string{c.text})
		require.ErrorContains(t, err, c.word, "%q", c.text)
	}
}

// policies are limits of many kinds, for what must hold under each.
var policies = []Policy{
	DefaultPolicy(), {}, *widest(),
	{MaxEntries: 1, MinBits4: 24, MinBits6: 64, MaxLabel: 5},
	{MaxEntries: 100_000, MinBits4: 8, MinBits6: 19, MaxLabel: 100},
	{MaxEntries: 3, MinBits4: 33, MinBits6: 0, AllowNonPublic: true},
	{MaxEntries: 254, MinBits4: 0, MinBits6: 129},
	{MaxEntries: -1, MinBits4: -1, MinBits6: -1, MaxLabel: -1},
}

// requireFault compares what each policy says of one text with the naive one, and holds the
// suggestions to their promises.
func requireFault(t testing.TB, text string) {
	t.Helper()
	for i := range policies {
		p := &policies[i]
		_, err := p.ParseList([]string{text})
		_, faults := toNaive(*p).ParseList([]naive.Text{{Entry: text}})
		if (err == nil) != (len(faults) == 0) {
			t.Fatalf("policy %d, ParseList(%q): %v, want %v", i, text, err, faults)
		}
		if err == nil {
			continue
		}
		v := err.(*ValidationError)
		for j, f := range v.Entries {
			if f.Index != faults[j].Index || string(f.Code) != faults[j].Code {
				t.Fatalf("policy %d, ParseList(%q): fault %d is %v, want %v", i, text, j, f, faults[j])
			}
			requireSuggestions(t, f, p)
		}
	}
}

func TestSuggestionsOfTraps(t *testing.T) {
	for _, text := range gen.Traps {
		requireFault(t, text)
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 10_000 {
		requireFault(t, gen.Text(r))
	}
	// Two of them in one text.
	for range 10_000 {
		requireFault(t, gen.Text(r)+[]string{",", ", ", " ", "-", " - ", "\n", ";", "/", "%"}[r.IntN(9)]+gen.Text(r))
	}
}

// Ranges of all kinds against the naive cover.
func TestRangesVsNaive(t *testing.T) {
	seen := tally{}
	r := rand.New(rand.NewPCG(7, 8))
	for range 3_000 {
		a := gen.Prefix(r).Addr()
		b := a.AsSlice()
		for n := r.IntN(3); n >= 0; n-- {
			b[len(b)-1-r.IntN(1+r.IntN(len(b)))] = byte(r.IntN(256))
		}
		last, _ := netip.AddrFromSlice(b)
		text := fmt.Sprintf("%s%s%s", a, []string{"-", " - ", "..", "\u2014"}[r.IntN(4)], last)
		want := naive.Cover(naive.CanonicalAddr(a), naive.CanonicalAddr(last))
		for _, p := range want {
			if p.Addr().Is4In6() {
				want = nil // would be IPv4 entries
				break
			}
		}
		_, err := ParseEntry(text)
		var f *EntryError
		require.ErrorAs(t, err, &f)
		if len(f.Suggestions) != len(want) {
			t.Fatalf("%d suggestions for %q, want %d", len(f.Suggestions), text, len(want))
		}
		for i, s := range f.Suggestions {
			if p, _ := naive.Parse(s); p != want[i] {
				t.Fatalf("suggestion %d for %q is %q, want %v", i, text, s, want[i])
			}
		}
		seen[fmt.Sprint(min(len(want), 2))]++
		requireFault(t, text)
	}
	seen.require(t, 10, "0", "1", "2")
}
