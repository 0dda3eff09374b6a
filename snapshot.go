package ipallow

import (
	"iter"
	"net/netip"

	"github.com/ipallow/ipallow/internal/canon"
)

// A Snapshot is the state of an [Engine] at one revision: all keys and their
// allowlists. It is immutable. Its methods may be called from any number of
// goroutines, at any time, whatever becomes of the engine, and always give
// the same answers. Snapshots of neighbouring revisions share what did not
// change; one that is held keeps alive what only it still has.
//
// The nil Snapshot and the zero one hold nothing and deny everything.
type Snapshot struct {
	// None of the fields is written after publication.

	// What Check reads. dir is the directory, and empty while loaded is
	// false.
	dir   hotDir
	hash  hasher
	shift uint8 // 64 less the directory's bits

	loaded bool // false: every verdict is Denied
	index  *index
	rev    uint64
}

// batchGroup is how many keys of a CheckBatch are looked up side by side: as
// many as a core can have cache misses under way, or nearly.
const batchGroup = 8

func checkLengths(keys []string, addrs []netip.Addr, verdicts []Verdict) {
	if len(addrs) != len(keys) || len(verdicts) != len(keys) {
		panic("ipallow: CheckBatch needs an address and a verdict for each key")
	}
}

// checkSlow is Check for all that it has no short way for.
func (s *Snapshot) checkSlow(key string, addr netip.Addr) Verdict {
	countSlow()
	if !s.Loaded() || !validKey(len(key)) {
		return Denied
	}
	sh, rec := s.find(key)
	if rec == nil {
		return Unrestricted
	}
	return sh.check(rec, addr)
}

// check is the verdict of a record of s.
func (s *shard) check(rec []byte, addr netip.Addr) Verdict {
	if !isLarge(headerOf(rec)) {
		return matchRecord(rec, addr)
	}
	if s.more.large[largeOf(rec)].contains(newQuery(addr)) {
		return Allowed
	}
	return Denied
}

// find returns the record of key and its shard, or nil.
func (s *Snapshot) find(key string) (shard, []byte) {
	if s == nil || s.index == nil || !validKey(len(key)) {
		return shard{}, nil
	}
	h := s.hash.string(key)
	sh := s.index.shard(h)
	return sh, sh.find(h, key)
}

// Explain returns the verdict with its reason. It costs about a microsecond;
// ask Check first.
func (s *Snapshot) Explain(key string, addr netip.Addr) Explanation {
	x := Explanation{Revision: s.Revision(), Addr: canon.Addr(addr)}
	if !s.Loaded() {
		return x
	}
	x.Loaded, x.InvalidKey = true, !validKey(len(key))
	if x.InvalidKey {
		return x
	}
	sh, rec := s.find(key)
	if rec == nil {
		x.Verdict = Unrestricted
		return x
	}
	var prefix netip.Prefix
	if it := sh.item(0, rec); it.large != nil {
		x.Entries, x.Index = len(it.large.prefixes), -1
		if x.Addr.IsValid() {
			x.Index, prefix = it.large.lookup(x.Addr)
		}
	} else {
		x.Index, prefix = lookupSmall(rec, x.Addr)
		x.Entries = recEntries(rec)
	}
	if x.Index < 0 {
		x.Index = 0
		return x
	}
	x.Verdict, x.Matched = Allowed, true
	x.Entry = Entry{Prefix: prefix, Label: sh.label(rec, x.Index)}
	return x
}

// Entries returns the list of key as it was set, in a slice of the caller's
// own: canonical, in order, with labels. The second result is false if the
// key has no list.
func (s *Snapshot) Entries(key string) ([]Entry, bool) {
	sh, rec := s.find(key)
	if rec == nil {
		return nil, false
	}
	return sh.entries(rec), true
}

// Len returns the number of keys that have a list.
func (s *Snapshot) Len() int {
	if s == nil || s.index == nil {
		return 0
	}
	return s.index.keys
}

// Revision returns the number of the snapshot. Each step of an engine has a
// higher one than the step before. An engine begins with 1; 0 is the
// revision of the nil and the zero Snapshot.
func (s *Snapshot) Revision() uint64 {
	if s == nil {
		return 0
	}
	return s.rev
}

// Loaded reports whether the snapshot answers at all. It is false, and every
// verdict is Denied, for the nil and the zero Snapshot and for those of an
// engine with Options.DenyUntilLoaded before its first Replace.
func (s *Snapshot) Loaded() bool { return s != nil && s.loaded }

// All yields every key that has a list, with the list as [Snapshot.Entries]
// returns it, in no order that means anything.
func (s *Snapshot) All() iter.Seq2[string, []Entry] {
	return func(yield func(string, []Entry) bool) {
		if s == nil || s.index == nil {
			return
		}
		for sh := range s.index.all {
			for rec := range sh.records() {
				if !yield(string(keyOf(rec)), sh.entries(rec)) {
					return
				}
			}
		}
	}
}
