// Package canon has the one form in which addresses and prefixes are stored, compared and matched:
// IPv4 where they are IPv4-mapped (RFC 4291, section 2.5.5.2), without a zone (RFC 4007), and
// prefixes without host bits. Nothing else in this module unmaps, strips zones or masks.
package canon

import (
	"cmp"
	"encoding/binary"
	"net/netip"
)

// Addr returns the form in which a client address is matched.
func Addr(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	return a.Unmap().WithZone("")
}

// Prefix returns the form in which an entry is stored and matched. It is false for the prefixes
// that are not valid, which have none.
//
// A prefix that begins inside ::ffff:0:0/96 but is shorter than /96 is not an IPv4 network; it
// stays IPv6 here, and validation refuses it.
func Prefix(p netip.Prefix) (netip.Prefix, bool) {
	if !p.IsValid() {
		return p, false
	}
	p, _ = Unmap(p)
	return p.Masked(), true
}

// Unmap returns p as an IPv4 prefix if it is IPv4-mapped, and does not mask it. It is false, and p
// is as it was, if p begins inside ::ffff:0:0/96 and is shorter than /96.
func Unmap(p netip.Prefix) (netip.Prefix, bool) {
	if !p.Addr().Is4In6() {
		return p, true
	}
	if p.Bits() < 96 {
		return p, false
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96), true
}

// Compare orders canonical prefixes by address and then by length, so that a prefix follows all
// that cover it.
func Compare(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// Last returns the highest address in p, which is valid.
func Last(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|uint32(1<<(32-p.Bits())-1))
		return netip.AddrFrom4(b)
	}
	b := p.Addr().As16()
	hi, lo := ^uint64(0)>>p.Bits(), ^uint64(0)
	if p.Bits() > 64 {
		lo >>= p.Bits() - 64
	}
	binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])|hi)
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])|lo)
	return netip.AddrFrom16(b)
}
