package fleet

import "sync"

// A ledger knows which messages of the keys' stream the publisher has seen or
// written itself. The stream numbers its messages without gaps, so a number
// that is missing here is somebody else's, or one whose acknowledgement was
// lost.
type ledger struct {
	mu     sync.Mutex
	upTo   uint64              // each message up to here is known
	ahead  map[uint64]struct{} // own ones behind a gap
	names  int                 // that the stream has
	began  uint64              // own writes, ever
	flying map[uint64]struct{} // those whose end is not known
	doubt  bool                // something was not as it was left
}

func newLedger() *ledger {
	return &ledger{ahead: make(map[uint64]struct{}), flying: make(map[uint64]struct{})}
}

// reset begins anew with what a comparison found.
func (l *ledger) reset(upTo uint64, names int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.upTo, l.names, l.doubt = upTo, names, false
	clear(l.ahead)
}

// write has fn write one message. A new name is one that the stream did not
// have.
func (l *ledger) write(newName bool, fn func() (uint64, error)) (rev uint64, err error) {
	l.mu.Lock()
	l.began++
	n := l.began
	l.flying[n] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.flying, n)
		if err == nil {
			l.enter(rev, newName)
		}
	}()
	return fn()
}

// enter is called with mu.
func (l *ledger) enter(rev uint64, newName bool) {
	if newName {
		l.names++
	}
	if rev <= l.upTo {
		l.doubt = true // the stream has lost what had this number
		return
	}
	l.ahead[rev] = struct{}{}
	for {
		if _, ok := l.ahead[l.upTo+1]; !ok {
			return
		}
		l.upTo++
		delete(l.ahead, l.upTo)
	}
}

// suspect notes that something was not as it was left.
func (l *ledger) suspect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubt = true
}

// state returns how many names the stream has at least, and the last write that
// was begun.
func (l *ledger) state() (names int, began uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names, l.began
}

// landed reports whether all writes up to this one have ended.
func (l *ledger) landed(n uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.flying { // no more than there are workers
		if f <= n {
			return false
		}
	}
	return true
}

// covers reports whether each message up to this number is known, and nothing
// was found otherwise than it was left.
func (l *ledger) covers(last uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.doubt && l.upTo >= last
}
