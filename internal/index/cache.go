package index

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"weak"
)

// A compileCache lets lists with equal prefixes share one table while it is in use. It holds weak
// pointers, and a table's entry goes with the table: what was replaced or deleted is garbage at
// once. It is for writers only; Check never sees it. The nil compileCache compiles every list anew.
type compileCache struct {
	seed   maphash.Seed
	tables sync.Map // from the hash of the prefixes, uint64, to weak.Pointer[longList]
}

func newCompileCache() *compileCache {
	return &compileCache{seed: maphash.MakeSeed()}
}

// get returns the table for canonical prefixes, which the caller gives up.
func (c *compileCache) get(prefixes []netip.Prefix) *longList {
	if c == nil {
		return newLongList(prefixes)
	}
	sum := c.sum(prefixes)
	if l := c.find(sum, prefixes); l != nil {
		return l
	}
	l := newLongList(prefixes)
	if other := c.find(sum, prefixes); other != nil {
		return other // another writer has compiled the list meanwhile
	}
	w := weak.Make(l)
	c.tables.Store(sum, w)
	// Not a Delete: the same hash may have a newer table by then.
	runtime.AddCleanup(l, func(w weak.Pointer[longList]) { c.tables.CompareAndDelete(sum, w) }, w)
	return l
}

// find returns a table in use for the prefixes, or nil. The hash only finds a candidate; the
// prefixes are compared.
func (c *compileCache) find(sum uint64, prefixes []netip.Prefix) *longList {
	w, ok := c.tables.Load(sum)
	if !ok {
		return nil
	}
	if l := w.(weak.Pointer[longList]).Value(); l != nil && slices.Equal(l.prefixes, prefixes) {
		return l
	}
	return nil
}

func (c *compileCache) sum(prefixes []netip.Prefix) uint64 {
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
	return h.Sum64()
}
