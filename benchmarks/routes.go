package main

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
)

// lengths4 and lengths6 are how many prefixes of each length a full routing
// table of about a million had: 901,899 of IPv4 and 160,147 of IPv6.
var lengths4 = map[int]int{
	8: 16, 9: 13, 10: 38, 11: 103, 12: 299, 13: 581, 14: 1203, 15: 2100, 16: 13490, 17: 8235, 18: 13798,
	19: 24870, 20: 42611, 21: 50750, 22: 108623, 23: 96510, 24: 537698, 25: 20, 26: 3, 27: 11, 28: 18,
	29: 17, 30: 3, 31: 3, 32: 886,
}

var lengths6 = map[int]int{
	16: 1, 19: 1, 20: 16, 21: 3, 22: 7, 23: 8, 24: 30, 25: 8, 26: 15, 27: 20, 28: 193, 29: 4371, 30: 650,
	31: 284, 32: 22548, 33: 2926, 34: 2603, 35: 1043, 36: 5996, 37: 880, 38: 1617, 39: 1377, 40: 13418,
	41: 903, 42: 2301, 43: 1001, 44: 14365, 45: 1553, 46: 3039, 47: 3153, 48: 75488, 49: 11, 50: 3, 52: 1,
	55: 1, 56: 24, 58: 20, 60: 2, 64: 184, 112: 2, 122: 1, 124: 4, 125: 9, 126: 19, 127: 42, 128: 6,
}

// blocks6 are where IPv6 networks are given out; a table drawn from all of
// 2000::/3 would be far emptier than a real one.
var blocks6 = []netip.Prefix{
	netip.MustParsePrefix("2001::/16"), netip.MustParsePrefix("2400::/12"), netip.MustParsePrefix("2600::/12"),
	netip.MustParsePrefix("2800::/12"), netip.MustParsePrefix("2a00::/12"), netip.MustParsePrefix("2c00::/12"),
}

// A drawer draws prefix lengths as often as a table has them.
type drawer struct {
	six  bool
	bits int
	upTo int // the sum of the counts up to and with this one
}

func drawers() []drawer {
	var ds []drawer
	sum := 0
	for bits := range 129 {
		for _, t := range []struct {
			six    bool
			counts map[int]int
		}{{false, lengths4}, {true, lengths6}} {
			if n := t.counts[bits]; n > 0 {
				sum += n
				ds = append(ds, drawer{t.six, bits, sum})
			}
		}
	}
	return ds
}

// generatedRoutes returns n different prefixes with the lengths of a real
// routing table, in the parts of the address space that one covers.
func generatedRoutes(n int) []netip.Prefix {
	r := rand.New(rand.NewPCG(1, 0x726f75746573))
	ds := drawers()
	seen := make(map[netip.Prefix]bool, n)
	list := make([]netip.Prefix, 0, n)
	for len(list) < n {
		x, i := r.IntN(ds[len(ds)-1].upTo), 0
		for ds[i].upTo <= x {
			i++
		}
		var a netip.Addr
		if ds[i].six {
			a = blocks6[r.IntN(len(blocks6))].Addr()
			b := a.As16()
			keep := 0x000fffff_ffffffff
			if b[1] == 1 { // 2001::/16
				keep = 0x0000ffff_ffffffff
			}
			hi := binary.BigEndian.Uint64(b[:])
			binary.BigEndian.PutUint64(b[:], hi|r.Uint64()&uint64(keep))
			binary.BigEndian.PutUint64(b[8:], r.Uint64())
			a = netip.AddrFrom16(b)
		} else {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], r.Uint32())
			b[0] = 1 + b[0]%223
			a = netip.AddrFrom4(b)
		}
		p, err := a.Prefix(ds[i].bits)
		must(err)
		// The few short lengths have few prefixes; a real table has no more of
		// them than these, and one that is drawn twice is drawn again.
		if !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list
}

// readRoutes returns the prefixes of a file, one a line, in random order.
// Lines that begin with # are comments; a name that ends in .gz is unpacked.
func readRoutes(name string) (list []netip.Prefix, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var in io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		in = z
	}
	seen := map[netip.Prefix]bool{}
	sc := bufio.NewScanner(in)
	for line := 1; sc.Scan(); line++ {
		text := strings.TrimSpace(sc.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w; write one prefix a line", name, line, err)
		}
		if p = p.Masked(); !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list, nil
}
