package clientip

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

var (
	listOptions    = Options{Mode: XForwardedFor, TrustedProxies: testProxies}
	forwardOptions = Options{Mode: Forwarded, TrustedProxies: testProxies}
	hopOptions     = Options{Mode: XForwardedFor, TrustedHops: 2, TrustAnyPeer: true}
	singleOptions  = Options{Mode: SingleHeader, Header: "X-Real-IP", TrustedProxies: testProxies}
)

// commonPaths are what TestNoAllocs holds to no allocation, and what
// BenchmarkFromRequest measures.
var commonPaths = []struct {
	name  string
	opts  Options
	peer  string
	lines []string
	want  string
}{
	{"source=peer/family=4/result=found", Options{}, "203.0.113.9:41000", nil, "203.0.113.9"},
	{"source=peer/family=6/result=found", Options{}, "[2001:db8::9]:41000", nil, "2001:db8::9"},
	{"source=peer/family=6zone/result=found", Options{}, "[fe80::9%eth0]:41000", nil, "fe80::9"},
	{"source=peer/family=unix/result=none", Options{}, "@", nil, "none (peer_without_address)"},
	{"source=xff/peer=untrusted/result=found", listOptions, "203.0.113.9:41000", []string{"6.6.6.6"}, "203.0.113.9"},
	{"source=xff/elements=1/lines=1/result=found", listOptions, "10.0.0.1:41000", []string{"203.0.113.9"}, "203.0.113.9"},
	{"source=xff/elements=3/lines=1/result=found", listOptions, "10.0.0.1:41000", []string{"6.6.6.6, 203.0.113.9:4711, 10.1.2.3"}, "203.0.113.9"},
	{"source=xff/elements=4/lines=3/result=found", listOptions, "10.0.0.1:41000", []string{"6.6.6.6", "7.7.7.7, [2001:db8::9]:443", "2001:db8:ffff::1"}, "2001:db8::9"},
	{"source=xff/elements=2/lines=1/result=none", listOptions, "10.0.0.1:41000", []string{"10.1.2.3, 10.1.2.4"}, "none (all_trusted)"},
	{"source=xff/elements=0/lines=0/result=none", listOptions, "10.0.0.1:41000", nil, "none (header_missing)"},
	{"source=xff/elements=33/lines=1/result=none", listOptions, "10.0.0.1:41000", []string{strings.Repeat("6.6.6.6, ", 32) + "203.0.113.9"}, "none (too_many_elements)"},
	{"source=xff/elements=1/mapped=true/result=found", listOptions, "[::ffff:10.0.0.1]:41000", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
	{"source=hops/elements=3/lines=1/result=found", hopOptions, "10.0.0.1:41000", []string{"6.6.6.6, 203.0.113.9, 198.51.100.2"}, "203.0.113.9"},
	{"source=forwarded/elements=1/quoted=false/result=found", forwardOptions, "10.0.0.1:41000", []string{"for=203.0.113.9;proto=https"}, "203.0.113.9"},
	{"source=forwarded/elements=1/quoted=true/result=found", forwardOptions, "10.0.0.1:41000", []string{`for="[2001:db8::9]:4711";proto=https;host="example.com"`}, "2001:db8::9"},
	{"source=forwarded/elements=3/quoted=true/result=found", forwardOptions, "10.0.0.1:41000", []string{`for=6.6.6.6, for="[2001:db8::9]";host="a\"b,c"`, `for=10.1.2.3;by="[::1]"`}, "2001:db8::9"},
	{"source=forwarded/elements=1/hidden=true/result=none", forwardOptions, "10.0.0.1:41000", []string{"for=_hidden"}, "none (element_hidden)"},
	{"source=single/family=4/result=found", singleOptions, "10.0.0.1:41000", []string{"203.0.113.9"}, "203.0.113.9"},
	{"source=single/family=6/result=found", singleOptions, "10.0.0.1:41000", []string{"2001:db8::9"}, "2001:db8::9"},
	{"source=single/lines=2/result=none", singleOptions, "10.0.0.1:41000", []string{"6.6.6.6", "203.0.113.9"}, "none (header_repeated)"},
}

func BenchmarkFromRequest(b *testing.B) {
	for _, c := range commonPaths {
		b.Run(c.name, func(b *testing.B) {
			src := mustNew(b, c.opts)
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr, r.Header = c.peer, http.Header{src.Header(): c.lines}
			r = r.WithContext(serverContext(b))
			b.ReportAllocs()
			for b.Loop() {
				if got := src.FromRequest(r); got.OK() == strings.HasPrefix(c.want, "none") {
					b.Fatalf("got %v, want %s", got, c.want)
				}
			}
		})
	}
}

// BenchmarkFromAddrPort measures the common paths with header lines as bytes.
func BenchmarkFromAddrPort(b *testing.B) {
	for _, c := range commonPaths {
		b.Run(c.name, func(b *testing.B) {
			src := mustNew(b, c.opts)
			peer, values := addrPort(b, c.peer), byteValues(c.lines)
			b.ReportAllocs()
			for b.Loop() {
				if got := src.FromAddrPort(peer, values); got.OK() == strings.HasPrefix(c.want, "none") {
					b.Fatalf("got %v, want %s", got, c.want)
				}
			}
		})
	}
}

// serverContext is as deep as what a handler gets from net/http.
func serverContext(b *testing.B) context.Context {
	ctx := context.WithValue(context.Background(), http.ServerContextKey, &http.Server{})
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80})
	for range 2 { // the connection's and the request's
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		b.Cleanup(cancel)
	}
	return ctx
}

// BenchmarkHostile measures the costliest headers within the bounds, and one
// without a bound of its own.
func BenchmarkHostile(b *testing.B) {
	for _, c := range []struct {
		name  string
		opts  Options
		lines []string
	}{
		{"source=xff/text=commas", listOptions, []string{strings.Repeat(",", MaxHeaderBytes)}},
		{"source=xff/text=long", listOptions, []string{strings.Repeat("a", MaxHeaderBytes)}},
		{"source=xff/text=bogus", listOptions, []string{"6.6.6.6, bogus"}},
		{"source=forwarded/text=marks", forwardOptions, []string{strings.Repeat(`,"`, MaxHeaderBytes/2)}},
		{"source=forwarded/text=backslashes", forwardOptions, []string{strings.Repeat(`\`, MaxHeaderBytes-1) + `"`}},
		{"source=forwarded/text=trusted", forwardOptions, []string{strings.Repeat("for=10.0.0.1;"+strings.Repeat(";", 242)+",", 31) + "for=10.0.0.1"}},
		{"source=forwarded/text=lines", forwardOptions, make([]string, 50_000)},
	} {
		b.Run(c.name+"/result=none", func(b *testing.B) {
			src := mustNew(b, c.opts)
			b.ReportAllocs()
			for b.Loop() {
				if got := src.FromValues("10.0.0.1:41000", c.lines); got.OK() {
					b.Fatalf("got %v", got)
				}
			}
		})
	}
}

func BenchmarkTrusted(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		rnd := rand.New(rand.NewPCG(5, 6))
		list := make([]netip.Prefix, n) // narrow ones, so that few of them merge
		for i := range list {
			a := randomPrefixes(rnd, 1)[0].Addr().Next()
			list[i] = netip.PrefixFrom(a, a.BitLen()*7/8).Masked()
		}
		set := newRanges(list)
		var addrs [2][]netip.Addr // outside, inside
		for len(addrs[0]) < 1024 || len(addrs[1]) < 1024 {
			for _, a := range []netip.Addr{list[rnd.IntN(n)].Addr(), randomPrefixes(rnd, 1)[0].Addr()} {
				k := 0
				if set.contains(a) {
					k = 1
				}
				addrs[k] = append(addrs[k], a)
			}
		}
		for k, result := range []string{"outside", "inside"} {
			b.Run(fmt.Sprintf("prefixes=%d/ranges=%d/result=%s", n, len(set), result), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if set.contains(addrs[k][i%1024]) != (k == 1) {
						b.Fatal("wrong answer")
					}
				}
			})
		}
	}
}
