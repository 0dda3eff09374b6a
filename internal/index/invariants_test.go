//go:build ipallowcheck

package index

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/stretchr/testify/require"
)

// sampleIndex has small and long lists, with and without labels, in several
// shards.
func sampleIndex(t *testing.T) *Index {
	e := newEngine()
	require.NoError(t, e.Update(func(tx *tx) error {
		for i := range 3 * splitKeys {
			list := fromNaive(gen.Distinct(1 + i%7))
			switch {
			case i%5 == 0:
				list[0].Label = "label"
			case i%10 == 1:
				list = fromNaive(gen.Distinct(MaxShort + 1))
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
	require.NotPanics(t, func() { CheckInvariants(sampleIndex(t)) })
	require.NotPanics(t, func() { CheckInvariants(nil); CheckInvariants(new(Index)); CheckInvariants(newEngine().Snapshot()) })

	first := func(s *Index) *shard { sh := s.directory.at(0); return &sh }
	// alter changes the first shard, in all places that it has.
	alter := func(s *Index, f func(sh *shard)) {
		sh := s.directory.at(0)
		width := uint64(1) << (s.directory.bits - sh.depth)
		f(&sh)
		for p := range width {
			s.directory.root[p>>nodeBits].put(p%nodeSize, &sh)
		}
	}
	// flagged finds a record with the flag in the first shard.
	flagged := func(sh *shard, flag uint32) []byte {
		for rec := range sh.records() {
			hdr := headerOf(rec)
			if isLong(hdr) && flag == hdrLong || !isLong(hdr) && hdr&(flagLabels|flagScan) == flag {
				return rec
			}
		}
		t.Fatal("no such record")
		return nil
	}
	// table changes the tables of the first shard.
	table := func(s *Index, f func(*header)) {
		alter(s, func(sh *shard) {
			changed := *sh.header
			f(&changed)
			sh.header = &changed
		})
	}
	// retag changes the tag of the first record of the first shard.
	retag := func(s *Index, to func(uint16) uint16) {
		alter(s, func(sh *shard) {
			for i := range uint64(sh.cells) {
				if tag := sh.tag(i); tag != 0 {
					sh.setTag(i, to(tag))
					return
				}
			}
			t.Fatal("no tag is used")
		})
	}
	// entry returns the body of a record of IPv4 entries only.
	entry := func(sh *shard) ([]byte, layout) {
		for rec := range sh.records() {
			if l := layoutOf(headerOf(rec)); l.n4 > 0 && l.n6 == 0 && headerOf(rec)&(flagLabels|flagScan) == 0 {
				return bodyOf(rec), l
			}
		}
		t.Fatal("no such record")
		return nil, layout{}
	}
	for name, spoil := range map[string]func(s *Index){
		"a key is not counted":                     func(s *Index) { s.directory.keys-- },
		"a record is not counted":                  func(s *Index) { alter(s, func(sh *shard) { sh.n-- }) },
		"a tag is lost":                            func(s *Index) { retag(s, func(uint16) uint16 { return 0 }) },
		"a tag has other bits of the hash":         func(s *Index) { retag(s, func(x uint16) uint16 { return x ^ 2 }) },
		"a tag has another number of IPv4 entries": func(s *Index) { retag(s, func(x uint16) uint16 { return x ^ 1<<tagN4 }) },
		"a tag has another number of IPv6 entries": func(s *Index) { retag(s, func(x uint16) uint16 { return x ^ 1<<tagN6 }) },
		"a free cell has a tag": func(s *Index) {
			alter(s, func(sh *shard) {
				cell := uint64(0)
				for sh.tag(cell) != 0 {
					cell++
				}
				sh.setTag(cell, 1)
			})
		},
		"the last tag is another": func(s *Index) { sh := first(s); sh.tags[len(sh.tags)-2] ^= 1 },
		"the tags are elsewhere":  func(s *Index) { table(s, func(t *header) { t.tagsAt -= 2 }) },
		"a key has changed":       func(s *Index) { keyOf(flagged(first(s), 0))[0]++ },
		"a key is empty": func(s *Index) {
			r := flagged(first(s), 0)
			binary.LittleEndian.PutUint32(r, headerOf(r)&^(1<<27-1<<hdrKeyLen))
		},
		"an entry has host bits":     func(s *Index) { body, l := entry(first(s)); body[l.at4] ^= 1; body[l.shift4] = 8 },
		"a record has other flags":   func(s *Index) { flagged(first(s), 0)[1] |= flagLabels >> 8 },
		"a record has an entry more": func(s *Index) { r := flagged(first(s), 0); binary.LittleEndian.PutUint32(r, headerOf(r)+1<<hdrN4) },
		"a record has no entries": func(s *Index) {
			r := flagged(first(s), 0)
			binary.LittleEndian.PutUint32(r, headerOf(r)>>hdrKeyLen<<hdrKeyLen)
		},
		"labels are elsewhere":       func(s *Index) { r := flagged(first(s), flagLabels); r[len(r)-4]++ },
		"a table is another":         func(s *Index) { r := flagged(first(s), hdrLong); r[len(r)-4]++ },
		"a table is left over":       func(s *Index) { m := first(s).more; m.long = append(m.long, m.long[0]) },
		"labels are left over":       func(s *Index) { m := first(s).more; m.labels = append(m.labels, 0) },
		"a table's order is wrong":   func(s *Index) { l := first(s).more.long[0].sorted; l[0], l[1] = l[1], l[0] },
		"a table's spans are others": func(s *Index) { first(s).more.long[0].in4.points[0]++ },
		"a table's half is lost":     func(s *Index) { first(s).more.long[0].half[0] ^= 1 },
		"the padding is not zero":    func(s *Index) { b := first(s).mem; b[len(b)-1] = 1 },
		"the padding is missing":     func(s *Index) { alter(s, func(sh *shard) { sh.mem = sh.mem[:len(sh.mem)-1] }) },
		"bytes are left over": func(s *Index) {
			alter(s, func(sh *shard) { sh.mem = append(sh.mem, 0, 0, 0, 0, 0, 0, 0, 0) })
		},
		"the copy for Check is older": func(s *Index) {
			sh := first(s)
			s.directory.root[0].base[1] = newMemory(slices.Concat(zeros[:], sh.mem, sh.tags))
		},
		"the pilots are others": func(s *Index) { table(s, func(t *header) { clear(t.pilots[:]); t.pilots[0]++ }) },
		"a free cell is not zero": func(s *Index) {
			sh := first(s)
			for i := range int(sh.cells) {
				if cell := sh.mem[i*int(sh.unit):][:sh.unit]; bytes.Count(cell, []byte{0}) == len(cell) {
					cell[len(cell)-1] = 1
					return
				}
			}
			t.Fatal("no free cell")
		},
		"a record is not in the first of its cells": func(s *Index) { table(s, func(t *header) { t.unit /= 2; t.cells *= 2 }) },
		"a shard has nothing more":                  func(s *Index) { alter(s, func(sh *shard) { sh.more = nil }) },
		"a shard's number is another":               func(s *Index) { s.directory.root[0].rest[0].n++ },
		"there are more cells":                      func(s *Index) { table(s, func(t *header) { t.cells++ }) },
		"there are no cells":                        func(s *Index) { table(s, func(t *header) { t.cells, t.unit = 0, 0 }) },
		"cells are of another size":                 func(s *Index) { table(s, func(t *header) { t.unit += unitStep }) },
		"cells of no multiple of a step":            func(s *Index) { table(s, func(t *header) { t.unit++ }) },
		"a header says that entries overlap":        func(s *Index) { flagged(first(s), 0)[3] |= flagScan >> 24 },
		"the copy has other cells":                  func(s *Index) { s.directory.root[0].headers[0].cells++ },
		"a place has another shard":                 func(s *Index) { sh := s.directory.root[0].shard(nodeSize - 1); s.directory.root[0].put(0, &sh) },
		"a place has no shard": func(s *Index) {
			s.directory.root[0].put(nodeSize-1, &shard{header: new(header), buf: newMemory(make([]byte, 2))})
		},
		"a shard's depth is too small":        func(s *Index) { alter(s, func(sh *shard) { sh.depth-- }) },
		"a shard's depth is too large":        func(s *Index) { alter(s, func(sh *shard) { sh.depth = s.directory.bits + 1 }) },
		"the directory has a bit more":        func(s *Index) { s.directory.bits++ },
		"the snapshot's shift is another":     func(s *Index) { s.shift-- },
		"the snapshot's directory is another": func(s *Index) { s.dir = newRootPtr(append([]*node(nil), s.directory.root...)) },
		"the hashes are others":               func(s *Index) { s.hash.mask = 1<<40 - 1 },
	} {
		s := sampleIndex(t)
		require.Greater(t, first(s).n, 10)
		spoil(s)
		require.Panics(t, func() { CheckInvariants(s) }, name)
	}
}

// The long way gives the same answers, so that a short way which has lost its
// way costs only time: here it may not be left.
func TestShortWay(t *testing.T) {
	e := newEngine()
	key := func(i int) string { return gen.BulkKey(i) + strings.Repeat("k", i%106) }
	const keys = 3000
	require.NoError(t, e.Update(func(tx *tx) error {
		for i := range keys {
			if err := tx.Set(key(i), fromNaive(gen.Distinct(1+i%MaxShort))); err != nil {
				return err
			}
		}
		return nil
	}))
	for i := range keys / 2 { // in place, and elsewhere
		require.NoError(t, e.Set(key(i), fromNaive(gen.Distinct(1+i%7))))
	}
	before, seen := slowChecks.Load(), map[Verdict]int{}
	for i := range keys {
		list, ok := e.Snapshot().entries(key(i))
		require.True(t, ok)
		for _, entry := range list {
			seen[e.Check(key(i), entry.Prefix.Addr())]++
		}
		for _, a := range []string{"192.0.2.1", "::ffff:198.51.100.1", "2001:db8::1", "fe80::1%eth0"} {
			seen[e.Check(key(i), addr(a))]++
		}
	}
	require.Equal(t, before, slowChecks.Load())
	require.Greater(t, seen[Allowed], keys)
	require.Greater(t, seen[Denied], keys)
	require.Zero(t, seen[Unrestricted])
}
