package clientip

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// addrPort is the peer as a server that knows addresses has it.
func addrPort(t testing.TB, peer string) netip.AddrPort {
	t.Helper()
	if FromPeer(peer).Reason == PeerWithoutAddress {
		return netip.AddrPort{}
	}
	p, err := netip.ParseAddrPort(peer)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func byteValues(lines []string) (values [][]byte) {
	for _, line := range lines {
		values = append(values, []byte(line))
	}
	return values
}

// TestFromAddrPort gives it the common paths and header lines at random, and
// expects what FromValues says. The bytes are overwritten after each call, as
// fasthttp does, and the answer must not change with them.
func TestFromAddrPort(t *testing.T) {
	t.Parallel()
	for _, c := range commonPaths {
		src := mustNew(t, c.opts)
		if got := src.FromAddrPort(addrPort(t, c.peer), byteValues(c.lines)).String(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	var zero Source
	for _, s := range []*Source{nil, &zero} {
		if got := s.FromAddrPort(netip.MustParseAddrPort("[::ffff:203.0.113.9]:1"), nil).String(); got != "203.0.113.9" {
			t.Errorf("without options: %s", got)
		}
	}
	// Lines of one element each, around the bound: none may be left out, and their
	// number is looked at before their length.
	hops := mustNew(t, hopOptions)
	for n := MaxElements - 1; n <= MaxElements+3; n++ {
		for _, element := range []string{"203.0.113.9", strings.Repeat(" ", 300) + "203.0.113.9"} {
			lines := slices.Repeat([]string{element}, n)
			want := "203.0.113.9"
			switch {
			case n > MaxElements:
				want = "none (too_many_elements)"
			case n*len(element) > MaxHeaderBytes:
				want = "none (header_too_large)"
			}
			for _, got := range []Result{
				hops.FromAddrPort(netip.MustParseAddrPort("10.0.0.1:80"), byteValues(lines)),
				hops.FromValues("10.0.0.1:80", lines),
			} {
				if got.String() != want {
					t.Errorf("%d lines of %d bytes: got %v, want %s", n, len(element), got, want)
				}
			}
		}
	}
	elements := []string{
		"203.0.113.9", "10.0.0.1", "[2001:db8::9]:443", "fe80::1%eth0", "for=203.0.113.9", "for=10.1.2.3",
		`for="[2001:db8::9%25x]:1"`, `for="10.0\.0.1"`, "unknown", "bogus", "", " ", `for="`,
	}
	rnd := rand.New(rand.NewPCG(5, 5))
	seen := make(map[Reason]int)
	for range 20_000 {
		opts := []Options{listOptions, forwardOptions, hopOptions, singleOptions}[rnd.IntN(4)]
		opts.TrustUnixPeer = rnd.IntN(2) == 0
		src := mustNew(t, opts)
		peer := []string{"10.0.0.1:80", "203.0.113.9:80", "@", "[::ffff:10.0.0.1]:80", "[fe80::1%eth0]:80"}[rnd.IntN(5)]
		lines := make([]string, rnd.IntN(4))
		if rnd.IntN(50) == 0 {
			lines = make([]string, MaxElements-2+rnd.IntN(5))
		}
		for i := range lines {
			for n := rnd.IntN(3); n >= 0; n-- {
				lines[i] += elements[rnd.IntN(len(elements))]
				if n > 0 {
					lines[i] += ","
				}
			}
		}
		values := byteValues(lines)
		got := src.FromAddrPort(addrPort(t, peer), values)
		for _, v := range values {
			for i := range v {
				v[i] = '9'
			}
		}
		if want := src.FromValues(peer, lines); got != want {
			t.Fatalf("peer %q, lines %q, options %+v: FromAddrPort says %v and FromValues %v", peer, lines, opts, got, want)
		}
		seen[got.Reason]++
	}
	for _, r := range []Reason{
		Found, PeerWithoutAddress, HeaderMissing, HeaderRepeated, TooManyElements, TooFewElements,
		ElementUnreadable, ElementHidden, AllTrusted,
	} {
		if seen[r] == 0 {
			t.Errorf("no case was answered by %v", r)
		}
	}
}
