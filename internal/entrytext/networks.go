package entrytext

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ipallow/ipallow/internal/canon"
)

// The forms that stand for networks and are none: masks, ranges and wildcards, and IPv6 addresses
// that carry an IPv4 one.

// tryMask reads an address and a netmask, with a slash between them or with white space, as
// routers print them.
func tryMask(s string) *Refusal {
	address, mask, ok := strings.Cut(s, "/")
	if f := strings.Fields(s); !ok && (len(f) == 2 || len(f) == 3 && (f[1] == "netmask" || f[1] == "mask")) {
		address, mask = f[0], f[len(f)-1]
	}
	a, err := netip.ParseAddr(strings.TrimSpace(address))
	m, err2 := netip.ParseAddr(strings.TrimSpace(mask))
	if err != nil || err2 != nil || a.BitLen() != m.BitLen() || a.Zone() != "" || m.Zone() != "" {
		return nil
	}
	n, isMask := maskLength(m)
	if !isMask && !ok {
		return nil // two addresses
	}
	limit := strconv.Itoa(a.BitLen())
	if !isMask {
		return badSyntax("what follows the slash is neither a length nor a netmask; write a length in bits, from /0 to /" + limit)
	}
	return network("netmasks are not read; write the length in bits, from /0 to /"+limit, a.String(), n)
}

// maskLength returns the length that a netmask stands for, or an inverted one as access lists of
// routers have it. 0.0.0.0 is both a mask for everything and an inverted one for a single address,
// and so none.
func maskLength(m netip.Addr) (int, bool) {
	b := m.As16()
	if m.Is4() {
		v4 := m.As4()
		for i := range b {
			b[i] = v4[i%4]
		}
	}
	if b == [16]byte{} {
		return 0, false
	}
	if b[0]>>7 == 0 {
		for i := range b {
			b[i] = ^b[i]
		}
	}
	n := 0
	for n < m.BitLen() && b[n/8]>>(7-n%8)&1 == 1 {
		n++
	}
	for i := n; i < m.BitLen(); i++ {
		if b[i/8]>>(7-i%8)&1 == 1 {
			return 0, false
		}
	}
	return n, true
}

// rangeMarks stand between the ends of a range; the dashes are those that word processors make of
// a hyphen.
var rangeMarks = []string{"-", "\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2212", "..", " to "}

// tryRange reads a-b, also where b is the end of an address only: 203.0.113.1-9.
func tryRange(s string) *Refusal {
	for _, mark := range rangeMarks {
		from, to, ok := strings.Cut(s, mark)
		if !ok {
			continue
		}
		from, to = strings.TrimRight(from, " "), strings.TrimSpace(to)
		if len(from)+len(mark)+len(to) < len(s) && hasNameLetter(to) {
			// 203.0.113.5 - office
			return within("it holds more than an entry; write the entry alone, and what it is as its label", s, from)
		}
		if _, err := netip.ParsePrefix(from); err == nil {
			return badSyntax("ranges are not read, and their ends are addresses; write the networks that make it up")
		}
		a, err := netip.ParseAddr(from)
		if err != nil || a.Zone() != "" {
			continue
		}
		b, ok := rangeEnd(a, to)
		a = canon.Addr(a)
		switch {
		case !ok:
			return badSyntax("ranges are not read; write the networks that make it up")
		case a.BitLen() != b.BitLen():
			return badSyntax("a range has two addresses of one kind, and this one begins with IPv4 and ends with IPv6, or the other way round")
		case b.Less(a):
			return badSyntax("the range ends before it begins; write its networks")
		}
		r := badSyntax("ranges are not read; write the networks that make it up", rangeNetworks(a, b)...)
		if slices.ContainsFunc(r.Networks, func(p netip.Prefix) bool { return p.Addr().Is4In6() }) {
			r.Networks = nil // an IPv6 range over IPv4-mapped addresses, which are entries of IPv4
		}
		return r
	}
	return nil
}

// rangeEnd reads the end of a range that begins at a.
func rangeEnd(a netip.Addr, s string) (netip.Addr, bool) {
	b, err := netip.ParseAddr(s)
	if err == nil {
		return canon.Addr(b), b.Zone() == ""
	}
	if !a.Is4() {
		// 2001:db8::1-ff
		n, err := strconv.ParseUint(s, 16, 16)
		end := a.As16()
		end[14], end[15] = byte(n>>8), byte(n)
		return canon.Addr(netip.AddrFrom16(end)), err == nil && len(s) <= 4 && !a.Is4In6()
	}
	parts := strings.Split(s, ".")
	if len(parts) > 3 {
		return netip.Addr{}, false
	}
	end := a.As4()
	for i, part := range parts {
		n, ok := parseLength(part)
		if !ok || n > 255 {
			return netip.Addr{}, false
		}
		end[4-len(parts)+i] = byte(n)
	}
	return netip.AddrFrom4(end), true
}

// rangeNetworks returns the fewest networks that are together exactly the addresses from a to b,
// which are of one family and in order.
func rangeNetworks(a, b netip.Addr) []netip.Prefix {
	var networks []netip.Prefix
	for {
		hi, lo := words(a)
		hi2, lo2 := words(b)
		// The network that begins at a has at most as many host bits as a has zeros at its
		// end, and at most as many addresses as there are up to b.
		zeros := bits.TrailingZeros64(lo)
		if lo == 0 {
			zeros += bits.TrailingZeros64(hi)
		}
		less, borrow := bits.Sub64(lo2, lo, 0)
		more, _ := bits.Sub64(hi2, hi, borrow)
		less, carry := bits.Add64(less, 1, 0)
		more, carry = bits.Add64(more, 0, carry)
		size := bits.Len64(less) - 1
		if more != 0 {
			size = 64 + bits.Len64(more) - 1
		}
		if carry != 0 {
			size = 128
		}
		p := netip.PrefixFrom(a, a.BitLen()-min(zeros, size))
		networks = append(networks, p)
		last := canon.Last(p)
		if last == b {
			return networks
		}
		a = last.Next()
	}
}

// words are the two halves of an address, which for IPv4 is in its IPv4-mapped form.
func words(a netip.Addr) (hi, lo uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

// tryWildcard reads 203.0.113.* and the like, and 2001:db8:1:* for the family with colons.
func tryWildcard(s string) *Refusal {
	sep, size, most := ".", 8, 4
	if strings.Contains(s, ":") {
		sep, size, most = ":", 16, 8
	}
	parts := strings.Split(s, sep)
	wild := func(p string) bool {
		return p == "*" || p == "?" || sep == "." && (p == "x" || p == "X")
	}
	fixed := 0
	for fixed < len(parts) && !wild(parts[fixed]) {
		fixed++
	}
	if !strings.ContainsAny(s, "*?") && fixed == len(parts) {
		return nil
	}
	if hasNameLetter(strings.ReplaceAll(strings.ToLower(s), "x", "")) {
		return nil // *.example.com
	}
	r := badSyntax("wildcards are not read; write a network, as 203.0.113.0/24 for 203.0.113.*")
	if fixed == 0 || fixed >= most || len(parts) > most || slices.Contains(parts, "") ||
		slices.ContainsFunc(parts[fixed:], func(p string) bool { return !wild(p) }) {
		return r
	}
	zeros := strings.Split(strings.Repeat("0", most-fixed), "")
	return network(r.Reason, strings.Join(append(parts[:fixed:fixed], zeros...), sep), size*fixed)
}
