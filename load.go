package ipallow

import (
	"errors"
	"fmt"

	"github.com/ipallow/ipallow/internal/index"
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
	old := e.snap.Load().index()
	l := loader{policy: e.Policy(), lists: old.Loader(), open: true}
	defer func() { l.open = false }()
	if err := fn(l.add); err != nil {
		return err
	}
	if err := l.result(); err != nil {
		return err
	}
	if err := e.room(l.lists.Len()); err != nil {
		return err
	}
	next, err := old.Load(&l.lists)
	if err != nil {
		return publicError(err)
	}
	e.snap.Store((*Snapshot)(next))
	return nil
}

// A loader compiles the lists of a Replace.
type loader struct {
	policy Policy
	lists  index.Loader
	buf    []index.Entry
	faults []error
	more   int
	open   bool
}

func (l *loader) add(key string, entries []Entry) {
	if !l.open {
		return
	}
	err := checkKey(key)
	if err == nil {
		if l.buf == nil {
			l.buf = make([]index.Entry, 0, max(len(entries), 1))
		}
		l.buf, err = l.policy.canonical(entries, l.buf[:0])
	}
	switch {
	case err != nil && len(l.faults) < maxReplaceFaults:
		l.faults = append(l.faults, &KeyError{Key: key, Err: err})
	case err != nil:
		l.more++
	case len(l.buf) > 0:
		l.lists.Add(key, l.buf)
	}
}

func (l *loader) result() error {
	if l.more > 0 {
		l.faults = append(l.faults, fmt.Errorf("and the lists of %d more keys are faulty", l.more))
	}
	return errors.Join(l.faults...)
}

// publicError is an error of the index in this package's words.
func publicError(err error) error {
	var duplicate *index.DuplicateKeyError
	switch {
	case errors.As(err, &duplicate):
		return &KeyError{Key: duplicate.Key, Err: ErrDuplicateKey}
	case errors.Is(err, index.ErrFull):
		return ErrTooManyKeys
	}
	return err
}
