package main

import (
	"fmt"
	"log"
	"math/big"
	"strings"
)

// A network is its first address as a number, its length, and the width of
// its family, 32 or 128.
type network struct {
	first  *big.Int
	length int
	width  int
}

// newNetwork makes an IPv4 network from four numbers, an IPv6 network from
// eight.
func newNetwork(length int, groups ...int64) network {
	n := network{first: new(big.Int), length: length, width: 32}
	size := uint(8)
	if len(groups) == 8 {
		n.width, size = 128, 16
	}
	for _, g := range groups {
		n.first.Lsh(n.first, size)
		n.first.Add(n.first, big.NewInt(g))
	}
	return n
}

// size is the number of addresses in n.
func (n network) size() *big.Int {
	return new(big.Int).Lsh(big.NewInt(1), uint(n.width-n.length))
}

// at is the text of the address at the distance d from the first.
func (n network) at(d *big.Int) string {
	return n.text(new(big.Int).Add(n.first, d))
}

func (n network) firstText() string { return n.at(big.NewInt(0)) }
func (n network) lastText() string  { return n.at(new(big.Int).Sub(n.size(), big.NewInt(1))) }
func (n network) before() string    { return n.at(big.NewInt(-1)) }
func (n network) after() string     { return n.at(n.size()) }

// text writes a number as an address, IPv6 with all eight groups, which every
// reader of RFC 4291 takes. It is "" outside the family.
func (n network) text(v *big.Int) string {
	if v.Sign() < 0 || v.BitLen() > n.width {
		return ""
	}
	size, verb, sep := uint(8), "%d", "."
	if n.width == 128 {
		size, verb, sep = 16, "%x", ":"
	}
	mask := big.NewInt(1<<size - 1)
	var groups []string
	for shift := n.width - int(size); shift >= 0; shift -= int(size) {
		g := new(big.Int).Rsh(v, uint(shift))
		groups = append(groups, fmt.Sprintf(verb, g.And(g, mask)))
	}
	return strings.Join(groups, sep)
}

// check ends the program where the written form of a network has host bits,
// which would be a mistake in this package.
func (n network) check(what string) {
	if new(big.Int).Mod(n.first, n.size()).Sign() != 0 {
		log.Fatalf("%s: the network has host bits", what)
	}
}
