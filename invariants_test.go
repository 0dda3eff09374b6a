//go:build ipallowcheck

package ipallow

import (
	"encoding/binary"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/stretchr/testify/require"
)

// sampleIndex has small and large lists, with and without labels, in several
// shards.
func sampleIndex(t *testing.T) *Snapshot {
	e := New(&Options{Policy: widest()})
	require.NoError(t, e.Update(func(tx *Tx) error {
		for i := range 3 * splitKeys {
			list := fromNaive(gen.Distinct(1 + i%7))
			switch {
			case i%5 == 0:
				list[0].Label = "label"
			case i%10 == 1:
				list = fromNaive(gen.Distinct(maxSmall + 1))
			}
			if err := tx.Set(gen.BulkKey(i), list); err != nil {
				return err
			}
		}
		return nil
	}))
	return e.Snapshot()
}

// The walk is worth something only if it sees what is broken: each of these
// spoils one thing in a good index.
func TestCheckInvariantsSees(t *testing.T) {
	require.NotPanics(t, func() { checkInvariants(sampleIndex(t)) })
	require.NotPanics(t, func() { checkInvariants(nil); checkInvariants(new(Snapshot)); checkInvariants(New(nil).Snapshot()) })

	first := func(s *Snapshot) *shard { sh := s.index.at(0); return &sh }
	// alter changes the first shard, in all places that it has.
	alter := func(s *Snapshot, f func(sh *shard)) {
		sh := s.index.at(0)
		width := uint64(1) << (s.index.bits - sh.depth)
		f(&sh)
		for p := range width {
			s.index.root[p>>nodeBits].put(p%nodeSize, &sh)
		}
	}
	// flagged finds a record with the flag in the first shard.
	flagged := func(sh *shard, flag uint32) []byte {
		for rec := range sh.records() {
			if headerOf(rec)&(flagLabels|flagScan|flagLarge) == flag {
				return rec
			}
		}
		t.Fatal("no such record")
		return nil
	}
	swapSlots := func(sh *shard, pick func(uint32) uint32) {
		for i := range sh.buckets * bucketSlots {
			slot := sh.slot(uint64(i/bucketSlots), 1+i%bucketSlots)
			if x := binary.LittleEndian.Uint32(slot[:]); x != 0 {
				binary.LittleEndian.PutUint32(slot[:], pick(x))
				return
			}
		}
		t.Fatal("no slot is used")
	}
	// entry returns the body of a record of IPv4 entries only.
	entry := func(sh *shard) ([]byte, layout) {
		for rec := range sh.records() {
			if l := layoutOf(headerOf(rec)); l.n4 > 0 && l.n6 == 0 && headerOf(rec) < flagLabels {
				return bodyOf(rec), l
			}
		}
		t.Fatal("no such record")
		return nil, layout{}
	}
	for name, spoil := range map[string]func(s *Snapshot){
		"a key is not counted":             func(s *Snapshot) { s.index.keys-- },
		"a record is not counted":          func(s *Snapshot) { alter(s, func(sh *shard) { sh.n-- }) },
		"a slot is lost":                   func(s *Snapshot) { swapSlots(first(s), func(uint32) uint32 { return 0 }) },
		"a slot has another tag":           func(s *Snapshot) { swapSlots(first(s), func(x uint32) uint32 { return x ^ 1<<slotTag }) },
		"a slot points between records":    func(s *Snapshot) { swapSlots(first(s), func(x uint32) uint32 { return x + 1 }) },
		"a slot points behind the records": func(s *Snapshot) { swapSlots(first(s), func(x uint32) uint32 { return x | offsetMask }) },
		"a key has changed":                func(s *Snapshot) { keyOf(flagged(first(s), 0))[0]++ },
		"a key is empty": func(s *Snapshot) {
			r := flagged(first(s), 0)
			binary.LittleEndian.PutUint32(r, headerOf(r)&^hdrKeyLen)
		},
		"an entry has host bits":     func(s *Snapshot) { body, l := entry(first(s)); body[0] ^= 1; body[l.shift4] = 8 },
		"a record has other flags":   func(s *Snapshot) { flagged(first(s), 0)[3] |= flagLarge >> 24 },
		"a record has an entry more": func(s *Snapshot) { r := flagged(first(s), 0); binary.LittleEndian.PutUint32(r, headerOf(r)+1<<hdrN4) },
		"a record has no entries":    func(s *Snapshot) { r := flagged(first(s), 0); binary.LittleEndian.PutUint32(r, headerOf(r)&hdrKeyLen) },
		"labels are elsewhere":       func(s *Snapshot) { r := flagged(first(s), flagLabels); r[len(r)-4]++ },
		"a table is another":         func(s *Snapshot) { r := flagged(first(s), flagLarge); r[len(r)-4]++ },
		"a table is left over":       func(s *Snapshot) { m := first(s).more; m.large = append(m.large, m.large[0]) },
		"labels are left over":       func(s *Snapshot) { m := first(s).more; m.cold = append(m.cold, 0) },
		"a table's order is wrong":   func(s *Snapshot) { l := first(s).more.large[0].sorted; l[0], l[1] = l[1], l[0] },
		"a table's spans are others": func(s *Snapshot) { first(s).more.large[0].in4.points[0]++ },
		"a table's half is lost":     func(s *Snapshot) { first(s).more.large[0].half[0] ^= 1 },
		"the padding is not zero":    func(s *Snapshot) { b := first(s).mem; b[len(b)-1] = 1 },
		"the padding is missing":     func(s *Snapshot) { alter(s, func(sh *shard) { sh.mem = sh.mem[:len(sh.mem)-1] }) },
		"bytes are left over": func(s *Snapshot) {
			alter(s, func(sh *shard) { sh.mem = append(sh.mem, 0, 0, 0, 0, 0, 0, 0, 0) })
		},
		"the copy for Check is older": func(s *Snapshot) {
			c := *first(s)
			c.mem = append([]byte(nil), c.mem...)
			s.index.root[0].hot[0] = c.hot()
		},
		"the seeds are others": func(s *Snapshot) {
			for i := range uint64(first(s).buckets) {
				first(s).slot(i, 0)[0]++
			}
		},
		"a seed looks like a slot":            func(s *Snapshot) { first(s).slot(0, 0)[3]++ },
		"the multiplier is even":              func(s *Snapshot) { alter(s, func(sh *shard) { sh.mult++ }) },
		"keys may stand elsewhere":            func(s *Snapshot) { alter(s, func(sh *shard) { sh.probes++ }) },
		"a shard has nothing more":            func(s *Snapshot) { alter(s, func(sh *shard) { sh.more = nil }) },
		"a shard's number is another":         func(s *Snapshot) { s.index.root[0].rest[0].n++ },
		"there are more buckets":              func(s *Snapshot) { alter(s, func(sh *shard) { sh.buckets++ }) },
		"a header says that entries overlap":  func(s *Snapshot) { flagged(first(s), 0)[3] |= flagScan >> 24 },
		"the copy's multiplier is another":    func(s *Snapshot) { s.index.root[0].hot[0].mult++ },
		"a place has another shard":           func(s *Snapshot) { sh := s.index.root[0].shard(nodeSize - 1); s.index.root[0].put(0, &sh) },
		"a place has no shard":                func(s *Snapshot) { s.index.root[0].put(nodeSize-1, new(shard)) },
		"a shard's depth is too small":        func(s *Snapshot) { alter(s, func(sh *shard) { sh.depth-- }) },
		"a shard's depth is too large":        func(s *Snapshot) { alter(s, func(sh *shard) { sh.depth = s.index.bits + 1 }) },
		"the directory has a bit more":        func(s *Snapshot) { s.index.bits++ },
		"the snapshot's shift is another":     func(s *Snapshot) { s.shift-- },
		"the snapshot's directory is another": func(s *Snapshot) { s.dir = newHotDir(append([]*node(nil), s.index.root...)) },
		"the hashes are others":               func(s *Snapshot) { s.hash.mask = 1<<40 - 1 },
	} {
		s := sampleIndex(t)
		require.Greater(t, first(s).n, 10)
		spoil(s)
		require.Panics(t, func() { checkInvariants(s) }, name)
	}
}
