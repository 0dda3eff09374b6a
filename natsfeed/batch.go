package natsfeed

import (
	"iter"

	"github.com/ipallow/ipallow"
)

// A Change is what one message of the bucket says of a key.
type Change struct {
	Key      string
	Revision uint64 // of the message, in the bucket

	// Deleted says that the key is no longer in the bucket. Entries and Meta
	// are empty then.
	Deleted bool

	Entries []ipallow.Entry // empty: the key is unrestricted
	Meta    []byte          // Value.Meta; nil if there is none

	// Err says why the bucket's last value of the key is not what is in force.
	// Entries are: the list that the key had, or Nobody if it had none. Meta is that of the
	// value where it can be read, as when the engine's policy refuses the list alone,
	// and otherwise the one before it.
	Err error
}

// A Batch is the changes that become one step of the engine. It belongs to the
// hook that it is given to and is of no use afterwards.
type Batch struct {
	// Revision is the revision of the bucket that the step leads to.
	Revision uint64

	// Reset says that the batch is the whole bucket and not what changed in
	// it: keys of which it says nothing may be gone, see Gone.
	Reset bool

	changes []Change
	content *content
}

// All yields the changes, each key once. If the batch is not a Reset, they
// come in the order of their revisions. A key whose value cannot be read is
// not among them, or with what stays of it, and Change.Err.
func (b *Batch) All() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for _, c := range b.changes {
			if !yield(c) {
				return
			}
		}
		if b.content == nil {
			return
		}
		for name, rec := range b.content.recs {
			if !rec.known() {
				continue
			}
			key, err := NameKey(name)
			if err != nil {
				continue
			}
			v, err := decodeValue(rec.data)
			if err != nil {
				continue // it was read before
			}
			if !yield(Change{Key: key, Revision: rec.rev, Entries: v.Entries, Meta: v.Meta, Err: b.content.faults[name].Err}) {
				return
			}
		}
	}
}

// Gone reports whether a key that was known before the batch has no place
// after it: it was deleted, or the batch is a Reset and the key is not in the
// bucket. A key that is missing from the bucket and keeps its list is not
// gone, and neither is one whose value cannot be read.
//
// It is for a Reset, where keys that are gone are not among the changes.
// Otherwise it costs a search of the changes; Change.Deleted tells as much.
func (b *Batch) Gone(key string) bool {
	if b.content == nil {
		for i := range b.changes {
			if b.changes[i].Key == key {
				return b.changes[i].Deleted
			}
		}
		return false
	}
	name, err := KeyName(key)
	if err != nil {
		return true
	}
	rec, ok := b.content.recs[name]
	if !ok {
		return !b.content.keep
	}
	return rec.kind == kindDeleted
}
