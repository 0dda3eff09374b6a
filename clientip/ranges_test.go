package clientip

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestRangesSmallWorld tries all sets of up to three prefixes of a /29, of
// both families, in every order, with all addresses of the /28 around it.
func TestRangesSmallWorld(t *testing.T) {
	for _, base := range []string{"203.0.113.8", "2001:db8::8", "255.255.255.248", "0.0.0.0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff8"} {
		first := netip.MustParseAddr(base)
		var prefixes []netip.Prefix
		for bits := first.BitLen() - 3; bits <= first.BitLen(); bits++ {
			for a, n := first, 0; n < 8; a, n = a.Next(), n+1 {
				if p := netip.PrefixFrom(a, bits); p == p.Masked() {
					prefixes = append(prefixes, p)
				}
			}
		}
		addrs := []netip.Addr{first.Prev(), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::1")}
		for a, n := first, 0; n < 9; a, n = a.Next(), n+1 {
			addrs = append(addrs, a)
		}
		addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() })
		in, out := 0, 0
		for _, p := range prefixes {
			for _, q := range prefixes {
				for _, r := range prefixes {
					list := []netip.Prefix{p, q, r}
					set := newRanges(list)
					for i, x := range set {
						if i > 0 && !set[i-1].last.Next().Less(x.first) || x.last.Less(x.first) {
							t.Fatalf("%v: not merged: %v", list, set)
						}
					}
					for _, a := range addrs {
						got, want := set.contains(a), naiveTrusts(list, a)
						if got != want {
							t.Fatalf("%v contains %v: got %v, want %v", list, a, got, want)
						}
						if want {
							in++
						} else {
							out++
						}
					}
				}
			}
		}
		if in == 0 || out == 0 {
			t.Errorf("%s: %d inside, %d outside", base, in, out)
		}
	}
}

func TestRangesRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	in, out := 0, 0
	for range 50 {
		list := randomPrefixes(rnd, 1+rnd.IntN(300))
		set := newRanges(list)
		for range 200 {
			p := list[rnd.IntN(len(list))]
			a := []netip.Addr{p.Addr(), p.Addr().Prev(), lastAddr(p), lastAddr(p).Next(), randomPrefixes(rnd, 1)[0].Addr()}[rnd.IntN(5)]
			if !a.IsValid() {
				continue
			}
			got, want := set.contains(a), naiveTrusts(list, a)
			if got != want {
				t.Fatalf("%v contains %v: got %v, want %v", list, a, got, want)
			}
			if want {
				in++
			} else {
				out++
			}
		}
	}
	if in == 0 || out == 0 {
		t.Errorf("%d inside, %d outside", in, out)
	}
	if newRanges(nil).contains(netip.MustParseAddr("10.0.0.1")) {
		t.Error("the empty set contains something")
	}
}

// randomPrefixes returns n masked prefixes of both families, in 0.0.0.0/2 and
// 2000::/14 so that they meet now and then.
func randomPrefixes(rnd *rand.Rand, n int) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i := range list {
		if rnd.IntN(2) == 0 {
			v := rnd.Uint32() >> 2
			a := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
			list[i] = netip.PrefixFrom(a, 8+rnd.IntN(25)).Masked()
		} else {
			v := rnd.Uint32()
			a := netip.AddrFrom16([16]byte{0x20, byte(v >> 30), byte(v >> 16), byte(v >> 8), byte(v), 15: byte(v >> 24)})
			list[i] = netip.PrefixFrom(a, 16+rnd.IntN(113)).Masked()
		}
	}
	return list
}
