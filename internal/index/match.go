package index

import (
	"encoding/binary"
	"net/netip"

	"github.com/ipallow/ipallow/internal/canon"
)

// A query is a client address in the form in which it is compared with records.
type query struct {
	hi, lo uint64
	family uint8 // 0 (no address, matches nothing), 4 or 6
}

// queryOf returns the query for the two halves of an address, which is IPv4-mapped if it is IPv4:
// one comparison tells the family of all three forms.
func queryOf(hi, lo uint64) query {
	if hi == 0 && lo>>32 == 0xffff {
		return query{lo: lo & 0xffffffff, family: 4}
	}
	return query{hi: hi, lo: lo, family: 6}
}

// slowQuery is newQuery without assumptions about the layout of a netip.Addr.
func slowQuery(addr netip.Addr) query {
	if !addr.IsValid() {
		return query{}
	}
	b := addr.As16()
	return queryOf(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]))
}

// matchScan returns the verdict of a record with flagScan.
func matchScan(rec []byte, addr netip.Addr) Verdict {
	if i, _ := lookupSmall(rec, canon.Addr(addr)); i >= 0 {
		return Allowed
	}
	return Denied
}

// matchWide returns Allowed if an entry longer than /64 contains the address of q.
func matchWide(rec []byte, q query) Verdict {
	l, body := layoutOf(headerOf(rec)), bodyOf(rec)
	lo := body[l.lo:]
	for k := range l.n6 - l.pad6 {
		if body[l.shift6+k] != wide {
			continue
		}
		if binary.LittleEndian.Uint64(body[l.at6+8*k:]) == q.hi &&
			(binary.LittleEndian.Uint64(lo)^q.lo)>>lo[8] == 0 {
			return Allowed
		}
		lo = lo[9:]
	}
	return Denied
}

// lookupSmall returns the index and the prefix of the most specific entry that contains addr, which
// is canonical, or an index of -1. Of equal entries it returns the first.
func lookupSmall(rec []byte, addr netip.Addr) (int, netip.Prefix) {
	var buf [MaxShort]netip.Prefix
	best, index := netip.Prefix{}, -1
	for i, p := range prefixes(&buf, rec) {
		if p.Contains(addr) && (index < 0 || p.Bits() > best.Bits()) {
			best, index = p, i
		}
	}
	return index, best
}
