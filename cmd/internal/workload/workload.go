// Package workload makes the keys, lists and requests of measurements, the same for the same seed.
// It is a copy of what internal/gen of the root module has, which another module cannot rely on.
package workload

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// KeyLen is the length of a workload's keys in bytes, where its shape does not say another.
const KeyLen = 33

// A Workload is keys with their lists and the requests made with them.
type Workload struct {
	Keys    []string
	Lists   [][]netip.Prefix
	Queries []Query
}

// A Query is one request. Its key is a copy of the stored one's bytes, as a
// request header gives it.
type Query struct {
	Key  string
	Addr netip.Addr
	Hit  bool // an entry of the key's list contains Addr
}

// Shape says what a workload looks like.
type Shape struct {
	Keys     int
	KeyBytes int    // of each key; default KeyLen
	Entries  int    // of each key
	Family   string // "4", "6" or "mixed" (four IPv4 entries to one IPv6)
	Result   string // "hit", "miss" or "mixed"
	Queries  int    // default 65,536
	Seed     uint64
}

// New makes a workload: uniformly drawn keys; IPv4 prefixes of /16 to /32,
// IPv6 prefixes of /33 to /64 and of /128.
func (s Shape) New() *Workload {
	if s.Queries == 0 {
		s.Queries = 1 << 16
	}
	if s.KeyBytes == 0 {
		s.KeyBytes = KeyLen
	}
	r := rand.New(rand.NewPCG(s.Seed, 0x6970616c6c6f77))
	w := &Workload{Keys: make([]string, s.Keys), Lists: make([][]netip.Prefix, s.Keys)}
	for i := range w.Keys {
		w.Keys[i] = key(r, s.KeyBytes)
		w.Lists[i] = list(r, s.Entries, s.Family)
	}
	// The copies stand side by side, so that reading the queries costs next
	// to nothing beside the lookups.
	text := make([]byte, 0, s.Queries*s.KeyBytes)
	owner := make([]int, s.Queries)
	for i := range owner {
		owner[i] = r.IntN(s.Keys)
		text = append(text, w.Keys[owner[i]]...)
	}
	keys := string(text)
	w.Queries = make([]Query, s.Queries)
	long := make(map[int]containsFunc) // of the lists with many entries
	for i, o := range owner {
		contains := containsFunc(func(a netip.Addr) bool { return contains(w.Lists[o], a) })
		if len(w.Lists[o]) > 100 {
			if long[o] == nil {
				long[o] = longContains(w.Lists[o])
			}
			contains = long[o]
		}
		hit := s.Result == "hit" || s.Result == "mixed" && r.IntN(2) == 0
		w.Queries[i] = Query{
			Key:  keys[i*s.KeyBytes:][:s.KeyBytes],
			Addr: address(r, w.Lists[o], contains, hit),
			Hit:  hit,
		}
	}
	return w
}

const alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func key(r *rand.Rand, n int) string {
	b := []byte("ipk_")
	for len(b) < n {
		b = append(b, alphabet[r.IntN(len(alphabet))])
	}
	return string(b)
}

func list(r *rand.Rand, n int, family string) []netip.Prefix {
	seen := make(map[netip.Prefix]bool, n)
	l := make([]netip.Prefix, 0, n)
	for len(l) < n {
		six := family == "6" || family == "mixed" && r.IntN(5) == 0
		if p := prefix(r, six); !seen[p] {
			seen[p] = true
			l = append(l, p)
		}
	}
	return l
}

func prefix(r *rand.Rand, six bool) netip.Prefix {
	if six {
		bits := 33 + r.IntN(33)
		if bits == 65 {
			bits = 128
		}
		p, _ := random6(r).Prefix(bits)
		return p
	}
	p, _ := random4(r).Prefix(16 + r.IntN(17))
	return p
}

// random4 draws from 11.0.0.0 to 99.255.255.255: no private range is in it
// but parts that no policy of a benchmark asks about.
func random4(r *rand.Rand) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], r.Uint32())
	b[0] = 11 + b[0]%89
	return netip.AddrFrom4(b)
}

func random6(r *rand.Rand) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], r.Uint64())
	binary.BigEndian.PutUint64(b[8:], r.Uint64())
	b[0] = 0x20 | b[0]&0x0f // 2000::/4
	return netip.AddrFrom16(b)
}

// address draws one that l contains, or one of the same family that it does
// not.
func address(r *rand.Rand, l []netip.Prefix, contains containsFunc, hit bool) netip.Addr {
	p := l[r.IntN(len(l))]
	for {
		var a netip.Addr
		if p.Addr().Is4() {
			a = random4(r)
		} else {
			a = random6(r)
		}
		if hit {
			return inside(p, a)
		}
		if !contains(a) {
			return a
		}
	}
}

// inside gives a the first bits of p.
func inside(p netip.Prefix, a netip.Addr) netip.Addr {
	from, to := p.Addr().AsSlice(), a.AsSlice()
	for i := range p.Bits() {
		m := byte(0x80) >> (i % 8)
		to[i/8] = to[i/8]&^m | from[i/8]&m
	}
	a, ok := netip.AddrFromSlice(to)
	if !ok {
		panic(fmt.Sprintf("workload: %d bytes are no address", len(to)))
	}
	return a
}

func contains(l []netip.Prefix, a netip.Addr) bool {
	for _, p := range l {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

type containsFunc func(netip.Addr) bool

// longContains answers as contains does. A loop over 100,000 entries for each of 65,536
// queries took half a minute, so the list is a set that is asked for each length.
func longContains(l []netip.Prefix) containsFunc {
	set := make(map[netip.Prefix]bool, len(l))
	for _, p := range l {
		set[p] = true
	}
	return func(a netip.Addr) bool {
		for bits := range a.BitLen() + 1 {
			if p, err := a.Prefix(bits); err == nil && set[p] {
				return true
			}
		}
		return false
	}
}
