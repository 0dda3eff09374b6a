//go:build ipallowcheck

package index

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"reflect"
	"sync/atomic"

	"github.com/ipallow/ipallow/internal/canon"
)

// CheckInvariants walks the whole index of a snapshot and panics if any of
// it is not as the comments of the types say. It is compiled in by the build
// tag ipallowcheck, for tests: its cost grows with all keys.
func CheckInvariants(s *Index) {
	if err := verifyIndex(s); err != nil {
		panic(fmt.Sprintf("ipallow: the index of revision %d is broken: %v", s.Revision(), err))
	}
}

// slowChecks counts the calls of Check that took the slow path.
var slowChecks atomic.Int64

func countSlow() { slowChecks.Add(1) }

func verifyIndex(s *Index) error {
	if s == nil || s.directory == nil {
		return nil
	}
	x := s.directory
	if x.bits < nodeBits || x.bits > maxBits || len(x.root) != 1<<(x.bits-nodeBits) {
		return fmt.Errorf("a directory of %d bits has %d nodes", x.bits, len(x.root))
	}
	if s.shift != 64-x.bits || s.loaded && !s.dir.same(x.root) {
		return fmt.Errorf("the snapshot's directory is not that of its index")
	}
	for i, n := range x.root {
		packed := 0
		for j := range n.headers {
			switch t := &n.headers[j]; {
			case t.base == 0:
				packed++
			case int(t.base) != 1+j || t.offset != ahead || t.tagsAt != ahead+n.rest[j].size:
				return fmt.Errorf("node %d: the buffer of slot %d are number %d, from %d on", i, j, t.base, t.offset)
			}
			if n.base[1+j].none() != (n.headers[j].base == 0) {
				return fmt.Errorf("node %d: slot %d has a buffer of its own and that of the block, or none", i, j)
			}
		}
		if n.base[0].none() != (packed == 0) || int(n.own) != nodeSize-packed {
			return fmt.Errorf("node %d: %d slots are in a block, or there is none (%t), and %d are not", i, packed, n.base[0].none(), n.own)
		}
		if packed > 0 {
			if n.blockDepth > x.bits-nodeBits {
				return fmt.Errorf("node %d: a block for %d bits", i, n.blockDepth)
			}
			used := 0
			first, end := x.sharing(uint64(i))
			for _, m := range x.root[first:end] {
				used += nodeSize - int(m.own)
				if !m.base[0].none() && (!m.base[0].same(n.base[0]) || m.blockDepth != n.blockDepth) {
					return fmt.Errorf("nodes %d to %d have several blocks", first, end)
				}
			}
			if used < int(end-first)*nodeSize/2 {
				return fmt.Errorf("nodes %d to %d: %d slots are in a block", first, end, used)
			}
		}
	}
	keys, slots := 0, uint64(1)<<x.bits
	seen := map[*byte]bool{}
	for p := uint64(0); p < slots; {
		sh := x.at(p)
		if len(sh.mem) == 0 || seen[&sh.mem[0]] {
			return fmt.Errorf("slot %d of %d has no shard, or one that is in other slots too (%d bytes, depth %d, packed %t, %d records)", p, slots, len(sh.mem), sh.depth, sh.packed, sh.n)
		}
		seen[&sh.mem[0]] = true
		if sh.depth > x.bits {
			return fmt.Errorf("slot %d: a shard of depth %d in a directory of %d bits", p, sh.depth, x.bits)
		}
		width := uint64(1) << (x.bits - sh.depth)
		if p%width != 0 {
			return fmt.Errorf("slot %d: a shard of depth %d begins between its slots", p, sh.depth)
		}
		for q := p; q < p+width; q++ {
			m, n := x.root[p>>nodeBits], x.root[q>>nodeBits]
			i, j := p%nodeSize, q%nodeSize
			here := x.at(q)
			a, b := *sh.header, *here.header
			a.base, a.offset, a.tagsAt, b.base, b.offset, b.tagsAt = 0, 0, 0, 0, 0, 0
			if a != b || m.more[i] != n.more[j] || m.rest[i] != n.rest[j] || &sh.mem[0] != &here.mem[0] || &sh.tags[0] != &here.tags[0] {
				return fmt.Errorf("slot %d: another shard is in slot %d", p, q)
			}
		}
		// Without bits of the directory below the depth, the slot is the
		// hashes' first depth bits.
		if err := sh.verify(&s.hash, p>>(x.bits-sh.depth)); err != nil {
			return fmt.Errorf("the shard of depth %d in slot %d: %w", sh.depth, p, err)
		}
		keys += sh.n
		p += width
	}
	if keys != x.keys {
		return fmt.Errorf("%d keys are counted and %d are there", x.keys, keys)
	}
	return nil
}

// verify walks a shard all of whose hashes begin with the bits of prefix.
func (s *shard) verify(hash *hasher, prefix uint64) error {
	if s.cells > shardCells || s.linear() && s.cells > 0 || s.unit%unitStep != 0 {
		return fmt.Errorf("%d cells of %d bytes", s.cells, s.unit)
	}
	if want := int(s.cells)*int(s.unit) + recPad; len(s.mem) != want && !s.linear() || len(s.mem) < recPad {
		return fmt.Errorf("%d bytes for %d cells of %d", len(s.mem), s.cells, s.unit)
	}
	labels, long, keys := 0, 0, map[string]bool{}
	more := s.more
	if more == nil {
		more = new(shardExtra)
	}
	step := linearStep
	if !s.linear() {
		step = int(s.unit)
	}
	tags := 0
	for at := 0; at < len(s.mem)-recPad; {
		size, tag := 0, uint16(0)
		if headerOf(s.mem[at:]) != 0 {
			var err error
			if size, err = s.verifyRecord(more, at, &labels, &long); err != nil {
				return fmt.Errorf("the record at %d: %w", at, err)
			}
			key := string(keyOf(s.mem[at:]))
			if keys[key] {
				return fmt.Errorf("the key %q is there twice", key)
			}
			keys[key] = true
			h := hash.string(key)
			if s.depth > 0 && h>>(64-s.depth) != prefix {
				return fmt.Errorf("the key %q of the hash %#x belongs elsewhere", key, h)
			}
			tag = tagFor(h, s.mem[at:])
			if !s.linear() && s.cellOf(h) != uint64(at/step) {
				return fmt.Errorf("the key %q of the hash %#x is looked for in cell %d and is in cell %d", key, h, s.cellOf(h), at/step)
			}
		} else if s.linear() {
			return fmt.Errorf("no record at %d, where one should follow the others", at)
		}
		end := at + max((size+step-1)/step, 1)*step
		if end > len(s.mem)-recPad {
			return fmt.Errorf("the record at %d of %d bytes reaches beyond %d", at, size, len(s.mem)-recPad)
		}
		for i, b := range s.mem[at+size : end] {
			if b != 0 {
				return fmt.Errorf("byte %d after the record at %d is %#x", i, at, b)
			}
		}
		for first := at; at < end && !s.linear(); at += step {
			if at > first {
				tag = 0
			}
			if at/step >= len(s.tags)/2 || s.tag(uint64(at/step)) != tag {
				return fmt.Errorf("cell %d of %d tags has not the tag %#x", at/step, len(s.tags)/2, tag)
			}
			tags++
		}
		at = end
	}
	if tags != int(s.cells) {
		return fmt.Errorf("%d cells, and there should be %d", tags, s.cells)
	}
	if len(s.tags) != tagsSize(tags) || tags == 0 && s.tag(0) != 0 {
		return fmt.Errorf("%d bytes of tags for %d cells: %x", len(s.tags), tags, s.tags)
	}
	if len(keys) != s.n {
		return fmt.Errorf("%d records are counted and %d are there", s.n, len(keys))
	}
	for i, b := range s.mem[len(s.mem)-recPad:] {
		if b != 0 {
			return fmt.Errorf("byte %d of the padding is %#x", i, b)
		}
	}
	if labels != len(more.labels) || long != len(more.long) || s.more != nil && labels+long == 0 {
		return fmt.Errorf("records use %d of %d bytes of labels and %d of %d tables", labels, len(more.labels), long, len(more.long))
	}
	return nil
}

// verifyRecord checks the record at at and returns its size. The labels and
// the table of a flagged one must be the next that no record before it used.
func (s *shard) verifyRecord(more *shardExtra, at int, labels, long *int) (int, error) {
	b := s.mem[at : len(s.mem)-recPad]
	if len(b) < recHeader {
		return 0, fmt.Errorf("%d bytes are no header", len(b))
	}
	hdr := headerOf(b)
	klen := keyLen(hdr)
	if klen < 1 || klen > MaxKeyLen {
		return 0, fmt.Errorf("a key of %d bytes", klen)
	}
	size := recHeader + klen
	if isLong(hdr) {
		if size += 4; size > len(b) {
			return 0, fmt.Errorf("%d bytes are left for %d", len(b), size)
		}
		if i := int(binary.LittleEndian.Uint32(b[size-4:])); i != *long || i >= len(more.long) {
			return 0, fmt.Errorf("its table is number %d, want %d of %d", i, *long, len(more.long))
		}
		if hdr != hdrLong|uint32(klen)<<hdrKeyLen {
			return 0, fmt.Errorf("a long list with entries in the record")
		}
		*long++
		return size, more.long[*long-1].verify()
	}
	l := layoutOf(hdr)
	size = recHeader + l.size
	if l.n < 1 || l.n > MaxShort || size > len(b) {
		return 0, fmt.Errorf("%d entries, %d bytes in %d", l.n, size, len(b))
	}
	if err := l.verify(b[:size]); err != nil {
		return 0, err
	}
	if hdr&flagLabels == 0 {
		return size, nil
	}
	if size += 4; size > len(b) {
		return 0, fmt.Errorf("%d bytes are left for %d", len(b), size)
	}
	if off := int(binary.LittleEndian.Uint32(b[size-4:])); off != *labels {
		return 0, fmt.Errorf("its labels are at %d, want %d of %d", off, *labels, len(more.labels))
	}
	n, err := verifyLabels(more.labels[*labels:], l.n)
	*labels += n
	return size, err
}

// verify decodes each entry of a small record, and encodes them again.
func (l *layout) verify(rec []byte) error {
	body := bodyOf(rec)
	for i, v := range body[l.shift4:][:l.n4] {
		if v > 32 {
			return fmt.Errorf("IPv4 entry %d has the shift %d", i, v)
		}
	}
	wides := 0
	for i, v := range body[l.shift6:][:l.n6-l.pad6] {
		if v == wide {
			wides++
		} else if v > 64 {
			return fmt.Errorf("IPv6 entry %d has the shift %d", i, v)
		}
	}
	if wides != l.nw {
		return fmt.Errorf("%d entries longer than /64, and the header says %d", wides, l.nw)
	}
	var perm [MaxShort]uint8
	seen := [MaxShort]bool{}
	getOrder(perm[:l.n], body[l.order:])
	for _, i := range perm[:l.n] {
		if int(i) >= l.n || seen[i] {
			return fmt.Errorf("the order %v is no permutation", perm[:l.n])
		}
		seen[i] = true
	}
	var buf [MaxShort]netip.Prefix
	entries := make([]Entry, l.n)
	for i, p := range prefixes(&buf, rec) {
		if c, ok := canon.Prefix(p); !ok || c != p {
			return fmt.Errorf("entry %d, %v, is not canonical", i, p)
		}
		entries[i].Prefix = p
	}
	again := appendRecord(nil, string(keyOf(rec)), entries)
	if headerOf(again) != headerOf(rec)&^flagLabels || string(bodyOf(again)) != string(body) {
		return fmt.Errorf("the entries %v do not make this record", entries)
	}
	return nil
}

// verifyLabels reads the labels of n entries at the start of b and returns
// their size.
func verifyLabels(b []byte, n int) (int, error) {
	total, w := binary.Uvarint(b)
	if w <= 0 || total > uint64(len(b)-w) {
		return 0, fmt.Errorf("labels of %d bytes where %d are left", total, len(b))
	}
	size, any := w+int(total), false
	for b = b[w:size]; n > 0; n-- {
		length, w := binary.Uvarint(b)
		if w <= 0 || length > uint64(len(b)-w) {
			return 0, fmt.Errorf("a label of %d bytes where %d are left", length, len(b))
		}
		any = any || length > 0
		b = b[w+int(length):]
	}
	if len(b) > 0 || !any {
		return 0, fmt.Errorf("%d bytes after the labels, or no label (%t)", len(b), !any)
	}
	return size, nil
}

func (l *labelledList) verify() error {
	if l == nil || len(l.prefixes) <= MaxShort || l.labels != nil && len(l.labels) != len(l.prefixes) {
		return fmt.Errorf("a table that should be a record, or has labels for other entries")
	}
	for i, p := range l.prefixes {
		if c, ok := canon.Prefix(p); !ok || c != p {
			return fmt.Errorf("entry %d of the table, %v, is not canonical", i, p)
		}
	}
	for i := 1; i < len(l.sorted); i++ {
		if canon.Compare(l.prefixes[l.sorted[i-1]], l.prefixes[l.sorted[i]]) >= 0 {
			return fmt.Errorf("the table's order is wrong at %d", i)
		}
	}
	again := newLongList(l.prefixes)
	if !reflect.DeepEqual(l.in4, again.in4) || !reflect.DeepEqual(l.in6, again.in6) || l.half != again.half {
		return fmt.Errorf("the list's intervals are not those of its prefixes")
	}
	return nil
}
