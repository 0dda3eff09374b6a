package naive

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"203.0.113.5", "203.0.113.5/32"},
		{"203.0.113.0/24", "203.0.113.0/24"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"2001:DB8::1", "2001:db8::1/128"},
		{"2001:db8::/48", "2001:db8::/48"},
		{"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0/128"},
		{"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8/128"},
		{"::ffff:203.0.113.5", "203.0.113.5/32"},
		{"::ffff:cb00:7105", "203.0.113.5/32"},
		{"::ffff:203.0.113.0/120", "203.0.113.0/24"},
		{"::ffff:0:0/96", "0.0.0.0/0"},
		{"::203.0.113.5", "::cb00:7105/128"},
		{"::fffe:0:0/95", "::fffe:0:0/95"},
		{"::/0", "::/0"},
		{"::ffff:0:0/95", InvalidSyntax},
		{"203.0.113.5/24", HostBits},
		{"2001:db8::1/48", HostBits},
		{"::ffff:203.0.113.5/120", HostBits},
		{"fe80::1%eth0", Zone},
		{"fe80::1%eth0/64", Zone},
		{"fe80::1%eth0/129", InvalidSyntax},
		{"fe80::1%", InvalidSyntax},
		{"fe80::1%a%b", Zone}, {"fe80::1%Ethernet 2", Zone}, {"fe80::1%\u00e9", Zone}, {"fe80::1%eth0.100", Zone},
		{"fe80::1%a\x00", InvalidSyntax}, {"fe80::1%a\u0085", InvalidSyntax}, {"fe80::1%a\xff", InvalidSyntax}, {"fe80::1%\ufffd", Zone},
		{"fe80::1%a]", InvalidSyntax}, {"fe80::1%[", InvalidSyntax},
		{"fe80::1%" + strings.Repeat("z", 120), Zone}, {"fe80::1%" + strings.Repeat("z", 121), InvalidSyntax},
		{"203.0.113.5%eth0", InvalidSyntax},
		{"", InvalidSyntax}, {"/", InvalidSyntax}, {"::/", InvalidSyntax}, {":", InvalidSyntax},
		{"10.1", InvalidSyntax}, {"010.0.0.1", InvalidSyntax}, {"0x0a.0.0.1", InvalidSyntax},
		{"1.2.3.4.5", InvalidSyntax}, {"1.2.3.256", InvalidSyntax}, {"1.2.3.", InvalidSyntax},
		{"1.2.3.4/08", InvalidSyntax}, {"1.2.3.4/+8", InvalidSyntax}, {"1.2.3.4/33", InvalidSyntax},
		{"1.2.3.4/8/8", InvalidSyntax}, {"1.2.3.4/255.0.0.0", InvalidSyntax},
		{"1.2.3.4 ", InvalidSyntax}, {"[::1]", InvalidSyntax}, {":::", InvalidSyntax},
		{"1::2::3", InvalidSyntax}, {"1:2:3:4:5:6:7", InvalidSyntax}, {"12345::", InvalidSyntax},
		{"1:2:3:4:5:6:7:8:9", InvalidSyntax}, {"1:2:3:4:5:6:7:8::", InvalidSyntax},
		{"1.2.3.4::", InvalidSyntax}, {"::1.2.3", InvalidSyntax}, {"::g", InvalidSyntax},
	} {
		p, code := Parse(c.text)
		got := code
		if code == OK {
			got = p.String()
		}
		require.Equal(t, c.want, got, "%q", c.text)
	}
}

// The letter-by-letter readers and net/netip are two opinions of the same
// RFC; a text made of the letters of addresses tells them apart.
func TestParseAgreesWithNetip(t *testing.T) {
	const letters = "0125f:."
	valid := 0
	var texts func(prefix string, n int)
	texts = func(s string, n int) {
		_, err := netip.ParseAddr(s)
		_, code := Parse(s)
		require.Equal(t, err == nil, code == OK, "%q", s)
		if err == nil {
			valid++
		}
		if n > 0 {
			for _, l := range letters {
				texts(s+string(l), n-1)
			}
		}
	}
	texts("", 5)
	for _, head := range []string{"1.2.3", "1:2:3:4:5:6:7", "1:2:3:4:5:6", "::ffff", "1::", "::1.2.3"} {
		texts(head, 4)
	}
	require.Greater(t, valid, 100)
}

func TestMatch(t *testing.T) {
	list := []Entry{
		{Prefix: netip.MustParsePrefix("203.0.113.0/24")},
		{Prefix: netip.MustParsePrefix("203.0.113.128/25")},
		{Prefix: netip.MustParsePrefix("203.0.113.128/25"), Label: "again"},
		{Prefix: netip.MustParsePrefix("2001:db8::/48")},
		{Prefix: netip.MustParsePrefix("::ffff:198.51.100.7/120")}, // host bits and mapped
		{},
	}
	for _, c := range []struct {
		addr string
		want int
	}{
		{"203.0.113.1", 0}, {"203.0.113.129", 1}, {"::ffff:203.0.113.129", 1},
		{"203.0.112.255", -1}, {"203.0.114.0", -1},
		{"2001:db8::1%eth0", 3}, {"2001:db8:1::", -1},
		{"198.51.100.200", 4}, {"198.51.101.0", -1}, {"::", -1},
	} {
		a := netip.MustParseAddr(c.addr)
		require.Equal(t, c.want, Lookup(list, a), c.addr)
		require.Equal(t, c.want >= 0, Contains(list, a), c.addr)
	}
	require.Equal(t, -1, Lookup(list, netip.Addr{}))
	require.False(t, Contains(nil, netip.MustParseAddr("203.0.113.1")))
	require.Equal(t, []int{-1, 0, 0, -1, -1, -1}, Redundant(list))
}

func TestValidate(t *testing.T) {
	texts := []Text{
		{"203.0.113.0/24", "office"},
		{"203.0.113.5/24", ""},
		{"10.0.0.0/8", ""},
		{"10.0.0.0/9", ""},
		{"::ffff:203.0.113.0/120", strings.Repeat("ä", 101)},
		{"2001:db8::/32", "\x00"},
		{"fe80::1%eth0", "\xff"},
	}
	_, faults := Default.ParseList(texts)
	require.Equal(t, []Fault{
		{Index: 1, Code: HostBits}, {Index: 2, Code: NotPublic}, {Index: 3, Code: NotPublic},
		{Index: 4, Code: Duplicate}, {Index: 4, Code: LabelTooLong},
		{Index: 5, Code: TooBroad}, {Index: 5, Code: LabelInvalid},
		{Index: 6, Code: Zone}, {Index: 6, Code: LabelInvalid},
	}, faults)
	entries, faults := Default.Validate([]Entry{{Prefix: netip.MustParsePrefix("::ffff:203.0.113.5/128")}})
	require.Empty(t, faults)
	require.Equal(t, "203.0.113.5/32", entries[0].Prefix.String())
	_, faults = Default.Validate([]Entry{{}, {Prefix: netip.MustParsePrefix("203.0.113.5/24")}})
	require.Equal(t, []Fault{{Index: 0, Code: InvalidSyntax}, {Index: 1, Code: HostBits}}, faults)
	_, faults = Policy{}.Validate([]Entry{{Prefix: netip.MustParsePrefix("203.0.113.5/32")}})
	require.Equal(t, []Fault{{Index: -1, Code: TooManyEntries}}, faults)
}

func TestNeverPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.0.0/8": true, "10.0.0.0/7": false, "224.0.0.0/3": true, "240.0.0.0/4": true, "0.0.0.0/0": false,
		"::/127": true, "::/96": true, "::/95": false, "fe80::/9": true, "fec0::/10": true, "fe00::/8": false, "fe00::/7": false,
		"255.255.255.255/32": true, "::/0": false, "ff00::/8": true, "fe80::/8": false,
	} {
		p := netip.MustParsePrefix(text).Masked()
		require.Equal(t, want, neverPublic(p), text)
	}
}

func TestCover(t *testing.T) {
	a := netip.MustParseAddr
	require.Equal(t, "[203.0.113.1/32 203.0.113.2/31 203.0.113.4/30 203.0.113.8/31]", fmt.Sprint(Cover(a("203.0.113.1"), a("203.0.113.9"))))
	require.Equal(t, "[0.0.0.0/0]", fmt.Sprint(Cover(a("0.0.0.0"), a("255.255.255.255"))))
	require.Equal(t, "[2001:db8::1/128 2001:db8::2/127]", fmt.Sprint(Cover(a("2001:db8::1"), a("2001:db8::3"))))
	require.Empty(t, Cover(a("203.0.113.9"), a("203.0.113.1")))
	require.Len(t, Cover(a("::1"), a("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")), 254)
}

func TestEngine(t *testing.T) {
	home := []Entry{{Prefix: netip.MustParsePrefix("203.0.113.5/32")}}
	in, out := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("203.0.113.6")
	e := &Engine{Policy: Default, MaxKeys: 2}
	require.True(t, e.Set("a", home))
	require.Equal(t, Denied, e.Check("a", in), "not loaded")
	require.True(t, e.Replace([]Change{{Key: "a", Entries: home}, {Key: "b"}}))
	require.Equal(t, Allowed, e.Check("a", in))
	require.Equal(t, Denied, e.Check("a", out))
	require.Equal(t, Unrestricted, e.Check("b", out))
	before := e.Clone()
	require.False(t, e.Update([]Change{{Key: "a", Delete: true}, {Key: "c", Entries: []Entry{{}}}}))
	require.Equal(t, Allowed, e.Check("a", in), "a failed step changes nothing")
	require.False(t, e.Replace([]Change{{Key: "a"}, {Key: "a"}}))
	require.False(t, e.Update([]Change{{Key: "b", Entries: home}, {Key: "c", Entries: home}}), "three keys")
	require.False(t, e.Set("", home))
	require.Equal(t, Denied, e.Check("", in))
	require.Equal(t, Denied, e.Check(strings.Repeat("k", MaxKeyLen+1), in))
	require.Equal(t, Unrestricted, e.Check(strings.Repeat("k", MaxKeyLen), in))
	require.False(t, e.Set(strings.Repeat("k", MaxKeyLen+1), home))
	e.Delete("a")
	require.Equal(t, Unrestricted, e.Check("a", out))
	require.Equal(t, Denied, before.Check("a", out), fmt.Sprint(before.Lists))
}
