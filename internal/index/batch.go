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

// A Loader collects the lists of an index that is built anew.
type Loader struct {
	cache *compileCache
	hash  hasher
	items []item
	arena []byte // the current block of records
}

// Loader returns an empty loader for x, or for an index that came from the same New.
func (x *Index) Loader() Loader { return Loader{cache: x.cache, hash: x.hash} }

// arenaBlock is the size of the blocks that records are collected in: large
// enough to be few, small enough that none is ever moved.
const arenaBlock = 1 << 20

// Add adds the list of key, which is valid: canonical entries, at least one. The slice is not kept.
func (l *Loader) Add(key string, entries []Entry) {
	if cap(l.arena)-len(l.arena) < recHeader+maxBody {
		l.arena = make([]byte, 0, arenaBlock)
	}
	var it item
	it, l.arena = appendItem(l.arena, key, l.hash.string(key), entries, l.cache)
	l.items = append(l.items, it)
}

// Len returns the number of lists that were added.
func (l *Loader) Len() int { return len(l.items) }

// Load returns the index of the next revision, which has the lists of l and no others, and is
// loaded. It fails with a [*DuplicateKeyError] if a key was added twice.
func (x *Index) Load(l *Loader) (*Index, error) {
	d, err := newDirectory(&l.hash, l.items)
	if err != nil {
		return nil, err
	}
	return x.next(d, true), nil
}
