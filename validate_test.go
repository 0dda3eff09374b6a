package ipallow

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/stretchr/testify/require"
)

func TestDefaultPolicy(t *testing.T) {
	require.Equal(t, Policy{MaxEntries: 20, MinBits4: 9, MinBits6: 33, MaxLabel: 100}, DefaultPolicy())
}

// A whole list at once: every fault, in order, with its index.
func TestParseListReportsEveryFault(t *testing.T) {
	list, err := DefaultPolicy().ParseList([]string{
		"203.0.113.0/24", "10.1", "fe80::1%eth0", "203.0.113.5/24", "8.0.0.0/8", "10.0.0.1", "::ffff:203.0.113.0/120",
	})
	require.Nil(t, list, "of a faulty list nothing is returned")
	require.Equal(t, []string{
		"1 invalid_syntax", "2 zone_not_allowed", "3 host_bits_set", "4 too_broad", "5 not_public", "6 duplicate",
	}, codes(t, err))
}

func TestPolicyCodes(t *testing.T) {
	for _, c := range []struct {
		text   string
		code   Code // "" for an entry that passes
		reason string
	}{
		// Breadth, at the limit and one past it.
		{"8.0.0.0/9", "", "IPv4 at the limit"},
		{"8.0.0.0/8", CodeTooBroad, "IPv4 one bit shorter"},
		{"0.0.0.0/0", CodeTooBroad, "all of IPv4, which also begins in 0.0.0.0/8"},
		{"2001:db8::/33", "", "IPv6 at the limit"},
		{"2001:db8::/32", CodeTooBroad, "IPv6 one bit shorter, the commonest allocation"},
		{"::/0", CodeTooBroad, "all of IPv6"},
		{"::ffff:0:0/96", CodeTooBroad, "all of IPv4, mapped: unmapped before the limit is checked"},
		{"::ffff:8.0.0.0/104", CodeTooBroad, "mapped /8"},
		{"::ffff:8.0.0.0/105", "", "mapped /9"},
		{"10.0.0.0/8", CodeNotPublic, "not_public comes before too_broad"},
		{"fc00::/7", CodeNotPublic, "not_public comes before too_broad"},
		{"224.0.0.0/3", CodeNotPublic, "multicast and reserved, and no more"},

		// Each range that is not public: its first and last address, and the
		// ones before and after.
		{"0.0.0.0", CodeNotPublic, "unspecified"}, {"0.255.255.255", CodeNotPublic, "end of this network"}, {"1.0.0.0", "", "after it"},
		{"9.255.255.255", "", "before RFC 1918"}, {"10.0.0.0", CodeNotPublic, "RFC 1918"}, {"10.255.255.255", CodeNotPublic, "RFC 1918"}, {"11.0.0.0", "", "after it"},
		{"172.15.255.255", "", "before RFC 1918"}, {"172.16.0.0", CodeNotPublic, "RFC 1918"}, {"172.31.255.255", CodeNotPublic, "RFC 1918"}, {"172.32.0.0", "", "after it"},
		{"192.167.255.255", "", "before RFC 1918"}, {"192.168.0.0", CodeNotPublic, "RFC 1918"}, {"192.168.255.255", CodeNotPublic, "RFC 1918"}, {"192.169.0.0", "", "after it"},
		{"100.63.255.255", "", "before shared"}, {"100.64.0.0", CodeNotPublic, "shared"}, {"100.127.255.255", CodeNotPublic, "shared"}, {"100.128.0.0", "", "after it"},
		{"126.255.255.255", "", "before loopback"}, {"127.0.0.0", CodeNotPublic, "loopback"}, {"127.255.255.255", CodeNotPublic, "loopback"}, {"128.0.0.0", "", "after it"},
		{"169.253.255.255", "", "before link-local"}, {"169.254.0.0", CodeNotPublic, "link-local"}, {"169.254.255.255", CodeNotPublic, "link-local"}, {"169.255.0.0", "", "after it"},
		{"223.255.255.255", "", "before multicast"}, {"224.0.0.0", CodeNotPublic, "multicast"}, {"239.255.255.255", CodeNotPublic, "multicast"},
		{"240.0.0.0", CodeNotPublic, "reserved"}, {"255.255.255.255", CodeNotPublic, "broadcast"},
		{"::", CodeNotPublic, "unspecified"}, {"::1", CodeNotPublic, "loopback"}, {"::2", CodeNotPublic, "IPv4-compatible"}, {"::/127", CodeNotPublic, "both and no more"}, {"::/95", "", "not wholly"},
		{"fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "before unique local"}, {"fc00::", CodeNotPublic, "unique local"},
		{"fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", CodeNotPublic, "unique local"}, {"fe00::", "", "after it"}, {"fe00::/8", CodeTooBroad, "not wholly"},
		{"fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "before link-local"}, {"fe80::", CodeNotPublic, "link-local"},
		{"febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", CodeNotPublic, "link-local"}, {"fec0::", CodeNotPublic, "site-local"}, {"fe80::/9", CodeNotPublic, "link-local and site-local"},
		{"feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", CodeNotPublic, "site-local"}, {"ff00::", CodeNotPublic, "multicast"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", CodeNotPublic, "multicast"},
		{"::ffff:10.0.0.1", CodeNotPublic, "mapped and private"},
		{"191.255.255.255", "", "before protocol assignments"}, {"192.0.0.0", CodeNotPublic, "protocol assignments"}, {"192.0.0.255", CodeNotPublic, "protocol assignments"}, {"192.0.1.0", "", "after it"},
		{"198.17.255.255", "", "before benchmarking"}, {"198.18.0.0", CodeNotPublic, "benchmarking"}, {"198.19.255.255", CodeNotPublic, "benchmarking"}, {"198.20.0.0", "", "after it"},
		{"::ffff:ffff", CodeNotPublic, "the last IPv4-compatible one"}, {"::1:0:0", "", "after it"}, {"::/96", CodeNotPublic, "IPv4-compatible"},
		{"::fffe:ffff:ffff:ffff", "", "before IPv4-translated"}, {"::ffff:0:0:0", CodeNotPublic, "IPv4-translated"}, {"::ffff:0:ffff:ffff", CodeNotPublic, "IPv4-translated"}, {"::ffff:1:0:0", "", "after it"},
		{"64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "", "before translated"}, {"64:ff9b::", CodeNotPublic, "translated"}, {"64:ff9b::ffff:ffff", CodeNotPublic, "translated"}, {"64:ff9b::1:0:0", "", "after it"},
		{"64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "", "before locally translated"}, {"64:ff9b:1::", CodeNotPublic, "locally translated"},
		{"64:ff9b:1:ffff:ffff:ffff:ffff:ffff", CodeNotPublic, "locally translated"}, {"64:ff9b:2::", "", "after it"},
		{"ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "before discard"}, {"100::", CodeNotPublic, "discard"}, {"100::ffff:ffff:ffff:ffff", CodeNotPublic, "discard"}, {"100:0:0:1::", "", "after it"},
		{"2001:1:ffff:ffff:ffff:ffff:ffff:ffff", "", "before benchmarking"}, {"2001:2::", CodeNotPublic, "benchmarking"}, {"2001:2:0:ffff:ffff:ffff:ffff:ffff", CodeNotPublic, "benchmarking"}, {"2001:2:1::", "", "after it"},
		{"5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "before segment routing"}, {"5f00::", CodeNotPublic, "segment routing"}, {"5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", CodeNotPublic, "segment routing"}, {"5f01::", "", "after it"},
		{"100.0.0.0/9", "", "holds 100.64.0.0/10, and public addresses beside it: not wholly"},
		{"172.0.0.0/9", "", "holds 172.16.0.0/12, not wholly"},

		// Documentation ranges pass, so that examples can be typed.
		{"192.0.2.0/24", "", "documentation"}, {"198.51.100.0/24", "", "documentation"},
		{"203.0.113.0/24", "", "documentation"}, {"2001:db8:1::/48", "", "documentation"}, {"3fff::/48", "", "documentation (RFC 9637)"},

		// Of these, some clients come from there.
		{"2002:cb00:7105::/48", "", "6to4"}, {"2001:0:cb00:7105::/64", "", "Teredo"}, {"192.31.196.0/24", "", "AS112"}, {"2620:4f:8000::/48", "", "AS112"},
	} {
		_, err := DefaultPolicy().ParseList([]string{c.text})
		var want []string
		if c.code != "" {
			want = []string{"0 " + string(c.code)}
		}
		require.Equal(t, want, codes(t, err), "%s: %s", c.text, c.reason)

		// The same through Validate, where there is a prefix to give it.
		if e, err := ParseEntry(c.text); err == nil {
			require.Equal(t, want, codes(t, DefaultPolicy().Validate([]Entry{e})), "Validate %s: %s", c.text, c.reason)
		}
	}
}

// The words of a fault say what to do, as the table of the specification
// wants it.
func TestSuggestions(t *testing.T) {
	for _, c := range []struct{ texts, suggestion, reason string }{
		{"8.0.0.0/8", "/9 or longer, 8,388,608 addresses", "the limit"},
		{"2001:db8::/32", "/33 or longer, 2^95 addresses", "the limit"},
		{"10.0.0.1", "use the public egress address of the NAT gateway or load balancer", "the way out"},
		{"203.0.113.5 198.51.100.1 203.0.113.5/32", "entry 1", "the place of the first, as a person counts"},
		{"198.51.100.1 203.0.113.5 2001:db8::1 ::ffff:203.0.113.5", "entry 2", "the place of the first, as a person counts"},
	} {
		_, err := DefaultPolicy().ParseList(strings.Fields(c.texts))
		var v *ValidationError
		require.ErrorAs(t, err, &v)
		require.Len(t, v.Entries, 1)
		require.Equal(t, c.suggestion, v.Entries[0].Suggestion, "%s: %s", c.texts, c.reason)
		require.NotEmpty(t, v.Entries[0].Reason)
	}
	_, err := DefaultPolicy().ParseList([]string{"2001:db8::/32"})
	require.ErrorContains(t, err, "/33", "a /32 is common, so the message names the limit")
	require.ErrorContains(t, err, "policy", "and says that a policy can widen it")
}

func TestOrderOfCodes(t *testing.T) {
	for _, c := range []struct{ text, code, reason string }{
		{"fe80::1%eth0/129", "0 invalid_syntax", "invalid_syntax before zone_not_allowed"},
		{"fe80::1%eth0/64", "0 zone_not_allowed", "zone_not_allowed before host_bits_set"},
		{"10.0.0.1/7", "0 host_bits_set", "host_bits_set before too_broad"},
		{"10.0.0.1/9", "0 host_bits_set", "host_bits_set before not_public"},
		{"10.0.0.0/7", "0 too_broad", "half of it is public"},
		{"10.0.0.0/8", "0 not_public", "not_public before too_broad"},
	} {
		_, err := DefaultPolicy().ParseList([]string{c.text})
		require.Equal(t, []string{c.code}, codes(t, err), c.reason)
	}
	_, err := DefaultPolicy().ParseList([]string{"10.0.0.1", "10.0.0.1", "8.0.0.0/8", "8.0.0.0/8", "203.0.113.1/24", "203.0.113.1/24"})
	require.Equal(t, []string{
		"0 not_public", "1 not_public", "2 too_broad", "3 too_broad", "4 host_bits_set", "5 host_bits_set",
	}, codes(t, err), "duplicate comes last")
}

func TestDuplicates(t *testing.T) {
	for _, c := range []struct {
		a, b   string
		dup    bool
		reason string
	}{
		{"203.0.113.5", "203.0.113.5", true, "the same text"},
		{"203.0.113.5", "203.0.113.5/32", true, "the same prefix, another text"},
		{"203.0.113.5", "::ffff:203.0.113.5", true, "mapped"},
		{"2001:db8::1", "2001:DB8:0::1/128", true, "another spelling"},
		{"203.0.113.0/24", "203.0.113.0/25", false, "another length"},
		{"0.0.0.0/32", "::/32", false, "another family"},
		{"203.0.113.0/24", "203.0.113.0", false, "an address in a network is redundant, not equal"},
	} {
		wide := *widest()
		_, err := wide.ParseList([]string{c.a, c.b})
		require.Equal(t, c.dup, err != nil, "%s, %s: %s", c.a, c.b, c.reason)
	}
	// Short lists are searched and long ones are a map: duplicates at every
	// distance, around the length where one becomes the other.
	wide := *widest()
	for _, n := range []int{2, shortList - 1, shortList, shortList + 1, shortList + 2, 200} {
		list := fromNaive(gen.Distinct(n))
		require.NoError(t, wide.Validate(list), "%d entries", n)
		for _, first := range []int{0, (n - 1) / 2, n - 2} {
			dup := append([]Entry(nil), list...)
			dup[n-1] = dup[first]
			require.Equal(t, []string{fmt.Sprintf("%d duplicate", n-1)}, codes(t, wide.Validate(dup)), "%d entries", n)
			require.ErrorContains(t, wide.Validate(dup), fmt.Sprintf("(suggestion: entry %d)", first+1))
		}
		triple := append(append([]Entry(nil), list...), list[0], list[0])
		require.Equal(t, []string{fmt.Sprintf("%d duplicate", n), fmt.Sprintf("%d duplicate", n+1)}, codes(t, wide.Validate(triple)))
		require.Equal(t, 2, strings.Count(wide.Validate(triple).Error(), "(suggestion: entry 1)"), "the first, not the last")
	}
}

// Every limit at, below and above its bound, and where it is 0 or negative.
func TestPolicyLimits(t *testing.T) {
	list := fromNaive(gen.Distinct(30))
	for _, limit := range []int{-1, 0, 1, 19, 20, 21, 29} {
		p := Policy{MaxEntries: limit, MaxLabel: 100}
		for _, n := range []int{limit - 1, limit, limit + 1} {
			if n < 0 {
				continue
			}
			var want []string
			if n > max(limit, 0) {
				want = []string{"-1 too_many_entries"}
			}
			require.Equal(t, want, codes(t, p.Validate(list[:n])), "MaxEntries %d, %d entries", limit, n)
		}
	}
	require.ErrorContains(t, DefaultPolicy().Validate(list[:21]), "at most 20 entries")

	for bits := range 33 {
		p := prefix(fmt.Sprintf("0.0.0.0/%d", bits))
		for _, limit := range []int{bits - 1, bits, bits + 1} {
			err := Policy{MaxEntries: 1, MinBits4: limit, MinBits6: 129, AllowNonPublic: true}.Validate([]Entry{{Prefix: p}})
			require.Equal(t, bits < limit, err != nil, "MinBits4 %d, %v", limit, p)
		}
	}
	for bits := range 129 {
		p := prefix(fmt.Sprintf("::/%d", bits))
		for _, limit := range []int{bits - 1, bits, bits + 1} {
			err := Policy{MaxEntries: 1, MinBits6: limit, MinBits4: 33, AllowNonPublic: true}.Validate([]Entry{{Prefix: p}})
			require.Equal(t, bits < limit, err != nil, "MinBits6 %d, %v", limit, p)
		}
	}

	for _, limit := range []int{-1, 0, 1, 99, 100, 101} {
		p := DefaultPolicy()
		p.MaxLabel = limit
		for _, n := range []int{limit - 1, limit, limit + 1} {
			if n < 0 {
				continue
			}
			for _, r := range []string{"x", "é", "界", "👍"} { // 1 to 4 bytes: code points are counted
				e := Entry{Prefix: prefix("203.0.113.5/32"), Label: strings.Repeat(r, n)}
				var want []string
				if n > max(limit, 0) {
					want = []string{"0 label_too_long"}
				}
				require.Equal(t, want, codes(t, p.Validate([]Entry{e})), "MaxLabel %d, %d times %q", limit, n, r)
			}
		}
	}
}

func TestAllowNonPublic(t *testing.T) {
	p := DefaultPolicy()
	p.AllowNonPublic = true
	for _, text := range []string{"10.0.0.0/9", "127.0.0.1", "::1", "fe80::/64", "ff02::1", "0.0.0.0", "255.255.255.255"} {
		_, err := p.ParseList([]string{text})
		require.NoError(t, err, text)
	}
	_, err := p.ParseList([]string{"10.0.0.0/8"})
	require.Equal(t, []string{"0 too_broad"}, codes(t, err), "the other limits stand")
	_, err = (Policy{MaxEntries: 1}).ParseList([]string{"224.0.0.0/3"})
	require.Equal(t, []string{"0 not_public"}, codes(t, err), "multicast and reserved space together are not public either")
}

func TestLabels(t *testing.T) {
	for _, c := range []struct {
		label  string
		code   Code
		reason string
	}{
		{"", "", "no label"},
		{"Büro, 2. Stock 👍", "", "any printable text"},
		{strings.Repeat("界", 100), "", "100 code points in 300 bytes"},
		{strings.Repeat("x", 101), CodeLabelTooLong, "one too many"},
		{"\xff", CodeLabelInvalid, "not UTF-8"},
		{"\xed\xa0\x80", CodeLabelInvalid, "half of a surrogate pair is not UTF-8"},
		{"\uFFFD", "", "the replacement character is a character"},
		{"a\nb", CodeLabelInvalid, "a line feed"},
		{"\t", CodeLabelInvalid, "a tab"},
		{"\x00", CodeLabelInvalid, "NUL"},
		{"\x7f", CodeLabelInvalid, "DEL"},
		{"\u0085", CodeLabelInvalid, "a C1 control character"},
		{"\u009b", CodeLabelInvalid, "the last but few C1 control characters; a terminal obeys it"},
		{"\u00a0", "", "the first after them"},
		{"\x1b[31m", CodeLabelInvalid, "a terminal would obey it"},
		{strings.Repeat("\n", 101), CodeLabelInvalid, "one code for one label"},
	} {
		var want []string
		if c.code != "" {
			want = []string{"0 " + string(c.code)}
		}
		err := DefaultPolicy().Validate([]Entry{{prefix("203.0.113.5/32"), c.label}})
		require.Equal(t, want, codes(t, err), "%q: %s", c.label, c.reason)
		parsed, err := DefaultPolicy().ParseEntries([]EntryText{{"203.0.113.5", c.label}})
		require.Equal(t, want, codes(t, err), "%q: %s", c.label, c.reason)
		if err != nil {
			require.Less(t, len(err.Error()), maxFaultText+500)
			require.NotContains(t, err.Error(), "\x1b")
		} else {
			require.Equal(t, []Entry{{prefix("203.0.113.5/32"), c.label}}, parsed, "labels are kept as they are")
		}
	}
	_, err := DefaultPolicy().ParseEntries([]EntryText{{"10.1", "\x00"}})
	require.Equal(t, []string{"0 invalid_syntax", "0 label_invalid"}, codes(t, err), "beside the entry's own fault")
}

func TestValidateEntries(t *testing.T) {
	for _, c := range []struct {
		e      Entry
		code   string
		reason string
	}{
		{Entry{}, "0 invalid_syntax", "the zero Entry passes no validation"},
		{Entry{Prefix: prefix("203.0.113.5/24")}, "0 host_bits_set", "host bits"},
		{Entry{Prefix: prefix("::ffff:203.0.113.5/120")}, "0 host_bits_set", "host bits, mapped"},
		{Entry{Prefix: prefix("::ffff:0:0/95")}, "0 invalid_syntax", "mapped and shorter than /96"},
		{Entry{Prefix: prefix("::ffff:0:0/96")}, "0 too_broad", "all of IPv4"},
		{Entry{Prefix: prefix("::ffff:203.0.113.0/120")}, "", "mapped"},
	} {
		var want []string
		if c.code != "" {
			want = []string{c.code}
		}
		require.Equal(t, want, codes(t, DefaultPolicy().Validate([]Entry{c.e})), "%v: %s", c.e, c.reason)
	}
	require.NoError(t, Policy{}.Validate(nil), "the zero Policy accepts the empty list")
	require.Error(t, Policy{}.Validate(entries("203.0.113.5/32")), "and nothing else")
	list, err := Policy{}.ParseList(nil)
	require.NoError(t, err)
	require.Empty(t, list)
}
