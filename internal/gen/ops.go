package gen

import (
	"strconv"
	"strings"

	"github.com/ipallow/ipallow/internal/naive"
)

// An OpKind is a method of an engine.
type OpKind uint8

// The kinds of steps. Look takes a snapshot and changes nothing.
const (
	Set OpKind = iota
	Delete
	Update
	Replace
	Look
)

// An Op is one step of a sequence. Set and Delete have one change.
type Op struct {
	Kind    OpKind
	Changes []naive.Change
}

// MaxBulk is how many keys one step changes at most.
const MaxBulk = 3000

// Ops draws sequences of steps over one family of keys.
type Ops struct {
	Source
	// Bulk is how many keys a large step changes at most.
	Bulk int
	// Large is the length of lists that are drawn now and then beside the
	// short ones; 0 for none.
	Large int

	last int // the keys of the last bulk step, so that a later one can remove them
}

// Next draws a step.
func (o *Ops) Next() Op {
	switch k := o.IntN(16); {
	case k < 6:
		return Op{Set, []naive.Change{{Key: Key(o), Entries: o.list()}}}
	case k < 9:
		return Op{Delete, []naive.Change{{Key: Key(o), Delete: true}}}
	case k < 12:
		return Op{Update, o.changes(o.IntN(6))}
	case k == 12:
		return Op{Replace, o.changes(o.IntN(6))}
	case k == 13:
		return o.bulk()
	}
	return Op{Kind: Look}
}

func (o *Ops) changes(n int) []naive.Change {
	changes := make([]naive.Change, n)
	for i := range changes {
		changes[i] = naive.Change{Key: Key(o), Entries: o.list()}
		if o.IntN(3) == 0 {
			changes[i] = naive.Change{Key: changes[i].Key, Delete: true}
		}
	}
	return changes
}

// bulk sets or deletes as many keys as split shards or empty them.
func (o *Ops) bulk() Op {
	if o.last > 0 && o.IntN(2) == 0 {
		// All but a few of those that the last one set.
		changes := make([]naive.Change, max(o.last-o.IntN(4), 0))
		for i := range changes {
			changes[i] = naive.Change{Key: BulkKey(i), Delete: true}
		}
		o.last = 0
		return Op{Update, changes}
	}
	o.last = 1 + o.IntN(o.Bulk)
	list := o.list()
	changes := make([]naive.Change, o.last)
	for i := range changes {
		changes[i] = naive.Change{Key: BulkKey(i), Entries: list}
	}
	if o.IntN(3) == 0 {
		return Op{Replace, changes}
	}
	return Op{Update, changes}
}

func (o *Ops) list() []naive.Entry {
	switch o.IntN(10) {
	case 0:
		return nil
	case 1:
		return FaultyList(o)
	case 2:
		if o.Large > 0 {
			// Around the switch from records to tables, and equal lists again
			// and again.
			return Distinct(o.Large - 2 + o.IntN(5))
		}
	case 3:
		return ValidList(o, 20)
	}
	return ValidList(o, 1+o.IntN(5))
}

// BulkKey is key i of the steps that change many.
func BulkKey(i int) string { return "bulk" + strconv.Itoa(i) }

// Key draws one of few keys: short ones, ones of 300 bytes that differ in
// one byte at the beginning, in the middle or at the end, ones that are the
// beginning of another, and ones that no engine takes.
func Key(s Source) string {
	n := s.IntN(8)
	switch s.IntN(8) {
	case 0:
		return differ(300, []int{0, 149, 150, 299}[n%4], byte('a'+n/4))
	case 1:
		return differ(naive.MaxKeyLen, naive.MaxKeyLen-1-n%2, byte('a'+n/2))
	case 2:
		return strings.Repeat("\x00", 1+n)
	case 3:
		return differ(33, 4*n, 'b')
	case 4:
		if n == 0 {
			return ""
		}
		if n == 1 {
			return strings.Repeat("x", naive.MaxKeyLen+1)
		}
		return BulkKey(n * 100)
	}
	return "k" + strconv.Itoa(n)
}

// differ returns n bytes "x", one of them replaced.
func differ(n, at int, with byte) string {
	b := []byte(strings.Repeat("x", n))
	b[at] = with
	return string(b)
}
