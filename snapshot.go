package ipallow

import (
	"iter"
	"net/netip"

	"github.com/ipallow/ipallow/internal/canon"
	"github.com/ipallow/ipallow/internal/index"
)

// A Snapshot is the state of an [Engine] at one revision: all keys and their
// allowlists. It is immutable. Its methods may be called from any number of
// goroutines, at any time, whatever becomes of the engine, and always give
// the same answers. Snapshots of neighbouring revisions share what did not
// change; one that is held keeps alive what only it still has.
//
// The nil Snapshot and the zero one hold nothing and deny everything.
type Snapshot index.Index // and no struct around one, which would cost Engine.Check a call more

func (s *Snapshot) index() *index.Index { return (*index.Index)(s) }

// The verdicts and the longest key are those of the index.
var (
	_ = [1]int{}[Denied-Verdict(index.Denied)]
	_ = [1]int{}[Allowed-Verdict(index.Allowed)]
	_ = [1]int{}[Unrestricted-Verdict(index.Unrestricted)]
	_ = [1]int{}[MaxKeyLen-index.MaxKeyLen]
)

// Check returns the verdict on a request made with key from addr. See
// [Engine.Check].
func (s *Snapshot) Check(key string, addr netip.Addr) Verdict {
	return Verdict(s.index().Check(key, addr))
}

// CheckBatch gives verdicts[i] the verdict on a request made with keys[i]
// from addrs[i]. See [Engine.CheckBatch].
func (s *Snapshot) CheckBatch(keys []string, addrs []netip.Addr, verdicts []Verdict) {
	if len(addrs) != len(keys) || len(verdicts) != len(keys) {
		panic("ipallow: CheckBatch needs an address and a verdict for each key")
	}
	for len(keys) >= index.BatchGroup {
		s.index().Prefetch((*[index.BatchGroup]string)(keys))
		for i, key := range keys[:index.BatchGroup] {
			verdicts[i] = s.Check(key, addrs[i])
		}
		keys, addrs, verdicts = keys[index.BatchGroup:], addrs[index.BatchGroup:], verdicts[index.BatchGroup:]
	}
	for i, key := range keys {
		verdicts[i] = s.Check(key, addrs[i])
	}
}

// Explain returns the verdict with its reason. It costs about a microsecond;
// ask Check first.
func (s *Snapshot) Explain(key string, addr netip.Addr) Explanation {
	x := Explanation{Revision: s.Revision(), Addr: canon.Addr(addr)}
	if !s.Loaded() {
		return x
	}
	x.Loaded, x.InvalidKey = true, !index.ValidKey(len(key))
	if x.InvalidKey {
		return x
	}
	list, ok := s.index().Find(key)
	if !ok {
		x.Verdict = Unrestricted
		return x
	}
	x.Entries = list.Len()
	if entry, i := list.Lookup(x.Addr); i >= 0 {
		x.Verdict, x.Matched, x.Entry, x.Index = Allowed, true, Entry(entry), i
	}
	return x
}

// Entries returns the list of key as it was set, in a slice of the caller's
// own: canonical, in order, with labels. The second result is false if the
// key has no list.
func (s *Snapshot) Entries(key string) ([]Entry, bool) {
	list, ok := s.index().Find(key)
	if !ok {
		return nil, false
	}
	return storedEntries(&list), true
}

// storedEntries returns the entries of a list, with room for no more.
func storedEntries(l *index.List) []Entry {
	entries := make([]Entry, 0, l.Len())
	for e := range l.Entries {
		entries = append(entries, Entry(e))
	}
	return entries
}

// Len returns the number of keys that have a list.
func (s *Snapshot) Len() int { return s.index().Len() }

// Revision returns the number of the snapshot. Each step of an engine has a
// higher one than the step before. An engine begins with 1; 0 is the
// revision of the nil and the zero Snapshot.
func (s *Snapshot) Revision() uint64 { return s.index().Revision() }

// Loaded reports whether the snapshot answers at all. It is false, and every
// verdict is Denied, for the nil and the zero Snapshot and for those of an
// engine with Options.DenyUntilLoaded before its first Replace.
func (s *Snapshot) Loaded() bool { return s.index().Loaded() }

// All yields every key that has a list, with the list as [Snapshot.Entries]
// returns it, in no order that means anything.
func (s *Snapshot) All() iter.Seq2[string, []Entry] {
	return func(yield func(string, []Entry) bool) {
		for key, list := range s.index().All {
			if !yield(key, storedEntries(&list)) {
				return
			}
		}
	}
}
