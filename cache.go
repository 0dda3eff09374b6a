package ipallow

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"
)

// defaultCompileCache is how many large tables an engine's compile cache
// holds.
const defaultCompileCache = 128

// A compileCache lets lists with equal prefixes share one large table. It
// takes a mutex and is for writers only; Check never sees it. The nil
// compileCache compiles every list anew.
type compileCache struct {
	seed maphash.Seed
	lru  *lru.Cache[uint64, *large]
}

func newCompileCache(size int) *compileCache {
	if size <= 0 {
		return nil
	}
	c, err := lru.New[uint64, *large](size)
	if err != nil {
		return nil // size is positive, which is all that New asks
	}
	return &compileCache{seed: maphash.MakeSeed(), lru: c}
}

// get returns the table for canonical prefixes, which the caller gives up.
// The hash only finds a candidate; the prefixes are compared.
func (c *compileCache) get(prefixes []netip.Prefix) *large {
	if c == nil {
		return newLarge(prefixes)
	}
	var h maphash.Hash
	h.SetSeed(c.seed)
	var b [18]byte
	for _, p := range prefixes {
		a := p.Addr().As16()
		copy(b[:], a[:])
		// An IPv4 prefix and the IPv6 one of the same bits differ in b[16].
		b[16], b[17] = byte(p.Addr().BitLen()), byte(p.Bits())
		h.Write(b[:])
	}
	binary.LittleEndian.PutUint64(b[:8], uint64(len(prefixes)))
	h.Write(b[:8])
	sum := h.Sum64()
	if l, ok := c.lru.Get(sum); ok && slices.Equal(l.prefixes, prefixes) {
		return l
	}
	l := newLarge(prefixes)
	c.lru.Add(sum, l)
	return l
}
