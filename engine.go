package ipallow

import (
	"fmt"
	"iter"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/ipallow/ipallow/internal/index"
)

// An Engine holds the allowlists of many keys and answers for each request.
//
// All methods may be called from any number of goroutines. Check may be
// called during Set, Update and Replace: it takes no lock, waits for nobody
// and writes no shared memory. Methods that change lists queue on one mutex
// and each is one atomic step: a Check sees all of it or none of it.
//
// The zero Engine has the default policy and denies everything until a
// Replace succeeds, as one with Options.DenyUntilLoaded does, so that an
// engine that somebody forgot to set up opens nothing. The nil Engine denies
// everything. An Engine must not be copied.
type Engine struct {
	snap atomic.Pointer[Snapshot] // nil in the zero Engine until the first step

	// policy is set once, before the first snapshot; nil in the zero Engine, which
	// has the default policy. Not under mu: whoever reads must not wait for a writer.
	policy atomic.Pointer[Policy]

	mu      sync.Mutex // held by writers; guards what follows
	scratch index.Scratch
	maxKeys int
}

// Options are the choices for [New]. The zero Options are the defaults.
type Options struct {
	// Policy is what Set, Update and Replace demand of each list. It is
	// copied. Default (nil): DefaultPolicy().
	Policy *Policy

	// DenyUntilLoaded makes every verdict Denied until the first Replace has
	// succeeded, so that a node which has not heard of any list yet does not
	// take every key for unrestricted. Set and Update are stored meanwhile,
	// but do not end it. Snapshot.Loaded tells such a Denied from a refusal by
	// a list. Default false. Danger: without it, an engine that is
	// still empty serves everything.
	DenyUntilLoaded bool

	// MaxKeys is how many keys may have a list. A step that would leave more
	// fails with ErrTooManyKeys. Default (0): DefaultMaxKeys. Negative: none.
	MaxKeys int
}

// New makes an engine without any list. A nil opts means the defaults.
func New(opts *Options) *Engine {
	if opts == nil {
		opts = new(Options)
	}
	e := new(Engine)
	e.init(opts)
	return e
}

func (e *Engine) init(opts *Options) {
	policy := DefaultPolicy()
	if opts.Policy != nil {
		policy = *opts.Policy
	}
	e.policy.Store(&policy)
	e.maxKeys = opts.MaxKeys
	if e.maxKeys == 0 {
		e.maxKeys = DefaultMaxKeys
	}
	e.snap.Store((*Snapshot)(index.New(!opts.DenyUntilLoaded)))
}

// lock takes the writers' mutex and sets up the zero Engine.
func (e *Engine) lock() {
	e.mu.Lock()
	if e.policy.Load() == nil {
		e.init(&Options{DenyUntilLoaded: true})
	}
}

// Check returns the verdict on a request made with key from addr. An
// IPv4-mapped address is matched as IPv4, a zone is ignored, and the zero
// Addr is Denied wherever the key has a list. A key that has no list is
// Unrestricted. A key that can have none, because it is empty or longer than
// MaxKeyLen, is Denied.
//
// Check allocates nothing and takes no lock.
func (e *Engine) Check(key string, addr netip.Addr) Verdict {
	if e == nil {
		return Denied
	}
	// Not Snapshot.Check, which would be the call too many for the inliner (TestCheckInlines).
	return Verdict((*index.Index)(e.snap.Load()).Check(key, addr))
}

// CheckBatch gives verdicts[i] the verdict on a request made with keys[i]
// from addrs[i], all from one snapshot. Use it to check many requests at once,
// such as those of a log: with a million keys it takes a quarter to nine
// tenths of the time of as many calls of Check, because their cache misses
// overlap. Short lists gain most. It panics if the slices differ in length.
//
// CheckBatch allocates nothing and takes no lock.
func (e *Engine) CheckBatch(keys []string, addrs []netip.Addr, verdicts []Verdict) {
	e.Snapshot().CheckBatch(keys, addrs, verdicts)
}

// Explain returns the verdict with its reason: the most specific entry that
// matched, its index in the list, and the revision. It costs about a
// microsecond.
func (e *Engine) Explain(key string, addr netip.Addr) Explanation {
	return e.Snapshot().Explain(key, addr)
}

// Snapshot returns the present state. It is nil for the nil Engine and for
// the zero one before its first step.
func (e *Engine) Snapshot() *Snapshot {
	if e == nil {
		return nil
	}
	return e.snap.Load()
}

// Set replaces the list of key by entries, in one step.
// An empty list makes the key unrestricted. The entries are copied in
// canonical form; the slice is not kept.
//
// An error means that nothing changed, and the list that the key had is in
// force. It is a [*ValidationError], or wraps ErrKeyLength or
// ErrTooManyKeys.
//
// Cost: one shard of a few hundred keys is copied, however many there are.
func (e *Engine) Set(key string, entries []Entry) error {
	return e.step(func(tx *Tx) error { return tx.set(key, entries) })
}

// Delete removes the list of key, which makes it unrestricted, in one step.
func (e *Engine) Delete(key string) {
	// A deletion has no way to fail but on the nil Engine, which has no list.
	_ = e.step(func(tx *Tx) error { tx.Delete(key); return nil })
}

// Update makes all changes that fn makes through its [Tx] in one step: a
// Check sees all of them or none. If fn returns an error, or a Tx.Set failed,
// nothing changes, even if fn did not pass that error on. An update without
// changes is a step too.
//
// The writers' mutex is not held while fn runs, so fn may take its time and
// may call the engine; such calls are steps of their own, before this one.
func (e *Engine) Update(fn func(*Tx) error) error {
	if fn == nil {
		return ErrNoFunc
	}
	return e.step(func(tx *Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return tx.err
	})
}

func (e *Engine) step(fn func(*Tx) error) error {
	if e == nil {
		return ErrNoEngine
	}
	e.lock()
	batch := e.snap.Load().index().Batch() // for all snapshots of the engine
	e.mu.Unlock()

	tx := &Tx{policy: e.Policy(), batch: batch, open: true}
	defer tx.close()
	if err := fn(tx); err != nil {
		return err
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.snap.Load().index()
	next, err := old.Apply(&tx.batch, &e.scratch)
	if err != nil {
		return publicError(err)
	}
	if next.Len() > old.Len() {
		if err := e.room(next.Len()); err != nil {
			return err
		}
	}
	e.snap.Store((*Snapshot)(next))
	return nil
}

func (e *Engine) room(keys int) error {
	if keys > max(e.maxKeys, 0) {
		return fmt.Errorf("%w (%d would have a list, the limit is %d)", ErrTooManyKeys, keys, max(e.maxKeys, 0))
	}
	return nil
}

// Replace replaces all lists by those of the sequence, in one step; it is also what ends
// DenyUntilLoaded. Keys with an empty list, and keys that are not in the sequence, are unrestricted
// afterwards.
//
// A sequence has no way to say that its source broke off, and a key that is
// missing is an open key. Where the source can fail, use
// [Engine.ReplaceFunc].
//
// An error means that nothing changed. See [Engine.ReplaceFunc] for the
// errors.
func (e *Engine) Replace(lists iter.Seq2[string, []Entry]) error {
	if lists == nil {
		return ErrNoLists
	}
	return e.ReplaceFunc(func(add func(string, []Entry)) error {
		for key, entries := range lists {
			add(key, entries)
		}
		return nil
	})
}

// Policy returns the policy that lists must keep. It takes no lock, and may be
// called inside the functions that Update, Replace and ReplaceFunc are given.
func (e *Engine) Policy() Policy {
	if e == nil {
		return Policy{}
	}
	if p := e.policy.Load(); p != nil {
		return *p
	}
	return DefaultPolicy()
}
