package naive

import (
	"net/netip"
	"unicode/utf8"
)

// An Entry is a prefix, canonical or not, with its label.
type Entry struct {
	Prefix netip.Prefix
	Label  string
}

// A Text is an entry before parsing.
type Text struct{ Entry, Label string }

// A Policy is the limits of a list.
type Policy struct {
	MaxEntries, MinBits4, MinBits6, MaxLabel int
	AllowNonPublic                           bool
}

// Default is the policy of the specification.
var Default = Policy{MaxEntries: 20, MinBits4: 9, MinBits6: 33, MaxLabel: 100}

// A Fault is one fault of a list. Index is -1 for a fault of the whole list.
// First is the index that a duplicate repeats.
type Fault struct {
	Index, First int
	Code         string
}

// ParseList reads and validates a list.
func (p Policy) ParseList(texts []Text) ([]Entry, []Fault) {
	var prefixes []netip.Prefix
	var codes, labels []string
	for _, t := range texts {
		prefix, code := Parse(t.Entry)
		prefixes = append(prefixes, prefix)
		codes = append(codes, code)
		labels = append(labels, t.Label)
	}
	return p.judge(prefixes, codes, labels)
}

// Validate validates a list of prefixes and returns it in canonical form.
func (p Policy) Validate(entries []Entry) ([]Entry, []Fault) {
	var prefixes []netip.Prefix
	var codes, labels []string
	for _, e := range entries {
		prefix, code := e.Prefix, OK
		canonical, ok := Canonical(prefix)
		_, mapped := unmap(prefix.Addr())
		switch {
		case !ok, mapped && prefix.Bits() < 96:
			code = InvalidSyntax
		case clearHostBits(prefix.Addr(), prefix.Bits()) != prefix.Addr():
			code = HostBits
		default:
			prefix = canonical
		}
		prefixes = append(prefixes, prefix)
		codes = append(codes, code)
		labels = append(labels, e.Label)
	}
	return p.judge(prefixes, codes, labels)
}

func (p Policy) judge(prefixes []netip.Prefix, codes, labels []string) ([]Entry, []Fault) {
	var entries []Entry
	var faults []Fault
	for i, prefix := range prefixes {
		f := Fault{Index: i, Code: codes[i]}
		if f.Code == OK {
			f.Code = p.privateOrBroad(prefix)
		}
		if f.Code == OK {
			for j := i - 1; j >= 0; j-- {
				if codes[j] == OK && prefixes[j] == prefix {
					f.Code, f.First = Duplicate, j
				}
			}
		}
		if f.Code != OK {
			faults = append(faults, f)
		}
		if code := p.label(labels[i]); code != OK {
			faults = append(faults, Fault{Index: i, Code: code})
		}
		entries = append(entries, Entry{prefix, labels[i]})
	}
	if len(prefixes) > max(p.MaxEntries, 0) {
		faults = append(faults, Fault{Index: -1, Code: TooManyEntries})
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return entries, nil
}

func (p Policy) privateOrBroad(prefix netip.Prefix) string {
	shortest := p.MinBits6
	if prefix.Addr().Is4() {
		shortest = p.MinBits4
	}
	switch {
	case !p.AllowNonPublic && neverPublic(prefix):
		return NotPublic
	case prefix.Bits() < shortest:
		return TooBroad
	}
	return OK
}

func (p Policy) label(s string) string {
	n := 0
	for i, r := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || r < 0x20 || r >= 0x7f && r < 0xa0 {
			return LabelInvalid
		}
		n++
	}
	if n > max(p.MaxLabel, 0) {
		return LabelTooLong
	}
	return OK
}

// The ranges of the specification, as first and last address, both of which
// belong to them.
var notPublic = [][2]string{
	{"0.0.0.0", "0.255.255.255"},
	{"10.0.0.0", "10.255.255.255"},
	{"100.64.0.0", "100.127.255.255"},
	{"127.0.0.0", "127.255.255.255"},
	{"169.254.0.0", "169.254.255.255"},
	{"172.16.0.0", "172.31.255.255"},
	{"192.0.0.0", "192.0.0.255"},
	{"192.168.0.0", "192.168.255.255"},
	{"198.18.0.0", "198.19.255.255"},
	{"224.0.0.0", "239.255.255.255"},
	{"240.0.0.0", "255.255.255.255"},
	{"::", "::"},
	{"::1", "::1"},
	{"::", "::ffff:ffff"},
	{"::ffff:0:0:0", "::ffff:0:ffff:ffff"},
	{"64:ff9b::", "64:ff9b::ffff:ffff"},
	{"64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"},
	{"100::", "100::ffff:ffff:ffff:ffff"},
	{"2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"},
	{"5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	{"fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	{"fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	{"fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	{"ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
}

// neverPublic walks through p: from its first address to the end of a range
// that holds it, from the next address to the end of a range that holds that,
// until p is left or an address is in no range.
func neverPublic(p netip.Prefix) bool {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	at := p.Addr()
	for at.IsValid() && !last.Less(at) {
		end := at.Prev()
		for _, r := range notPublic {
			from, to := netip.MustParseAddr(r[0]), netip.MustParseAddr(r[1])
			if from.BitLen() == at.BitLen() && !at.Less(from) && !to.Less(at) {
				end = to
			}
		}
		if end == at.Prev() {
			return false
		}
		at = end.Next() // not valid behind the last address of all
	}
	return true
}

// Cover returns the fewest networks that hold the addresses from first to last
// and no others, in order. It goes down from the network of all addresses.
func Cover(first, last netip.Addr) []netip.Prefix {
	if first.BitLen() != last.BitLen() {
		return nil
	}
	var down func(b []byte, length int) []netip.Prefix
	down = func(b []byte, length int) []netip.Prefix {
		low, _ := netip.AddrFromSlice(b)
		top := append([]byte(nil), b...)
		for i := length; i < 8*len(b); i++ {
			top[i/8] |= 0x80 >> (i % 8)
		}
		high, _ := netip.AddrFromSlice(top)
		switch {
		case high.Less(first), last.Less(low):
			return nil
		case !low.Less(first) && !last.Less(high):
			return []netip.Prefix{netip.PrefixFrom(low, length)}
		}
		right := append([]byte(nil), b...)
		right[length/8] |= 0x80 >> (length % 8)
		return append(down(b, length+1), down(right, length+1)...)
	}
	return down(make([]byte, first.BitLen()/8), 0)
}

// Lookup returns the index of the most specific entry that contains addr,
// the first of equal ones, or -1.
func Lookup(entries []Entry, addr netip.Addr) int {
	addr = CanonicalAddr(addr)
	best, bits := -1, -1
	for i, e := range entries {
		p, ok := Canonical(e.Prefix)
		if ok && p.Contains(addr) && p.Bits() > bits {
			best, bits = i, p.Bits()
		}
	}
	return best
}

// Contains reports whether an entry contains addr.
func Contains(entries []Entry, addr netip.Addr) bool {
	for _, e := range entries {
		if p, ok := Canonical(e.Prefix); ok && p.Contains(CanonicalAddr(addr)) {
			return true
		}
	}
	return false
}

// Redundant returns, for each entry, the index of the broadest other entry
// that covers it, or -1. Of equal entries the first covers the others.
func Redundant(entries []Entry) []int {
	by := make([]int, len(entries))
	for i, e := range entries {
		by[i] = -1
		p, ok := Canonical(e.Prefix)
		if !ok {
			continue
		}
		shortest := 129
		for j, f := range entries {
			q, ok := Canonical(f.Prefix)
			if !ok || i == j || q == p && j > i || q.Bits() > p.Bits() || !q.Contains(p.Addr()) {
				continue
			}
			if q.Bits() < shortest {
				by[i], shortest = j, q.Bits()
			}
		}
	}
	return by
}
