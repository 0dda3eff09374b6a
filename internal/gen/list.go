package gen

import (
	"iter"
	"net/netip"
	"strings"

	"github.com/ipallow/ipallow/internal/naive"
)

// bases are few and near each other, so that prefixes drawn from them nest,
// touch and repeat, and addresses drawn from one list fall into another.
var bases = []netip.Addr{
	netip.MustParseAddr("198.51.100.0"),
	netip.MustParseAddr("198.51.101.128"),
	netip.MustParseAddr("203.0.113.5"),
	netip.MustParseAddr("8.0.0.0"),
	netip.MustParseAddr("223.255.255.255"), // the last address before multicast
	netip.MustParseAddr("2001:db8::"),
	netip.MustParseAddr("2001:db8:0:1::"),
	netip.MustParseAddr("2001:db8:0:1:8000::1"), // bits on both sides of the 64th
	netip.MustParseAddr("2001:db8::ffff:0:0"),
}

// edgeAddrs are where a family or a part of it begins and ends.
var edgeAddrs = []netip.Addr{
	netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("255.255.255.255"),
	netip.MustParseAddr("127.255.255.255"), netip.MustParseAddr("128.0.0.0"),
	netip.MustParseAddr("::"), netip.MustParseAddr("::1"),
	netip.MustParseAddr("::fffe:ffff:ffff"), netip.MustParseAddr("::1:0:0:0"),
	netip.MustParseAddr("7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), netip.MustParseAddr("8000::"),
	netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
}

// Prefix draws a masked prefix of any length.
func Prefix(s Source) netip.Prefix {
	a := pick(s, bases...)
	if s.IntN(8) == 0 {
		a = pick(s, edgeAddrs...)
	}
	return flip(s, a, s.IntN(a.BitLen()+1))
}

// PublicPrefix draws a masked prefix that the default policy accepts.
func PublicPrefix(s Source) netip.Prefix {
	a := pick(s, bases...)
	shortest := 33
	if a.Is4() {
		shortest = 9
	}
	return flip(s, a, shortest+s.IntN(a.BitLen()-shortest+1))
}

// flip returns the prefix of the given length around a with some of its last
// six bits changed, so that neighbours come up.
func flip(s Source, a netip.Addr, bits int) netip.Prefix {
	b := a.AsSlice()
	change := s.IntN(64)
	for i := range min(6, max(bits-24, 0)) {
		if change>>i&1 != 0 {
			b[(bits-1-i)/8] ^= 0x80 >> ((bits - 1 - i) % 8)
		}
	}
	a, _ = netip.AddrFromSlice(b)
	p, err := a.Prefix(bits)
	if err != nil {
		panic(err)
	}
	return p
}

// Related draws a prefix that has to do with p: its parent, a child, its
// sibling, its first or last address, or itself.
func Related(s Source, p netip.Prefix) netip.Prefix {
	a, bits := p.Addr(), p.Bits()
	switch s.IntN(6) {
	case 0:
		bits = max(bits-1-s.IntN(8), 0)
	case 1:
		bits = min(bits+1+s.IntN(8), a.BitLen())
		a = Edges(p)[1] // the last child
	case 2:
		a, bits = Edges(p)[s.IntN(2)], a.BitLen()
	case 3:
		if next := Edges(p)[3]; next.IsValid() {
			a = next
		}
	case 4:
		bits = min(bits+1+s.IntN(8), a.BitLen())
	}
	q, err := a.Prefix(bits)
	if err != nil {
		panic(err)
	}
	return q
}

// Mapped is the IPv4-mapped form of an IPv4 prefix; others stay as they are.
func Mapped(p netip.Prefix) netip.Prefix {
	if !p.Addr().Is4() {
		return p
	}
	return netip.PrefixFrom(MappedAddr(p.Addr()), p.Bits()+96)
}

// MappedAddr is the IPv4-mapped form of an IPv4 address.
func MappedAddr(a netip.Addr) netip.Addr {
	if !a.Is4() {
		return a
	}
	return netip.AddrFrom16(a.As16())
}

// RawList draws n entries for Compile, which takes everything: nested,
// adjacent and equal prefixes, mapped ones, ones with host bits, and the
// zero Prefix.
func RawList(s Source, n int) []naive.Entry {
	list := make([]naive.Entry, 0, n)
	for len(list) < n {
		p := Prefix(s)
		if len(list) > 0 && s.IntN(3) == 0 {
			if q := list[s.IntN(len(list))].Prefix; q.IsValid() {
				p = Related(s, q)
			}
		}
		switch s.IntN(12) {
		case 0:
			p = Mapped(p)
		case 1:
			p = netip.PrefixFrom(Addr(s, nil).WithZone(""), p.Bits()) // host bits, or not valid
		}
		list = append(list, naive.Entry{Prefix: p, Label: Label(s)})
	}
	return list
}

// ValidList draws up to n entries that the default policy accepts.
func ValidList(s Source, n int) []naive.Entry {
	var list []naive.Entry
	seen := map[netip.Prefix]bool{}
	for range n {
		p := PublicPrefix(s)
		if !seen[p] {
			seen[p] = true
			if s.IntN(8) == 0 {
				p = Mapped(p)
			}
			list = append(list, naive.Entry{Prefix: p, Label: Label(s)})
		}
	}
	return list
}

// Distinct returns n different single addresses and small networks, which
// the default policy but for its number of entries accepts. Two lists of the
// same n are equal, and one of a smaller n is its beginning.
func Distinct(n int) []naive.Entry {
	list := make([]naive.Entry, n)
	for i := range list {
		switch i % 4 {
		case 0, 1:
			list[i].Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{8, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		case 2:
			list[i].Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, byte(i >> 16), byte(i >> 8), byte(i)}), 56)
		case 3:
			list[i].Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb9, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}), 128)
		}
	}
	return list
}

// Label draws a label, none in most cases.
func Label(s Source) string {
	switch s.IntN(8) {
	case 0:
		return pick(s, "office", "büro", "事務所", `a "quoted" label`, " ", "é👍")
	case 1:
		return strings.Repeat("x", 1+s.IntN(100))
	case 2:
		return strings.Repeat("界", 100) // as long as the default policy allows, in 300 bytes
	}
	return ""
}

// FaultyList draws a list that no policy but the widest accepts: a valid one
// with one entry spoiled.
func FaultyList(s Source) []naive.Entry {
	list := append(ValidList(s, s.IntN(4)), naive.Entry{Prefix: netip.MustParsePrefix("192.0.2.0/24")})
	bad := pick(s,
		naive.Entry{},
		naive.Entry{Prefix: netip.MustParsePrefix("192.0.2.1/25")},
		naive.Entry{Prefix: netip.MustParsePrefix("192.0.2.0/24")},
		naive.Entry{Prefix: netip.MustParsePrefix("::ffff:192.0.2.0/120")},
		naive.Entry{Prefix: netip.MustParsePrefix("::ffff:0:0/95")},
		naive.Entry{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Label: "a\nb"},
		naive.Entry{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Label: "\xff"},
	)
	return append(list, bad)
}

// Edges returns the first and the last address of p, the one before and the
// one after. The last two are the zero Addr where there is none.
func Edges(p netip.Prefix) [4]netip.Addr {
	first := p.Masked().Addr()
	b := first.AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return [4]netip.Addr{first, last, first.Prev(), last.Next()}
}

// Addr draws an address, mostly at an edge of one of the list's prefixes,
// sometimes in IPv4-mapped form, with a zone, or the zero Addr.
func Addr(s Source, list []naive.Entry) netip.Addr {
	a := pick(s, bases...)
	switch {
	case len(list) > 0 && s.IntN(8) != 0:
		if p := list[s.IntN(len(list))].Prefix; p.IsValid() {
			a = Edges(p)[s.IntN(4)]
		}
	case s.IntN(3) == 0:
		a = pick(s, edgeAddrs...)
	default:
		a = Edges(Prefix(s))[s.IntN(4)]
	}
	switch s.IntN(10) {
	case 0:
		a = MappedAddr(a)
	case 1:
		a = a.WithZone("eth0")
	case 2:
		a = MappedAddr(a).WithZone("0")
	case 3:
		if s.IntN(4) == 0 {
			return netip.Addr{}
		}
	}
	return a
}

// Under yields every prefix that lies in p and has from to to bits.
func Under(p netip.Prefix, from, to int) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for bits := from; bits <= to; bits++ {
			for q := netip.PrefixFrom(p.Masked().Addr(), bits); q.IsValid() && p.Contains(q.Addr()); {
				if !yield(q) {
					return
				}
				q = netip.PrefixFrom(Edges(q)[3], bits)
			}
		}
	}
}

// Lists yields every list of up to n of the items, in every order, with
// repetitions. The slice is used again for the next list.
func Lists[T any](items []T, n int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		list := make([]T, 0, n)
		var grow func() bool
		grow = func() bool {
			if !yield(list) {
				return false
			}
			if len(list) == n {
				return true
			}
			for _, it := range items {
				list = append(list, it)
				more := grow()
				list = list[:len(list)-1]
				if !more {
					return false
				}
			}
			return true
		}
		grow()
	}
}
