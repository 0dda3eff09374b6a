package index

import (
	"errors"
	"net/netip"
	"strconv"
)

// An Index is the lists of all keys at one revision. It is immutable; its methods may be called
// from any number of goroutines. The nil Index and the zero one hold nothing and deny everything.
type Index struct {
	// None of the fields is written after publication.

	// What Check reads. dir is the directory, and empty while loaded is
	// false.
	dir   rootPtr
	hash  hasher
	shift uint8 // 64 less the directory's bits

	loaded    bool // false: every verdict is Denied
	directory *directory
	rev       uint64
	cache     *compileCache // of all indexes that came from the same New
}

// A Verdict is the answer about one request. The zero value is Denied.
type Verdict uint8

// The verdicts.
const (
	Denied Verdict = iota
	Allowed
	Unrestricted // the key has no list
)

// An Entry is a canonical prefix and its label.
type Entry struct {
	Prefix netip.Prefix
	Label  string
}

// MaxKeyLen is the length of the longest key that can have a list, in bytes.
const MaxKeyLen = 1024

// ValidKey reports whether a key of n bytes can have a list.
func ValidKey(n int) bool { return uint(n-1) < MaxKeyLen }

// BatchGroup is how many keys Prefetch loads side by side: as many as a core can have cache misses
// under way, or nearly.
const BatchGroup = 8

// ErrFull says that keys of equal hashes have more bytes than a shard can hold.
var ErrFull = errors.New("the records of one shard are more than it can hold")

// A DuplicateKeyError says that a Loader was given two lists for one key.
type DuplicateKeyError struct{ Key string }

// Error returns the key, quoted.
func (e *DuplicateKeyError) Error() string { return "two lists for the key " + strconv.Quote(e.Key) }

// New returns the empty index of revision 1, with hash seeds of its own.
func New(loaded bool) *Index {
	x := &Index{hash: newHasher(), cache: newCompileCache()}
	x = x.next(emptyDirectory(), loaded)
	return x
}

// next returns the index of the next revision.
func (x *Index) next(d *directory, loaded bool) *Index {
	n := &Index{hash: x.hash, shift: 64 - d.bits, loaded: loaded, directory: d, rev: x.rev + 1, cache: x.cache}
	if loaded {
		n.dir = newRootPtr(d.root)
	}
	return n
}

// WithHashMask returns x, which must be empty, with hashes that keep only the bits of mask, for
// tests of what happens where they collide.
func (x *Index) WithHashMask(mask uint64) *Index {
	n := *x // no record has been placed by another hash
	n.hash.mask = mask
	return &n
}

// Loaded reports whether the index answers at all.
func (x *Index) Loaded() bool { return x != nil && x.loaded }

// Revision returns the number of the index; each has a higher one than that it was made from.
func (x *Index) Revision() uint64 {
	if x == nil {
		return 0
	}
	return x.rev
}

// Len returns the number of keys that have a list.
func (x *Index) Len() int {
	if x == nil || x.directory == nil {
		return 0
	}
	return x.directory.keys
}

// find returns the record of key and its shard, or nil.
func (x *Index) find(key string) (shard, []byte) {
	if x == nil || x.directory == nil || !ValidKey(len(key)) {
		return shard{}, nil
	}
	h := x.hash.string(key)
	sh := x.directory.shard(h)
	return sh, sh.find(h, key)
}

// checkSlow is Check for all that is not on its fast path.
func (x *Index) checkSlow(key string, addr netip.Addr) Verdict {
	countSlow()
	if !x.Loaded() || !ValidKey(len(key)) {
		return Denied
	}
	sh, rec := x.find(key)
	if rec == nil {
		return Unrestricted
	}
	return sh.check(rec, addr)
}

// Find returns the list of key, and false if it has none.
func (x *Index) Find(key string) (List, bool) {
	sh, rec := x.find(key)
	return List{sh, rec}, rec != nil
}

// All yields every key that has a list, in no order that means anything.
func (x *Index) All(yield func(string, List) bool) {
	if x == nil || x.directory == nil {
		return
	}
	for sh := range x.directory.all {
		for rec := range sh.records() {
			if !yield(string(keyOf(rec)), List{*sh, rec}) {
				return
			}
		}
	}
}
