package clientip

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestOptionsFaults(t *testing.T) {
	proxies := testProxies
	pfx := netip.MustParsePrefix
	for _, test := range []struct {
		reason string
		opts   Options
		want   []string // the beginning of each fault's text, in order
	}{
		{"nothing set: the peer", Options{}, nil},
		{"a list with proxies", Options{Mode: XForwardedFor, TrustedProxies: proxies}, nil},
		{"a list with the socket alone", Options{Mode: Forwarded, TrustUnixPeer: true}, nil},
		{"counting from any peer", Options{Mode: Forwarded, TrustedHops: 32, TrustAnyPeer: true}, nil},
		{"counting from named peers", Options{Mode: XForwardedFor, TrustedHops: 1, TrustedProxies: proxies}, nil},
		{"counting from the socket", Options{Mode: XForwardedFor, TrustedHops: 1, TrustUnixPeer: true}, nil},
		{"a single header, lower case", Options{Mode: SingleHeader, Header: "cf-connecting-ip", TrustedProxies: proxies}, nil},
		{"mapped prefix", Options{Mode: Forwarded, TrustedProxies: []netip.Prefix{pfx("::ffff:10.0.0.0/104")}}, nil},
		{"half of IPv4 is much, but not all", Options{Mode: Forwarded, TrustedProxies: []netip.Prefix{pfx("0.0.0.0/1")}}, nil},

		{"no such mode", Options{Mode: 4, TrustedProxies: proxies}, []string{`Mode "4"`}},
		{"peer with proxies", Options{TrustedProxies: proxies}, []string{`TrustedProxies "3 prefixes"`}},
		{"peer with everything", Options{Header: "X-Real-IP", TrustedProxies: proxies, TrustedHops: 1, TrustAnyPeer: true, TrustUnixPeer: true},
			[]string{"TrustedProxies", "TrustedHops", "TrustAnyPeer", "TrustUnixPeer", "Header"}},
		{"nobody trusted", Options{Mode: XForwardedFor}, []string{`TrustedProxies "none"`}},
		{"nobody trusted, single", Options{Mode: SingleHeader, Header: "X-Real-IP"}, []string{`TrustedProxies "none"`}},
		{"counting from nobody", Options{Mode: XForwardedFor, TrustedHops: 1}, []string{`TrustedProxies "none"`}},
		{"any peer without counting", Options{Mode: XForwardedFor, TrustAnyPeer: true}, []string{`TrustAnyPeer "true"`}},
		{"any peer for a single header", Options{Mode: SingleHeader, Header: "X-Real-IP", TrustAnyPeer: true}, []string{`TrustAnyPeer "true"`}},
		{"any peer and named peers", Options{Mode: XForwardedFor, TrustedHops: 1, TrustAnyPeer: true, TrustedProxies: proxies}, []string{`TrustAnyPeer "true"`}},
		{"negative hops", Options{Mode: XForwardedFor, TrustedHops: -1, TrustedProxies: proxies}, []string{`TrustedHops "-1"`}},
		{"more hops than elements", Options{Mode: XForwardedFor, TrustedHops: 33, TrustedProxies: proxies}, []string{`TrustedHops "33"`}},
		{"hops in a single header", Options{Mode: SingleHeader, Header: "X-Real-IP", TrustedHops: 1, TrustedProxies: proxies}, []string{`TrustedHops "1"`}},

		{"header with a list mode", Options{Mode: Forwarded, Header: "X-Real-IP", TrustedProxies: proxies}, []string{`Header "X-Real-IP"`}},
		{"header not named", Options{Mode: SingleHeader, TrustedProxies: proxies}, []string{`Header ""`}},
		{"header with a space", Options{Mode: SingleHeader, Header: "X Real IP", TrustedProxies: proxies}, []string{`Header "X Real IP"`}},
		{"header with a colon", Options{Mode: SingleHeader, Header: "X-Real-IP:", TrustedProxies: proxies}, []string{`Header "X-Real-IP:"`}},
		{"header with a line end", Options{Mode: SingleHeader, Header: "X-Real-IP\r\n", TrustedProxies: proxies}, []string{`Header "X-Real-IP\r\n"`}},
		{"header beyond ASCII", Options{Mode: SingleHeader, Header: "X-Réal-IP", TrustedProxies: proxies}, []string{`Header "X-Réal-IP"`}},
		{"look-alike header", Options{Mode: SingleHeader, Header: "X_Real_IP", TrustedProxies: proxies}, []string{`Header "X_Real_IP"`}},
		{"a list as a single header", Options{Mode: SingleHeader, Header: "x-forwarded-for", TrustedProxies: proxies}, []string{`Header "x-forwarded-for"`}},
		{"the other list as a single header", Options{Mode: SingleHeader, Header: "FORWARDED", TrustedProxies: proxies}, []string{`Header "FORWARDED"`}},
		{"the client's own header", Options{Mode: SingleHeader, Header: "Host", TrustedProxies: proxies}, []string{`Header "Host"`}},

		{"all faulty prefixes, with their places", Options{Mode: Forwarded, TrustedProxies: []netip.Prefix{
			{}, pfx("10.0.0.0/8"), pfx("10.0.0.1/8"), pfx("0.0.0.0/0"), pfx("::/0"), pfx("::ffff:0:0/95"), pfx("::ffff:0:0/96"), pfx("::ffff:10.0.0.1/104"), pfx("2001:db8::1/32"),
		}}, []string{
			`TrustedProxies[0] "invalid Prefix"`, `TrustedProxies[2] "10.0.0.1/8": host bits are set; write 10.0.0.0/8 for the network or 10.0.0.1/32`,
			`TrustedProxies[3] "0.0.0.0/0"`, `TrustedProxies[4] "::/0"`, `TrustedProxies[5] "::ffff:0.0.0.0/95": an IPv4-mapped prefix needs`, `TrustedProxies[6] "::ffff:0.0.0.0/96"`,
			`TrustedProxies[7] "::ffff:10.0.0.1/104": host bits are set; write 10.0.0.0/8`, `TrustedProxies[8] "2001:db8::1/32"`,
		}},
		{"all of IPv4 in two halves", Options{Mode: Forwarded, TrustedProxies: []netip.Prefix{pfx("128.0.0.0/1"), pfx("10.0.0.0/8"), pfx("0.0.0.0/1")}}, []string{`TrustedProxies "IPv4"`}},
		{"all of IPv6 in two halves", Options{Mode: Forwarded, TrustedProxies: []netip.Prefix{pfx("10.0.0.0/8"), pfx("8000::/1"), pfx("::/1")}}, []string{`TrustedProxies "IPv6"`}},
		{"faults of every kind at once", Options{Mode: SingleHeader, Header: "X_Real_IP", TrustedHops: -5, TrustAnyPeer: true, TrustedProxies: []netip.Prefix{{}}},
			[]string{"TrustedProxies[0]", "TrustedHops", "TrustedHops", "TrustAnyPeer", "Header"}},
	} {
		src, err := New(&test.opts)
		if test.want == nil {
			if err != nil || src == nil {
				t.Errorf("%s: New(%+v) = %v, %v", test.reason, test.opts, src, err)
			}
			continue
		}
		var oe *OptionsError
		if src != nil || !errors.As(err, &oe) {
			t.Errorf("%s: New(%+v) = %v, %v", test.reason, test.opts, src, err)
			continue
		}
		if len(oe.Faults) != len(test.want) {
			t.Errorf("%s: %d faults, want %d: %v", test.reason, len(oe.Faults), len(test.want), err)
			continue
		}
		for i, f := range oe.Faults {
			if !strings.HasPrefix(f.Error(), "clientip: "+test.want[i]) {
				t.Errorf("%s: fault %d is %q, want %q", test.reason, i, f, test.want[i])
			}
			if !strings.Contains(err.Error(), strings.TrimPrefix(f.Error(), "clientip: ")) {
				t.Errorf("%s: %q is not in %q", test.reason, f, err)
			}
			if !errors.Is(err, f) {
				t.Errorf("%s: errors.Is does not find %q", test.reason, f)
			}
		}
		var first *OptionFault
		if !errors.As(err, &first) || first != oe.Faults[0] {
			t.Errorf("%s: errors.As finds %v", test.reason, first)
		}
	}
}

// The caller's options may change after New.
func TestOptionsAreCopied(t *testing.T) {
	opts := Options{Mode: XForwardedFor, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	src := mustNew(t, opts)
	opts.TrustedProxies[0] = netip.MustParsePrefix("203.0.113.0/24")
	if got := src.FromValues("10.0.0.1:1", []string{"203.0.113.9"}); got.Addr != netip.MustParseAddr("203.0.113.9") {
		t.Errorf("got %v", got)
	}
}

func TestHeaderName(t *testing.T) {
	for want, opts := range map[string]*Options{
		"":                 {},
		"X-Forwarded-For":  {Mode: XForwardedFor, TrustedProxies: testProxies},
		"Forwarded":        {Mode: Forwarded, TrustedProxies: testProxies},
		"Cf-Connecting-Ip": {Mode: SingleHeader, Header: "CF-Connecting-IP", TrustedProxies: testProxies},
	} {
		if got := mustNew(t, *opts).Header(); got != want {
			t.Errorf("mode %v: %q, want %q", opts.Mode, got, want)
		}
	}
	if got := (*Source)(nil).Header(); got != "" {
		t.Errorf("nil Source: %q", got)
	}
	if Mode(4).String() != "invalid" {
		t.Errorf("Mode(4) is %q", Mode(4))
	}
}
