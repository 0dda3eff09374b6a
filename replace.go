package ipallow

import (
	"errors"
	"fmt"
)

// maxReplaceFaults is how many keys' faults Replace reports before it says
// only how many more there are.
const maxReplaceFaults = 100

// ReplaceFunc is [Engine.Replace] for a source that can fail: fn calls add
// for each key, and if it returns an error, nothing changes. The writers'
// mutex is held from the start, so that a Set which comes meanwhile is made
// afterwards and not overwritten; fn must not change the engine itself. It may
// read it: no method that only reads waits for a writer.
//
// The error is that of fn, or joins a [*KeyError] for each faulty list (the
// first 100 of them), or wraps ErrTooManyKeys.
//
// Cost: O(n) for n entries in all, on all processors in part. The old lists,
// the new ones and as much again are in memory at the same time.
func (e *Engine) ReplaceFunc(fn func(add func(key string, entries []Entry)) error) error {
	if e == nil {
		return ErrNoEngine
	}
	if fn == nil {
		return ErrNoFunc
	}
	e.lock()
	defer e.mu.Unlock()
	old := e.snap.Load()
	l := loader{policy: e.Policy(), cache: e.cache, hash: old.hash, open: true}
	defer func() { l.open = false }()
	if err := fn(l.add); err != nil {
		return err
	}
	if err := l.result(); err != nil {
		return err
	}
	if err := e.room(len(l.items)); err != nil {
		return err
	}
	next, err := newIndex(&l.hash, l.items)
	if err != nil {
		return err
	}
	e.snap.Store(newSnapshot(next, old.hash, old.rev+1, true))
	return nil
}

// A loader compiles the lists of a Replace.
type loader struct {
	policy Policy
	cache  *compileCache
	hash   hasher
	items  []item
	arena  []byte // the current block of records
	buf    []Entry
	faults []error
	more   int
	open   bool
}

// arenaBlock is the size of the blocks that records are collected in: large
// enough to be few, small enough that none is ever moved.
const arenaBlock = 1 << 20

func (l *loader) add(key string, entries []Entry) {
	if !l.open {
		return
	}
	err := checkKey(key)
	if err == nil {
		if l.buf == nil {
			l.buf = make([]Entry, 0, max(len(entries), 1))
		}
		l.buf, err = l.policy.canonical(entries, l.buf[:0])
	}
	switch {
	case err != nil && len(l.faults) < maxReplaceFaults:
		l.faults = append(l.faults, &KeyError{Key: key, Err: err})
	case err != nil:
		l.more++
	case len(l.buf) > 0:
		if cap(l.arena)-len(l.arena) < recHeader+maxBody {
			l.arena = make([]byte, 0, arenaBlock)
		}
		var it item
		it, l.arena = appendItem(l.arena, key, l.hash.string(key), l.buf, l.cache)
		l.items = append(l.items, it)
	}
}

func (l *loader) result() error {
	if l.more > 0 {
		l.faults = append(l.faults, fmt.Errorf("and the lists of %d more keys are faulty", l.more))
	}
	return errors.Join(l.faults...)
}
