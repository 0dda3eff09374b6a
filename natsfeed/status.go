package natsfeed

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Source is where the lists in force come from.
type Source string

// The sources.
const (
	SourceNone       Source = "none"       // nothing was loaded yet
	SourceCheckpoint Source = "checkpoint" // a file, as old as Status.Staleness says
	SourceBucket     Source = "bucket"
)

// A Status is the state of a feed at one moment.
type Status struct {
	Bucket  string
	Created time.Time // when the bucket was created that Revision belongs to
	Source  Source

	// Revision is the revision of the bucket up to which everything is in
	// force. Last is the stream's last one, as far as it is known, and Lag
	// the distance.
	Revision, Last, Lag uint64

	// Confirmed is the revision of the last Confirm that was obeyed, and ConfirmedAt
	// when the server stored it; zero: none. A revision alone names no state: a server
	// that lost its last messages gives their numbers to others.
	Confirmed   uint64
	ConfirmedAt time.Time

	// Staleness bounds what the node may not know: every change that was
	// acknowledged before that time is in force. While the feed is in step it
	// is at most Options.CheckInterval and a round trip, and in a cluster a
	// second more, the time since the stream's leader heard from its replicas.
	// It is measured by this node's own clocks: the monotonic one, or the
	// calendar if that went on further, as while the machine was asleep. That of a
	// checkpoint is counted on while the node was down, see Options.RefuseStale.
	// Negative: not known.
	Staleness time.Duration

	// Connection is the state of the connection, as nats.Status has it:
	// "CONNECTED", "RECONNECTING", "CLOSED".
	Connection string

	// Err is why the feed is not in step; nil if it is.
	Err error

	// Keys is how many keys have a list in the engine.
	Keys int

	// Missing is how many keys are missing from the bucket and keep their
	// lists, see Confirm.
	Missing int

	Received uint64 // messages
	Loads    uint64 // times that the whole bucket was loaded
	Sessions uint64 // consumers that were begun
	Batches  uint64 // steps of the engine, loads not counted
	Applied  uint64 // changes in them

	// Faulty counts the values that could not be used, each once. Faults are
	// those that are still the last of their key, at most MaxFaults of them,
	// in the order of revisions; FaultsNow is how many there are.
	Faulty    uint64
	FaultsNow int
	Faults    []Fault

	// Checkpoint is the revision that the checkpoint file holds; 0: none.
	// CheckpointErr is why it was refused at the start, or is not up to date.
	Checkpoint    uint64
	CheckpointErr error
}

// MaxFaults is how many faults a Status names.
const MaxFaults = 100

// state is what Status is made of.
type state struct {
	source   Source
	created  time.Time
	rev      uint64
	last     uint64
	confirm  confirm
	err      error
	missing  int
	loads    uint64
	sessions uint64
	batches  uint64
	applied  uint64
	faulty   uint64
	faults   map[string]Fault // by name
	cpRev    uint64
	cpErr    error
	closed   bool
}

// Status returns the state of the feed. It takes a mutex for a moment.
func (f *Feed) Status() Status {
	if f == nil {
		return Status{Source: SourceNone, Staleness: -1, Err: ErrClosed}
	}
	connection, keys := f.nc.Status().String(), f.engine.Snapshot().Len()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.st
	st := Status{
		Bucket: f.bucket, Created: s.created, Source: s.source, Revision: s.rev, Last: s.last, Staleness: -1,
		Confirmed: s.confirm.seq, ConfirmedAt: s.confirm.time,
		Connection: connection, Err: s.err, Keys: keys, Missing: s.missing,
		Received: f.received.Load(), Loads: s.loads, Sessions: s.sessions, Batches: s.batches, Applied: s.applied,
		Faulty: s.faulty, FaultsNow: len(s.faults), Checkpoint: s.cpRev, CheckpointErr: s.cpErr,
	}
	if s.last > s.rev {
		st.Lag = s.last - s.rev
	}
	if p := f.proof.Load(); p != nil {
		st.Staleness = p.staleness()
	}
	if s.missing > 0 {
		st.Err = errors.Join(fmt.Errorf("%w (%d)", ErrMissing, s.missing), s.err)
	}
	if s.closed {
		st.Err = ErrClosed
	}
	for _, fault := range s.faults {
		st.Faults = append(st.Faults, fault)
	}
	slices.SortFunc(st.Faults, func(a, b Fault) int {
		if a.Revision != b.Revision {
			return int(int64(a.Revision) - int64(b.Revision))
		}
		return 0
	})
	st.Faults = st.Faults[:min(len(st.Faults), MaxFaults)]
	return st
}

// Ready returns nil if the node may serve: lists are loaded, they are no older
// than maxStale (0: 10 s), and the bucket holds every key that the node has.
// A node that is not ready enforces what it last knew.
//
// The error wraps ErrNotLoaded, ErrStale, ErrMissing, ErrEmpty, ErrExpires or
// ErrClosed. Values that cannot be used do not make a node unready: one of
// them would take the whole fleet down.
func (f *Feed) Ready(maxStale time.Duration) error {
	if maxStale <= 0 {
		maxStale = 10 * time.Second
	}
	if f != nil && f.o.RefuseStale > 0 {
		maxStale = min(maxStale, f.o.RefuseStale)
	}
	st := f.Status()
	because := ""
	if st.Err != nil {
		because = ": " + st.Err.Error()
	}
	switch {
	case errors.Is(st.Err, ErrClosed):
		return st.Err
	case st.Source == SourceNone:
		return fmt.Errorf("%w%s", ErrNotLoaded, because)
	case errors.Is(st.Err, ErrMissing), errors.Is(st.Err, ErrEmpty), errors.Is(st.Err, ErrExpires):
		return st.Err
	case st.Staleness < 0:
		return fmt.Errorf("%w: the age of the checkpoint is not known%s", ErrStale, because)
	case st.Staleness > maxStale:
		return fmt.Errorf("%w: nothing was heard for %v, and %v is the limit%s",
			ErrStale, st.Staleness.Round(time.Millisecond), maxStale, because)
	}
	return nil
}

// Usable returns nil while the node may act on what it knows: lists are loaded,
// and no older than Options.RefuseStale. It is meant to be asked for each request, before
// anything is decided; it takes some 100 ns (BenchmarkUsable) and waits for
// nobody. The error wraps ErrNotLoaded or ErrStale. What was decided before goes on.
func (f *Feed) Usable() error {
	if f == nil {
		return ErrNotLoaded
	}
	p := f.proof.Load()
	if p == nil {
		return ErrNotLoaded
	}
	if f.o.RefuseStale == 0 {
		return nil
	}
	switch age := p.staleness(); {
	case age < 0:
		return errUnknownAge
	case age > f.o.RefuseStale:
		return errTooOld
	}
	return nil
}

// Errors of Usable, made once: while it returns one, it does so for each
// request.
var (
	errUnknownAge = fmt.Errorf("%w: the age of the checkpoint is not known", ErrStale)
	errTooOld     = fmt.Errorf("%w: nothing was heard for longer than RefuseStale", ErrStale)
)

// What follows is how the feed's goroutine changes the state.

func (f *Feed) with(fn func(*state)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn(&f.st)
}

// fail is called when a session has ended.
func (f *Feed) fail(err error) {
	if err == nil {
		return
	}
	known := false
	f.with(func(s *state) {
		known = s.err != nil && s.err.Error() == err.Error()
		s.err = err
	})
	if !known {
		f.o.Logger.Info("natsfeed: not following", "bucket", f.bucket, "reason", err)
	}
}

// note is called with what went wrong without ending the session.
func (f *Feed) note(err error) { f.fail(err) }

// refuse tells Follow that waiting is of no use.
func (f *Feed) refuse(err error) {
	select {
	case f.fatal <- err:
	default:
	}
}

// heard is called with what is known of the stream's last sequence.
func (f *Feed) heard(last uint64) { f.with(func(s *state) { s.last = max(s.last, last) }) }

// moved is called when the revision changed without a message.
func (f *Feed) moved() { f.with(func(s *state) { s.rev = f.rev }) }

// inStep is called when everything that was acknowledged before at is in
// force.
func (f *Feed) inStep(at time.Time) {
	before := error(nil)
	f.with(func(s *state) {
		before, s.err = s.err, nil
		s.rev, s.missing, s.source, s.confirm = f.rev, f.names.missing(), SourceBucket, f.confirmed
	})
	f.proof.Store(&proof{at: at})
	if f.cp != nil {
		f.cp.proof = proof{at: at}
	}
	if before != nil {
		f.o.Logger.Info("natsfeed: in step again", "bucket", f.bucket, "revision", f.rev)
	}
	if !f.ready {
		f.ready = true
		close(f.started)
	}
}

// installed is called when the whole content was put into the engine.
func (f *Feed) installed(c *content, source Source) {
	f.with(func(s *state) {
		s.source, s.created, s.rev, s.missing, s.confirm = source, f.created, f.rev, f.names.missing(), f.confirmed
		s.last = max(f.rev, s.last)
		if source == SourceBucket {
			s.loads++
			s.last = f.rev // another bucket's may be lower
		}
		for name, fault := range c.faults {
			if s.faults[name].Revision != fault.Revision {
				s.faulty++
			}
		}
		s.faults = c.faults
	})
	for _, fault := range c.faults {
		f.report(fault)
	}
	if n := f.names.missing(); n > 0 {
		f.o.Logger.Warn("natsfeed: keys are missing from the bucket and keep their lists", "bucket", f.bucket, "keys", n)
	}
}

// applied is called when a step is in force.
func (f *Feed) applied(st *step) {
	f.with(func(s *state) {
		s.rev = f.rev
		s.last = max(s.last, f.rev)
		s.missing = f.names.missing()
		s.batches++
		s.applied += uint64(len(st.changes))
		s.faulty += uint64(len(st.all))
		for _, name := range st.good {
			delete(s.faults, name)
		}
		for name, fault := range st.faults {
			s.faults[name] = fault
		}
	})
}

func (f *Feed) report(fault Fault) {
	f.o.Logger.Warn("natsfeed: a value cannot be used", "bucket", f.bucket, "fault", fault.Error())
	f.o.OnFault(fault)
}

// closed is called when run ends.
func (f *Feed) closed() {
	f.closeCheckpoint()
	f.with(func(s *state) { s.closed = true })
}
