package index

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ipallow/ipallow/internal/canon"
)

// A longList is a list that is too long for a record. It is never written after newLongList, so any
// number of keys, snapshots and goroutines share it.
type longList struct {
	// in4 and in6 say whether an address is in the list: all that Check asks.
	// IPv6 prefixes longer than /64 are not in in6. half has a bit for
	// the upper half of each; where it is set, table decides.
	in4  intervals[uint32]
	in6  intervals[uint64]
	half [16]uint64

	// table finds the entry.
	table bart.Lite

	// prefixes are canonical, in the order of the list.
	prefixes []netip.Prefix
	// sorted is the indexes of prefixes in the order of canon.Compare,
	// the first of equal ones only; it finds the position of a match.
	sorted []uint32
}

// newLongList builds the list of canonical prefixes. They must be valid: bart ignores others.
func newLongList(prefixes []netip.Prefix) *longList {
	l := &longList{prefixes: prefixes}
	sorted := make([]uint32, len(prefixes))
	for i, p := range prefixes {
		l.table.Insert(p)
		sorted[i] = uint32(i)
	}
	slices.SortStableFunc(sorted, func(a, b uint32) int { return canon.Compare(prefixes[a], prefixes[b]) })
	l.sorted = slices.CompactFunc(sorted, func(a, b uint32) bool { return prefixes[a] == prefixes[b] })
	for _, i := range l.sorted {
		l.add(prefixes[i])
	}
	l.in4.finish()
	l.in6.finish()
	return l
}

// add adds a canonical prefix. Prefixes are added in the order of canon.Compare.
func (l *longList) add(p netip.Prefix) {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		from := binary.BigEndian.Uint32(b[:])
		l.in4.add(from, from|uint32(uint64(1)<<(32-p.Bits())-1))
		return
	}
	b := p.Addr().As16()
	from := binary.BigEndian.Uint64(b[:8])
	if p.Bits() > 64 {
		l.half[halfAt(from)/64] |= 1 << (halfAt(from) % 64)
		return
	}
	l.in6.add(from, from|(1<<(64-p.Bits())-1))
}

// halfAt returns the bit of longList.half for the upper half of an address.
func halfAt(hi uint64) uint64 { return hi * 0x9e3779b97f4a7c15 >> 54 }

// contains reports whether a prefix contains the address of q.
func (l *longList) contains(q query) bool {
	switch q.family {
	case 4:
		return l.in4.contains(uint32(q.lo))
	case 6:
		return l.contains6(q.hi, q.lo)
	}
	return false
}

// contains6 is contains for an IPv6 address of two halves.
func (l *longList) contains6(hi, lo uint64) bool {
	if l.in6.contains(hi) {
		return true
	}
	if h := halfAt(hi); l.half[h/64]>>(h%64)&1 == 0 {
		return false
	}
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], hi)
	binary.BigEndian.PutUint64(a[8:], lo)
	return l.table.Contains(netip.AddrFrom16(a))
}

// lookup returns the index and the prefix of the most specific entry that contains addr, or -1.
func (l *longList) lookup(addr netip.Addr) (int, netip.Prefix) {
	p, ok := l.table.LookupPrefixLPM(netip.PrefixFrom(addr, addr.BitLen()))
	if !ok {
		return -1, p
	}
	i, ok := slices.BinarySearchFunc(l.sorted, p, func(i uint32, p netip.Prefix) int {
		return canon.Compare(l.prefixes[i], p)
	})
	if !ok {
		return -1, p
	}
	return int(l.sorted[i]), p
}

// A labelledList is a longList with the labels of one list; labels is nil if there
// are none.
type labelledList struct {
	*longList
	labels []string
}

func (l *labelledList) entry(i int) Entry {
	e := Entry{Prefix: l.prefixes[i]}
	if l.labels != nil {
		e.Label = l.labels[i]
	}
	return e
}

// compileLong returns the long list of canonical entries, from the cache if there is one.
func compileLong(entries []Entry, cache *compileCache) *labelledList {
	prefixes := make([]netip.Prefix, len(entries))
	for i, e := range entries {
		prefixes[i] = e.Prefix
	}
	return &labelledList{longList: cache.get(prefixes), labels: labelsOf(entries)}
}

// labelMemory is how many labels of a list are remembered while it is compiled.
const labelMemory = 1024

// labelsOf returns the labels of the entries, or nil if all are empty. They are copies, so that
// no list keeps the file alive that it was cut out of, and a label that comes again soon is stored
// once. An LRU and not a map of all, which for a list whose labels all differ would be larger than
// what it saves.
func labelsOf(entries []Entry) []string {
	first := slices.IndexFunc(entries, func(e Entry) bool { return e.Label != "" })
	if first < 0 {
		return nil
	}
	// The size is positive, which is all that can be wrong with it.
	stored, _ := simplelru.NewLRU[string, string](labelMemory, nil)
	labels := make([]string, len(entries))
	for i := first; i < len(entries); i++ {
		label, ok := stored.Get(entries[i].Label)
		if !ok {
			label = strings.Clone(entries[i].Label)
			stored.Add(label, label)
		}
		labels[i] = label
	}
	return labels
}
