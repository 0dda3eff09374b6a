package clientip

import (
	"net/netip"
	"slices"
)

// A ranges is a set of addresses: sorted, disjoint, not adjacent, IPv4 before
// IPv6, with no IPv4-mapped address in it. It is never written after New.
//
// Up to some thousands of networks a binary search over it costs less than a
// trie, and it needs nothing beyond net/netip.
type ranges []addrRange

type addrRange struct{ first, last netip.Addr } // both inclusive

// newRanges makes the set of the addresses in the prefixes, which are valid,
// masked and not IPv4-mapped.
func newRanges(prefixes []netip.Prefix) ranges {
	all := make(ranges, len(prefixes))
	for i, p := range prefixes {
		all[i] = addrRange{p.Addr(), lastAddr(p)}
	}
	slices.SortFunc(all, func(a, b addrRange) int { return a.first.Compare(b.first) })

	merged := all[:0]
	for _, r := range all {
		if n := len(merged); n > 0 && touches(merged[n-1], r) {
			if merged[n-1].last.Less(r.last) {
				merged[n-1].last = r.last
			}
			continue
		}
		merged = append(merged, r)
	}
	return slices.Clip(merged)
}

// touches reports whether b, which begins no earlier than a, overlaps a or
// begins right after it. After the last address of a family comes none: the
// zero Addr, which is not the first address of anything.
func touches(a, b addrRange) bool {
	return b.first.Compare(a.last) <= 0 || b.first == a.last.Next()
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// contains reports whether the set has addr, which has no zone and is not
// IPv4-mapped.
func (s ranges) contains(addr netip.Addr) bool {
	// Find the number of ranges that begin at or before addr.
	lo, hi := 0, len(s)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s[mid].first.Compare(addr) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo > 0 && addr.Compare(s[lo-1].last) <= 0
}

// wholeFamily returns "IPv4" or "IPv6" if the set has every address of it.
func (s ranges) wholeFamily() string {
	for _, r := range s {
		if r.first.IsUnspecified() && !r.last.Next().IsValid() {
			if r.first.Is4() {
				return "IPv4"
			}
			return "IPv6"
		}
	}
	return ""
}
