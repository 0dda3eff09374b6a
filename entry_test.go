package ipallow

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/naive"
	"github.com/stretchr/testify/require"
)

func TestParseEntry(t *testing.T) {
	for _, c := range []struct{ text, want, reason string }{
		{"203.0.113.5", "203.0.113.5/32", "a single address has the full length"},
		{"203.0.113.0/24", "203.0.113.0/24", "a network is itself"},
		{"203.0.113.5/32", "203.0.113.5/32", "the full length may be written"},
		{"0.0.0.0/0", "0.0.0.0/0", "no policy is applied"},
		{"0.0.0.0", "0.0.0.0/32", "no policy is applied"},
		{"255.255.255.255", "255.255.255.255/32", "the last address"},
		{"2001:db8::1", "2001:db8::1/128", "a single address has the full length"},
		{"2001:db8::/48", "2001:db8::/48", "a network is itself"},
		{"::/0", "::/0", "no policy is applied"},
		{"2001:DB8:0:0:0:0:0:1", "2001:db8::1/128", "RFC 5952: lower case, zeros shortened"},
		{"2001:0db8::0001", "2001:db8::1/128", "RFC 5952: no leading zeros"},
		{"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1/128", "RFC 5952: the first of equal runs is shortened"},
		{"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1/128", "RFC 5952: a single group of zeros is not"},
		{"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0/128", "RFC 5952: nor when the writer did"},
		{"2001:db8::203.0.113.5", "2001:db8::cb00:7105/128", "RFC 4291: the end as an IPv4 address"},
		{"::ffff:203.0.113.5", "203.0.113.5/32", "IPv4-mapped is IPv4"},
		{"::ffff:cb00:7105", "203.0.113.5/32", "also in hexadecimal"},
		{"::FFFF:203.0.113.0/120", "203.0.113.0/24", "a mapped network is IPv4"},
		{"::ffff:0:0/96", "0.0.0.0/0", "looks narrower than /33 and is all of IPv4"},
		{"::203.0.113.5", "::cb00:7105/128", "IPv4-compatible is not IPv4-mapped"},
		{"::fffe:0:0/95", "::fffe:0:0/95", "begins before the mapped range, so it is an IPv6 network"},
		{"0000:0000:0000:0000:0000:ffff:255.255.255.255/128", "255.255.255.255/32", "the longest valid text"},
	} {
		e, err := ParseEntry(c.text)
		require.NoError(t, err, "%q: %s", c.text, c.reason)
		require.Equal(t, c.want, e.String(), "%q: %s", c.text, c.reason)
		require.Equal(t, prefix(c.want), e.Prefix, "%q: %s", c.text, c.reason)
		require.Empty(t, e.Label)
		again, err := ParseEntry(e.String())
		require.NoError(t, err)
		require.Equal(t, e, again, "the canonical text is its own canonical text")
	}
}

func TestParseEntryFaults(t *testing.T) {
	const none = ""
	for _, c := range []struct {
		text       string
		code       Code
		suggestion string
		reason     string
	}{
		{"", CodeInvalidSyntax, none, "nothing"},
		{"010.0.0.1", CodeInvalidSyntax, none, "a leading zero: 8 to one reader and 10 to another"},
		{"203.0.113.05", CodeInvalidSyntax, none, "a leading zero"},
		{"0xcb.0.113.5", CodeInvalidSyntax, none, "hexadecimal"},
		{"0xcb007105", CodeInvalidSyntax, none, "hexadecimal"},
		{"3405803781", CodeInvalidSyntax, none, "one decimal number"},
		{"10.1", CodeInvalidSyntax, none, "short IPv4 means 10.0.0.1 to some and 10.1.0.0 to others"},
		{"10.1/16", CodeInvalidSyntax, "10.1.0.0/16", "short IPv4 network"},
		{"256.0.0.1", CodeInvalidSyntax, none, "a number over 255"},
		{"1.2.3.4.5", CodeInvalidSyntax, none, "five numbers"},
		{"1..2.3", CodeInvalidSyntax, none, "a number is missing"},
		{"203.0.113.0/255.255.255.0", CodeInvalidSyntax, "203.0.113.0/24", "netmask notation"},
		{"203.0.113.0/0.0.0.255", CodeInvalidSyntax, "203.0.113.0/24", "inverted netmask"},
		{"203.0.113.0 255.255.255.0", CodeInvalidSyntax, "203.0.113.0/24", "netmask after a space"},
		{"203.0.113.0/255.0.255.0", CodeInvalidSyntax, none, "a mask that is no network"},
		{"203.0.113.5:443", CodeInvalidSyntax, "203.0.113.5", "port"},
		{"[2001:db8::1]:443", CodeInvalidSyntax, "2001:db8::1", "port and brackets"},
		{"[2001:db8::1]", CodeInvalidSyntax, "2001:db8::1", "brackets"},
		{"[2001:db8::]/48", CodeInvalidSyntax, "2001:db8::/48", "brackets"},
		{" 203.0.113.5", CodeInvalidSyntax, "203.0.113.5", "white space before"},
		{"203.0.113.5\n", CodeInvalidSyntax, "203.0.113.5", "white space behind"},
		{"203.0.113.0 /24", CodeInvalidSyntax, "203.0.113.0/24", "white space within"},
		{"203.0.113.0/ 24", CodeInvalidSyntax, "203.0.113.0/24", "white space in the length"},
		{"203.0.113.5\u200b", CodeInvalidSyntax, "203.0.113.5", "an invisible character"},
		{"203.0.113.5\x00", CodeInvalidSyntax, "203.0.113.5", "a NUL"},
		{"203.0.113.*", CodeInvalidSyntax, "203.0.113.0/24", "wildcard"},
		{"203.0.*.*", CodeInvalidSyntax, "203.0.0.0/16", "wildcards"},
		{"*", CodeInvalidSyntax, none, "a wildcard for everything suggests nothing"},
		{"203.0.113.0-203.0.113.255", CodeInvalidSyntax, "203.0.113.0/24", "a range that is one network"},
		{"203.0.113.1-203.0.113.9", CodeInvalidSyntax, none, "a range of four networks"},
		{"203.0.113.9-203.0.113.1", CodeInvalidSyntax, none, "a range backwards"},
		{"203.0.113.0-2001:db8::", CodeInvalidSyntax, none, "a range across families"},
		{"203.0.113.5,203.0.113.6", CodeInvalidSyntax, none, "two entries"},
		{"203.0.113.0/24,203.0.113.6", CodeInvalidSyntax, none, "two entries"},
		{"203.0.113.5,", CodeInvalidSyntax, "203.0.113.5", "a separator left behind"},
		{"203.0.113.0/24;", CodeInvalidSyntax, "203.0.113.0/24", "a separator left behind"},
		{`"203.0.113.5"`, CodeInvalidSyntax, "203.0.113.5", "quotation marks, as in JSON"},
		{`"203.0.113.0/24",`, CodeInvalidSyntax, "203.0.113.0/24", "a line of a JSON array"},
		{"<2001:db8::1>", CodeInvalidSyntax, "2001:db8::1", "angle brackets"},
		{`"`, CodeInvalidSyntax, none, "one mark is not a pair"},
		{`"",`, CodeInvalidSyntax, none, "nothing between the marks"},
		{"https://203.0.113.5/v1", CodeInvalidSyntax, "203.0.113.5", "a URL"},
		{"https://[2001:db8::1]:8443/", CodeInvalidSyntax, "2001:db8::1", "a URL with a port"},
		{"https://example.com/", CodeInvalidSyntax, none, "a URL with a name"},
		{"example.com", CodeInvalidSyntax, none, "host name"},
		{"localhost", CodeInvalidSyntax, none, "host name"},
		{"any", CodeInvalidSyntax, none, "a word"},
		{"203.0.113.0/", CodeInvalidSyntax, "203.0.113.0", "length missing"},
		{"203.0.113.0/+24", CodeInvalidSyntax, "203.0.113.0/24", "length signed; some parsers take it"},
		{"203.0.113.0/-24", CodeInvalidSyntax, none, "length negative"},
		{"10.0.0.0/08", CodeInvalidSyntax, "10.0.0.0/8", "length padded; some parsers take it"},
		{"10.0.0.0/032", CodeInvalidSyntax, "10.0.0.0", "length padded; some parsers take it"},
		{"203.0.113.0/33", CodeInvalidSyntax, none, "length too long"},
		{"2001:db8::/129", CodeInvalidSyntax, none, "length too long"},
		{"203.0.113.0/4294967320", CodeInvalidSyntax, none, "a length that is 24 in 32 bits"},
		{"203.0.113.0/24/24", CodeInvalidSyntax, none, "two lengths"},
		{"/24", CodeInvalidSyntax, none, "no address"},
		{"2001:db8:::1", CodeInvalidSyntax, none, "three colons"},
		{"2001:db8::1::2", CodeInvalidSyntax, none, "zeros left out twice"},
		{"1:2:3:4:5:6:7", CodeInvalidSyntax, none, "seven groups"},
		{"1:2:3:4:5:6:7:8:9", CodeInvalidSyntax, none, "nine groups"},
		{"2001:db8::12345", CodeInvalidSyntax, none, "five digits"},
		{"::ffff:203.0.113.05", CodeInvalidSyntax, none, "leading zero in a mapped address"},
		{"::ffff:0:0/95", CodeInvalidSyntax, none, "a mapped prefix shorter than /96 is not an IPv4 network"},
		{"::ffff:203.0.113.5/24", CodeInvalidSyntax, none, "the length of the IPv4 form on the mapped one"},
		{"203.0.113.5\xff", CodeInvalidSyntax, none, "not UTF-8"},
		{strings.Repeat("1", 65), CodeInvalidSyntax, none, "longer than any entry"},
		{strings.Repeat("1", 129), CodeInvalidSyntax, none, "longer than what is read"},
		{"fe80::1%" + strings.Repeat("z", 121), CodeInvalidSyntax, none, "129 bytes"},
		{"203.0.113.5%eth0", CodeInvalidSyntax, "203.0.113.5", "IPv4 has no zones"},
		{"fe80::1%", CodeInvalidSyntax, "fe80::1", "no zone behind the %"},
		{"fe80::1%a\n", CodeInvalidSyntax, "fe80::1", "a control character in the zone"},
		{"fe80::1%a\u0086b", CodeInvalidSyntax, "fe80::1", "a control character of the second block"},
		{"fe80::1%a\xff", CodeInvalidSyntax, none, "a zone that is not UTF-8"},
		{"fe80::1%a[1]", CodeInvalidSyntax, none, "brackets in the zone"},

		{"fe80::1%eth0", CodeZoneNotAllowed, "fe80::1", "a zone"},
		{"fe80::1%a b", CodeZoneNotAllowed, "fe80::1", "white space in a zone"},
		{"fe80::1%Ethernet 2", CodeZoneNotAllowed, "fe80::1", "a zone of Windows"},
		{"fe80::1%vEthernet (Default Switch)", CodeZoneNotAllowed, "fe80::1", "a zone of Windows"},
		{"fe80::1%eth0.100", CodeZoneNotAllowed, "fe80::1", "a VLAN"},
		{"fe80::1%br-ée", CodeZoneNotAllowed, "fe80::1", "a zone beyond ASCII"},
		{"fe80::1%a%b", CodeZoneNotAllowed, "fe80::1", "a percent sign in the zone"},
		{`fe80::1%"x",<*>`, CodeZoneNotAllowed, "fe80::1", "all that is printable"},
		{"fe80::1%" + strings.Repeat("z", 120), CodeZoneNotAllowed, "fe80::1", "128 bytes"},
		{"fe80::1%1", CodeZoneNotAllowed, "fe80::1", "a zone by its number"},
		{"fe80::1%eth0/64", CodeZoneNotAllowed, "fe80::/64", "netip.ParseAddr takes this for the zone eth0/64"},
		{"fe80::%eth0/64", CodeZoneNotAllowed, "fe80::/64", "a zone in a network"},
		{"::ffff:203.0.113.5%eth0", CodeZoneNotAllowed, "203.0.113.5", "a zone on a mapped address"},
		{"2001:db8::1%eth0/48", CodeZoneNotAllowed, "2001:db8::/48", "zone before host bits"},

		{"203.0.113.5/24", CodeHostBitsSet, "203.0.113.0/24 or 203.0.113.5", "both readings"},
		{"2001:db8::1/48", CodeHostBitsSet, "2001:db8::/48 or 2001:db8::1", "both readings"},
		{"::ffff:203.0.113.5/120", CodeHostBitsSet, "203.0.113.0/24 or 203.0.113.5", "mapped, as IPv4"},
		{"128.0.0.0/0", CodeHostBitsSet, "0.0.0.0/0 or 128.0.0.0", "the first bit"},
		{"203.0.113.1/31", CodeHostBitsSet, "203.0.113.0/31 or 203.0.113.1", "the last bit"},
		{"2001:db8::1/127", CodeHostBitsSet, "2001:db8::/127 or 2001:db8::1", "the last bit"},
	} {
		_, err := ParseEntry(c.text)
		var f *EntryError
		require.ErrorAs(t, err, &f, "%q: %s", c.text, c.reason)
		require.Equal(t, c.code, f.Code, "%q: %s", c.text, c.reason)
		require.Equal(t, c.suggestion, f.Suggestion, "%q: %s", c.text, c.reason)
		require.Equal(t, c.text, f.Input)
		require.Zero(t, f.Index)
		require.NotEmpty(t, f.Reason, "%q has no sentence", c.text)
		requireSuggestions(t, f, nil)
	}
}

// requireSuggestions holds a fault to its promises: what it suggests can be taken as it stands
// under the same policy, at most as many as a list may have, and is canonical. policy may be nil.
func requireSuggestions(t testing.TB, f *EntryError, policy *Policy) {
	t.Helper()
	switch f.Code {
	case CodeInvalidSyntax, CodeZoneNotAllowed, CodeHostBitsSet, CodeNotPublic:
	default:
		if f.Suggestions != nil {
			t.Fatalf("%s suggests %q for %q", f.Code, f.Suggestions, f.Input)
		}
		return
	}
	if policy != nil && len(f.Suggestions) > max(policy.MaxEntries, 0) && (f.Suggestion == "" || policy.MaxEntries < 1) {
		t.Fatalf("%d suggestions for %q, and %d may be taken", len(f.Suggestions), f.Input, policy.MaxEntries)
	}
	limits := toNaive(*widest())
	if policy != nil {
		limits = toNaive(*policy)
	}
	var texts []naive.Text
	for _, s := range f.Suggestions {
		texts = append(texts, naive.Text{Entry: s})
		p, code := naive.Parse(s)
		if code != naive.OK {
			t.Fatalf("the suggestion %q for %q is %s", s, f.Input, code)
		}
		if want := strings.TrimSuffix(strings.TrimSuffix(p.String(), "/32"), "/128"); p.IsSingleIP() && s != want || !p.IsSingleIP() && s != p.String() {
			t.Fatalf("the suggestion %q for %q is not canonical", s, f.Input)
		}
		if policy != nil {
			if _, err := policy.ParseList([]string{s}); err != nil {
				t.Fatalf("the policy %+v refuses the suggestion %q for %q: %v", *policy, s, f.Input, err)
			}
		}
	}
	// Together too, but for the readings of one text, of which one is taken.
	if f.Suggestion != "" {
		texts = texts[:min(len(texts), 1)]
	}
	if _, faults := limits.ParseList(texts); len(faults) > 0 && !(policy == nil && len(texts) > limits.MaxEntries) {
		t.Fatalf("the suggestions %q for %q are faulty together: %v", f.Suggestions, f.Input, faults)
	}
	switch {
	case len(f.Suggestions) == 0:
		if f.Suggestion != "" && f.Code != CodeNotPublic {
			t.Fatalf("%q for %q is not among the suggestions", f.Suggestion, f.Input)
		}
	case len(f.Suggestions) == 1:
		if f.Suggestion != f.Suggestions[0] {
			t.Fatalf("%q for %q and not %q", f.Suggestion, f.Input, f.Suggestions[0])
		}
	case f.Suggestion != "" && f.Suggestion != strings.Join(f.Suggestions, " or "):
		t.Fatalf("%q for %q and not one of %q", f.Suggestion, f.Input, f.Suggestions)
	}
}

// requireParse compares ParseEntry with the naive parser on one text.
func requireParse(t testing.TB, text string) (code string) {
	t.Helper()
	want, code := naive.Parse(text)
	e, err := ParseEntry(text)
	if code == naive.OK {
		if err != nil || e.Prefix != want {
			t.Fatalf("ParseEntry(%q) = %v, %v, want %v", text, e, err, want)
		}
		canonical := e.String()
		if again, err := ParseEntry(canonical); err != nil || again != e {
			t.Fatalf("ParseEntry(%q), the canonical text of %q, = %v, %v", canonical, text, again, err)
		}
		return code
	}
	var f *EntryError
	if !errors.As(err, &f) || string(f.Code) != code || e != (Entry{}) {
		t.Fatalf("ParseEntry(%q) = %v, %v, want the code %s", text, e, err, code)
	}
	if f.Reason == "" || f.Input != text || f.Index != 0 {
		t.Fatalf("ParseEntry(%q): %#v lacks a reason or the input", text, f)
	}
	if len(f.Error()) > maxFaultText {
		t.Fatalf("ParseEntry(%q): a message of %d bytes", text, len(f.Error()))
	}
	requireSuggestions(t, f, nil)
	return code
}

// maxFaultText is more than one fault's message may have: the input is cut
// after 64 bytes, which are 256 as \x escapes.
const maxFaultText = 1000

func TestParseEntryVsNaive(t *testing.T) {
	seen := tally{}
	for _, text := range gen.Traps {
		seen[requireParse(t, text)]++
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 50_000 {
		seen[requireParse(t, gen.Text(r))]++
	}
	seen.require(t, 100, naive.OK, naive.InvalidSyntax, naive.Zone, naive.HostBits)
}

// Every length of both families: the network parses, any bit beyond the
// length does not.
func TestHostBitsOfEveryLength(t *testing.T) {
	for _, a := range []netip.Addr{addr("255.255.255.255"), addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), addr("0.0.0.0"), addr("::")} {
		for n := range a.BitLen() + 1 {
			p, err := a.Prefix(n)
			require.NoError(t, err)
			requireParse(t, p.String())
			for bit := range a.BitLen() {
				b := p.Addr().AsSlice()
				b[bit/8] ^= 0x80 >> (bit % 8)
				flipped, _ := netip.AddrFromSlice(b)
				text := netip.PrefixFrom(flipped, n).String()
				code := requireParse(t, text)
				if bit >= n && !flipped.Is4In6() {
					require.Equal(t, naive.HostBits, code, text)
				}
			}
		}
	}
}

func TestEntryString(t *testing.T) {
	require.Equal(t, "invalid Prefix", Entry{}.String())
	require.Equal(t, "203.0.113.0/24", Entry{Prefix: prefix("203.0.113.9/24"), Label: "not shown"}.String())
	require.Equal(t, "203.0.113.0/24", Entry{Prefix: prefix("::ffff:203.0.113.9/120")}.String())
	_, ok := Compile([]Entry{{}}).Lookup(addr("0.0.0.0"))
	require.False(t, ok, "the zero Entry matches nothing")
}

func TestEntryTextJSON(t *testing.T) {
	b, err := json.Marshal([]EntryText{{"203.0.113.0/24", "office"}, {"203.0.113.5", ""}})
	require.NoError(t, err)
	require.JSONEq(t, `[{"entry":"203.0.113.0/24","label":"office"},{"entry":"203.0.113.5"}]`, string(b))
}

func TestEntryErrorText(t *testing.T) {
	_, err := ParseEntry("203.0.113.5/24\x1b[31m")
	require.Contains(t, err.Error(), `"203.0.113.5/24\x1b[31m"`, "quoted, so that nothing reaches a terminal")
	require.NotContains(t, err.Error(), "\x1b")

	_, err = ParseEntry(strings.Repeat("\x00", 1<<20))
	require.Less(t, len(err.Error()), maxFaultText, "however long the input is")
	require.Contains(t, err.Error(), `"...`, "and the cut is shown")

	_, err = ParseEntry("203.0.113.5/24")
	require.Equal(t, `entry 1 "203.0.113.5/24": host_bits_set: the address has bits set beyond the length /24; `+
		`write the network, or the single address without a length (suggestion: 203.0.113.0/24 or 203.0.113.5)`, err.Error())

	var none *EntryError
	require.Equal(t, "<nil>", none.Error())
	require.NotPanics(t, func() { _ = (&EntryError{}).Error() })
}
