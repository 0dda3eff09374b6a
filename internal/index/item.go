package index

import "encoding/binary"

// An item is one record on its way into a shard.
type item struct {
	hash   uint64
	rec    []byte        // with key; the last 4 bytes of a flagged one are stale
	labels []byte        // the labels, without their total length
	long   *labelledList // or nil
}

// itemsSize returns the bytes of the items' records in a linear shard.
func itemsSize(items []item) int {
	size := 0
	for i := range items {
		size += (len(items[i].rec) + linearStep - 1) / linearStep * linearStep
	}
	return size
}

// labelsSize returns the bytes of the items' labels, without their lengths.
func labelsSize(items []item) int {
	size := 0
	for i := range items {
		size += len(items[i].labels)
	}
	return size
}

// appendItem compiles canonical entries, at least one, into the item of key. The record is appended
// to arena, which is returned.
func appendItem(arena []byte, key string, h uint64, entries []Entry, cache *compileCache) (item, []byte) {
	it := item{hash: h}
	at := len(arena)
	if len(entries) > MaxShort {
		it.long = compileLong(entries, cache)
		arena = binary.LittleEndian.AppendUint32(arena, hdrLong|uint32(len(key))<<hdrKeyLen)
		arena = append(arena, key...)
		arena = append(arena, 0, 0, 0, 0)
	} else {
		arena = appendRecord(arena, key, entries)
		if it.labels = appendLabels(nil, entries); it.labels != nil {
			binary.LittleEndian.PutUint32(arena[at:], headerOf(arena[at:])|flagLabels)
			arena = append(arena, 0, 0, 0, 0)
		}
	}
	it.rec = arena[at:len(arena):len(arena)]
	return it, arena
}

// appendLabels appends the labels of entries to dst, or nothing if all are
// empty.
func appendLabels(dst []byte, entries []Entry) []byte {
	labelled := false
	for i := range entries {
		labelled = labelled || entries[i].Label != ""
	}
	if !labelled {
		return dst
	}
	for i := range entries {
		dst = binary.AppendUvarint(dst, uint64(len(entries[i].Label)))
		dst = append(dst, entries[i].Label...)
	}
	return dst
}
