// Package indextest has what the tests of the index and those of the engine above it share.
package indextest

// Masks clear parts of the keys' hashes, so that they collide in the shard, the pilot, the cell or
// the tag. With slow ones a lookup is a walk over the keys.
var Masks = []struct {
	Name string
	Mask uint64
	Slow bool
}{
	{"full hashes", ^uint64(0), false},
	{"all hashes equal", 0, true},
	{"all keys in one shard", 1<<40 - 1, true},
	{"all tags equal", ^uint64(1<<6 - 1), false},
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
