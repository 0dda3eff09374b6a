package ipallow

// newWithMask makes an engine that keeps only the bits of mask in the hashes
// of its keys, so that they collide in the part that the mask clears.
func newWithMask(opts *Options, mask uint64) *Engine {
	return newWithHasher(opts, func(h *hasher) { h.mask = mask })
}

// newWithHasher makes an engine whose hasher is as change leaves it.
func newWithHasher(opts *Options, change func(*hasher)) *Engine {
	e := New(opts)
	s := *e.snap.Load() // empty, so no record has been placed by another hash
	change(&s.hash)
	e.snap.Store(&s)
	return e
}

// The masks that clear parts of a hash: see tagOf, pilotAt, cellAt and
// index.place. With slow ones a lookup is a walk over the keys.
var degenerate = []struct {
	name string
	mask uint64
	slow bool
}{
	{"full hashes", ^uint64(0), false},
	{"all hashes equal", 0, true},
	{"all keys in one shard", 1<<40 - 1, true},
	{"all tags equal", ^uint64(tagMask), false},
	{"two pilots, all tags equal", ^uint64(1<<31 - 1), true},
	{"two shards, pilots and tags", 1<<63 | 1<<1, true},
	{"all lower halves equal, so all pilots and tags", ^uint64(1<<32 - 1), true},
	{"upper bits of a lower half that are equal", ^uint64(0x3f << 26), false},
	{"eight bits of a lower half", ^uint64(1<<24 - 1), true},
	{"bits that choose the pilot or the shard", ^uint64(0x3ffff<<8 | 0xff<<32), true},
	{"cells that depend on the lower half alone", ^uint64(0xff << 32), false},
	{"few cells", ^uint64(0xffffffff << 8), true},
	{"few hashes in each shard", ^uint64(1<<37 - 1), true},
}

// isLarge reports whether the list of key is a table and not a record.
func (s *Snapshot) isLarge(key string) bool {
	sh, rec := s.find(key)
	return rec != nil && sh.item(0, rec).large != nil
}

// tableOf returns the table of a key's large list.
func (s *Snapshot) tableOf(key string) *large {
	sh, rec := s.find(key)
	return sh.item(0, rec).large.large
}

// shape returns how many bits the directory has, how many shards there are,
// and how many bytes they hold.
func (s *Snapshot) shape() (bits, shards, bytes int) {
	for sh := range s.index.all {
		shards++
		bytes += sh.size()
	}
	return int(s.index.bits), shards, bytes
}
