package ipallow

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index"
	"github.com/ipallow/ipallow/internal/index/indextest"
	"github.com/ipallow/ipallow/internal/naive"
)

// A sequence runs steps on an engine and on a plain map, and compares the two
// after each.
type sequence struct {
	t     testing.TB
	e     *Engine
	model *naive.Engine
	ops   gen.Ops
	ask   gen.Source // what is asked between the steps; of its own, so that a fuzzer's bytes are steps
	log   []string   // the steps so far, for the message of a failure
	held  []held
	seen  tally
	rev   uint64
}

// A held snapshot is one that was taken before, with the map of that moment.
type held struct {
	s     *Snapshot
	model *naive.Engine
}

// newSequence draws the engine's options from src.
func newSequence(t testing.TB, src gen.Source, mask uint64, bulk int) *sequence {
	opts := &Options{DenyUntilLoaded: src.IntN(4) == 1}
	policy := naive.Default
	q := &sequence{t: t, seen: tally{}, ask: rand.New(rand.NewPCG(1, 2))}
	q.ops = gen.Ops{Source: src, Bulk: bulk}
	if src.IntN(2) == 1 {
		opts.Policy = widest()
		policy = toNaive(*widest())
		q.ops.Large = index.MaxShort + 1
	}
	maxKeys := DefaultMaxKeys
	if src.IntN(4) == 1 {
		opts.MaxKeys = 1 + src.IntN(8)
		maxKeys = opts.MaxKeys
	}
	q.e = newWithMask(opts, mask)
	q.model = &naive.Engine{Policy: policy, MaxKeys: maxKeys, Loaded: !opts.DenyUntilLoaded, Lists: map[string][]naive.Entry{}}
	q.log = append(q.log, fmt.Sprintf("newWithMask(%+v, %#x)", *opts, mask))
	q.rev = q.e.Snapshot().Revision()
	return q
}

// step draws a step and makes it on both sides.
func (q *sequence) step() {
	op := q.ops.Next()
	q.log = append(q.log, opText(op))
	var err error
	ok := true
	before := q.e.Snapshot()
	switch op.Kind {
	case gen.Set:
		c := op.Changes[0]
		err, ok = q.e.Set(c.Key, fromNaive(c.Entries)), q.model.Set(c.Key, c.Entries)
	case gen.Delete:
		q.e.Delete(op.Changes[0].Key)
		q.model.Delete(op.Changes[0].Key)
	case gen.Update:
		err = q.e.Update(func(tx *Tx) error {
			for _, c := range op.Changes {
				if c.Delete {
					tx.Delete(c.Key)
				} else {
					_ = tx.Set(c.Key, fromNaive(c.Entries)) // Update reports it
				}
			}
			return nil
		})
		ok = q.model.Update(op.Changes)
	case gen.Replace:
		op.Changes = onceEach(op.Changes)
		err, ok = q.e.Replace(changesSeq(op.Changes)), q.model.Replace(op.Changes)
	case gen.Look:
		if len(q.held) < 4 {
			q.held = append(q.held, held{before, q.model.Clone()})
		}
		q.compareHeld()
		return
	}
	if (err == nil) != ok {
		q.fatalf("the step failed with %v; in the model: %t", err, ok)
	}
	after := q.e.Snapshot()
	if err != nil {
		q.seen["failed step"]++
		if after != before {
			q.fatalf("the step failed and there is a new snapshot")
		}
		return
	}
	q.seen["step"]++
	if after.Revision() <= q.rev {
		q.fatalf("revision %d after %d", after.Revision(), q.rev)
	}
	q.rev = after.Revision()
	checkInvariants(after)
	q.compare(after, q.model, true)
	for i := range min(len(op.Changes), 50) {
		q.compareKey(after, q.model, op.Changes[i].Key)
	}
	for range 4 {
		q.compareKey(after, q.model, gen.Key(q.ask))
	}
}

// onceEach drops all but the first change of a key, and deletions, which a
// Replace does not have.
func onceEach(changes []naive.Change) []naive.Change {
	var list []naive.Change
	seen := map[string]bool{}
	for _, c := range changes {
		if !seen[c.Key] && !c.Delete {
			seen[c.Key] = true
			list = append(list, c)
		}
	}
	return list
}

func changesSeq(changes []naive.Change) iter.Seq2[string, []Entry] {
	return func(yield func(string, []Entry) bool) {
		for _, c := range changes {
			if !yield(c.Key, fromNaive(c.Entries)) {
				return
			}
		}
	}
}

// compare walks all keys. With whole, every list is compared entry by entry;
// without it, one in a few.
func (q *sequence) compare(s *Snapshot, m *naive.Engine, whole bool) {
	if s.Len() != len(m.Lists) || s.Loaded() != m.Loaded {
		q.fatalf("Len, Loaded = %d, %t, want %d, %t", s.Len(), s.Loaded(), len(m.Lists), m.Loaded)
	}
	n := 0
	for key, list := range s.All() {
		want, ok := m.Lists[key]
		if !ok {
			q.fatalf("All has the key %q, which has no list", key)
		}
		if n++; whole || n%16 == 0 {
			if !sameEntries(list, want) {
				q.fatalf("All has the list %v for %q, want %v", list, key, want)
			}
		}
	}
	if n != len(m.Lists) {
		q.fatalf("All has %d keys, want %d", n, len(m.Lists))
	}
}

func sameEntries(got []Entry, want []naive.Entry) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if got[i] != Entry(want[i]) {
			return false
		}
	}
	return true
}

// compareKey compares all that can be asked about one key.
func (q *sequence) compareKey(s *Snapshot, m *naive.Engine, key string) {
	want, wantOK := m.Lists[key]
	if got, ok := s.Entries(key); ok != wantOK || !sameEntries(got, want) {
		q.fatalf("Entries(%q) = %v, %t, want %v, %t", key, got, ok, want, wantOK)
	}
	key = string([]byte(key)) // as a request has it
	for range 3 {
		a := gen.Addr(q.ask, want)
		verdict := m.Check(key, a)
		q.seen[verdict]++
		if got := s.Check(key, a); got.String() != verdict {
			q.fatalf("Check(%q, %s) = %v, want %s", key, addrLiteral(a), got, verdict)
		}
		x := s.Explain(key, a)
		if x.Verdict.String() != verdict || x.Revision != s.Revision() {
			q.fatalf("Explain(%q, %s) = %+v, want %s of %d", key, addrLiteral(a), x, verdict, s.Revision())
		}
		if i := naive.Lookup(want, a); x.Matched != (m.Loaded && i >= 0) || x.Matched && (x.Index != i || x.Entry != Entry(want[i])) {
			q.fatalf("Explain(%q, %s) = %+v, want entry %d of %v", key, addrLiteral(a), x, i, want)
		}
	}
}

// compareHeld asks the snapshots from before what they answered then.
func (q *sequence) compareHeld() {
	for _, h := range q.held {
		checkInvariants(h.s)
		q.compare(h.s, h.model, false)
		for range 8 {
			q.compareKey(h.s, h.model, gen.Key(q.ask))
		}
		for key := range h.model.Lists {
			q.compareKey(h.s, h.model, key)
			break
		}
	}
}

func (q *sequence) fatalf(format string, args ...any) {
	q.t.Helper()
	q.t.Fatalf("%s\nafter the steps\n%s", fmt.Sprintf(format, args...), strings.Join(q.log, "\n"))
}

func opText(op gen.Op) string {
	name := []string{"Set", "Delete", "Update", "Replace", "Snapshot"}[op.Kind]
	if len(op.Changes) > 20 {
		return fmt.Sprintf("%s of %d keys, %q to %q", name, len(op.Changes), op.Changes[0].Key, op.Changes[len(op.Changes)-1].Key)
	}
	var b strings.Builder
	b.WriteString(name)
	for _, c := range op.Changes {
		if c.Delete {
			fmt.Fprintf(&b, "\n\t%q: deleted", c.Key)
		} else {
			fmt.Fprintf(&b, "\n\t%q: %s", c.Key, literal(c.Entries))
		}
	}
	return b.String()
}

// bulkFor is how many keys a step changes at most.
func bulkFor(slow bool) int {
	if slow {
		return 384 // two full shards
	}
	return gen.MaxBulk
}

// Random sequences with full and with degenerate hashes.
func TestSequences(t *testing.T) {
	t.Parallel()
	for _, d := range indextest.Masks {
		t.Run(d.Name, func(t *testing.T) {
			seen := tally{}
			runs, steps := 7, 40
			if testing.Short() {
				runs = 5
			}
			for seed := range uint64(runs) {
				q := newSequence(t, rand.New(rand.NewPCG(seed, d.Mask)), d.Mask, bulkFor(d.Slow))
				for range steps {
					q.step()
				}
				q.compareHeld()
				for k, n := range q.seen {
					seen[k] += n
				}
			}
			seen.require(t, 10, "step", "failed step", naive.Denied, naive.Allowed, naive.Unrestricted)
		})
	}
}
