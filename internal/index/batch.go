package index

// A Batch collects the changes of one step. It belongs to one goroutine.
type Batch struct {
	cache *compileCache
	hash  hasher
	ops   []op
	byKey map[string]int // index in ops, from the second op on
	arena []byte         // records
}

// Batch returns an empty batch for x, or for an index that came from the same New.
func (x *Index) Batch() Batch { return Batch{cache: x.cache, hash: x.hash} }

// An op is one change of a step: the list of one key, or its end.
type op struct {
	key  string
	hash uint64
	item item // rec is nil for a deletion
}

// Set gives key, which is valid, the list of canonical entries in place of the one it has; no
// entries take it away. The last call for a key counts. The slice is not kept.
func (b *Batch) Set(key string, entries []Entry) {
	o := op{key: key, hash: b.hash.string(key)}
	if len(entries) > 0 {
		o.item, b.arena = appendItem(b.arena, key, o.hash, entries, b.cache)
	}
	if len(b.ops) == 0 {
		b.ops = append(b.ops, o)
		return
	}
	if b.byKey == nil {
		b.byKey = map[string]int{b.ops[0].key: 0}
	}
	if i, ok := b.byKey[key]; ok {
		b.ops[i] = o
		return
	}
	b.byKey[key] = len(b.ops)
	b.ops = append(b.ops, o)
}

// Apply returns the index of the next revision, with the changes of b made. After an error b is of
// no use, and x is as it was. s is scratch space that no other call uses meanwhile.
func (x *Index) Apply(b *Batch, s *Scratch) (*Index, error) {
	next := *x.directory
	if len(b.ops) > 0 {
		edit := x.directory.edit(&b.hash, s)
		defer s.release()
		if err := edit.apply(b.ops); err != nil {
			return nil, err
		}
		next = edit.directory
	}
	return x.next(&next, x.loaded), nil
}
