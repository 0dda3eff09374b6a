package natsfeed

import (
	"fmt"
	"slices"

	"github.com/ipallow/ipallow"
)

// take makes messages part of the load, or of the engine.
func (f *Feed) take(s *session, batch []message) error {
	for i, m := range batch {
		if s.load == nil {
			return f.apply(s, batch[i:])
		}
		if m.seq <= s.load.rev {
			return errOutOfOrder
		}
		s.load.add(f, m)
		s.audit.note(m.seq, s.load.names)
		f.heard(m.seq + m.pending)
		if err := f.settle(s); err != nil {
			return err
		}
	}
	return nil
}

// maxMisses and maxLoadMisses are how many audits in a row must not add up
// before it is believed. A single one may have met a value that was
// overwritten at that moment.
const (
	maxMisses     = 3
	maxLoadMisses = 100
)

// settle ends an audit if both sides of it are known.
func (f *Feed) settle(s *session) error {
	p, ok := s.audit.result()
	if !ok {
		return nil
	}
	a := &s.audit
	sum := p.stored + p.markers
	if s.load == nil {
		// While the feed follows, markers may be purged: it has seen them.
		if a.names != sum && (f.exact || a.names < p.stored || a.names > sum) {
			return f.miss(s, p, maxMisses)
		}
		a.misses, f.exact = 0, false
		switch {
		case f.confirming.seq == 0:
		case f.confirming.seq <= a.target:
			f.confirmed, f.confirming = f.confirming, confirm{}
		default: // this audit was asked for before
			f.exact, a.again = true, true
		}
		f.inStep(a.at)
		return nil
	}
	if a.names != sum {
		return f.miss(s, p, maxLoadMisses)
	}
	a.misses = 0
	if f.o.RequireConfirm && f.created.IsZero() && s.load.confirmed.seq == 0 {
		f.note(ErrUnconfirmed)
		return nil
	}
	if err := f.install(s.load.content, s.load.names, SourceBucket, a.at); err != nil {
		return err
	}
	s.load, f.exact = nil, false
	f.inStep(a.at)
	return nil
}

func (f *Feed) miss(s *session, p point, limit int) error {
	a := &s.audit
	if a.misses++; a.misses < limit {
		a.again = true
		return nil
	}
	f.o.Logger.Warn("natsfeed: the bucket does not hold as many values as were seen", "bucket", f.bucket,
		"revision", a.target, "names", a.names, "values", p.stored, "deletion_markers", p.markers)
	f.reload = true
	return errLost
}

// A step is what a batch of messages does: the last value of each name that
// can be used, and the last message of each name if that cannot.
type step struct {
	changes []Change
	at      map[string]int // by name, in changes
	faults  map[string]Fault
	all     []Fault // those included that were corrected at once
	good    []string
	saved   []saved
}

// apply makes messages one step of the engine.
func (f *Feed) apply(s *session, msgs []message) error {
	if len(msgs) == 0 {
		return nil
	}
	st := step{changes: f.changes[:0], at: make(map[string]int, len(msgs)), faults: make(map[string]Fault)}
	for _, m := range msgs {
		if m.seq <= f.rev {
			f.reload = true // what came before it in this batch is not in force
			return errOtherBucket
		}
		f.rev, f.last, f.lastTime, f.lastName = m.seq, m.seq, m.time, m.name
		var k kind
		data := m.data
		switch {
		case !isReserved(m.name):
			k, data = st.add(f, m)
		case m.deleted:
			k = kindDeleted
		case m.name != reservedConfirm:
			k = kindLive
		default:
			// The bucket holds all keys there are. If fewer than were seen, a
			// load finds out which; it meets this message again.
			k, f.confirming, f.exact = kindLive, confirm{m.seq, m.time}, true
		}
		f.names.set(m.name, k)
		s.audit.note(m.seq, f.names)
		if f.cp != nil {
			st.saved = append(st.saved, st.save(m, k, data))
		}
	}
	f.heard(f.rev + msgs[len(msgs)-1].pending)
	f.commit(&st)
	clear(st.changes)
	f.changes = st.changes[:0]
	if f.confirming.seq > 0 {
		if f.names.missing() > 0 {
			f.reload = true
			return errReload
		}
		s.audit.again = true
	}
	return f.settle(s)
}

// add takes one message, and returns its kind and the value that a checkpoint
// is to keep of it.
func (st *step) add(f *Feed, m message) (k kind, data []byte) {
	c := Change{Revision: m.seq, Deleted: m.deleted}
	k, data = kindLive, m.data
	var err error
	if m.deleted {
		k, data = kindDeleted, nil
		if c.Key, err = NameKey(m.name); err != nil { // whatever it was, it is gone
			delete(st.faults, m.name)
			st.good = append(st.good, m.name)
			return k, nil
		}
	} else {
		var v Value
		c.Key, v, err = f.read(m.name, string(m.data))
		c.Entries, c.Meta = v.Entries, v.Meta
	}
	if err != nil {
		fault := Fault{Key: c.Key, Name: m.name, Revision: m.seq, Time: m.time, Err: err}
		k, data = kindFaulty, nil
		switch {
		case c.Key == "":
			k = kindForeign
		case isRefused(err):
			c.Err, c.Entries = err, st.kept(f, m.name, c.Key)
			fault.Closed = isNobody(c.Entries)
			st.change(m.name, c)
			data = encoded(c.Entries, c.Meta)
		}
		st.all = append(st.all, fault)
		st.faults[m.name] = fault
		return k, data
	}
	delete(st.faults, m.name)
	st.good = append(st.good, m.name)
	st.change(m.name, c)
	return k, data
}

func (st *step) change(name string, c Change) {
	if i, ok := st.at[name]; ok {
		st.changes[i].Key = "" // overtaken
	}
	st.at[name] = len(st.changes)
	st.changes = append(st.changes, c)
}

// kept returns the list that a key keeps whose new one is refused: the one
// before it in this step or in the engine, or Nobody if there is none.
func (st *step) kept(f *Feed, name, key string) []ipallow.Entry {
	entries, _ := f.engine.Snapshot().Entries(key)
	if i, ok := st.at[name]; ok {
		entries = st.changes[i].Entries
	}
	if len(entries) == 0 {
		return []ipallow.Entry{Nobody}
	}
	return entries
}

func isNobody(entries []ipallow.Entry) bool { return len(entries) == 1 && entries[0] == Nobody }

// encoded returns a value, or nil if it cannot be encoded.
func encoded(entries []ipallow.Entry, meta []byte) []byte {
	data, err := AppendValue(nil, Value{Entries: entries, Meta: meta})
	if err != nil {
		return nil // such as a list that no value can hold
	}
	return data
}

// save returns what the checkpoint keeps of a message.
func (st *step) save(m message, k kind, data []byte) saved {
	s := saved{name: m.name, rev: m.seq, kind: k}
	if !isReserved(m.name) {
		s.data = data
	}
	if k == kindFaulty || k == kindForeign {
		s.why = st.faults[m.name].Err.Error()
	}
	return s
}

// commit brings a step into force, and closes the keys that have a faulty
// value and no list.
func (f *Feed) commit(st *step) {
	var closed []string
	now := f.engine.Snapshot()
	for name, fault := range st.faults {
		if fault.Key == "" {
			continue
		}
		i, changed := st.at[name]
		_, has := now.Entries(fault.Key)
		if changed && len(st.changes[i].Entries) == 0 || !changed && !has {
			fault.Closed = true
			st.faults[name] = fault
			closed = append(closed, fault.Key)
		}
	}
	st.changes = slices.DeleteFunc(st.changes, func(c Change) bool { return c.Key == "" })
	batch := &Batch{Revision: f.rev, changes: st.changes}
	if len(batch.changes) > 0 {
		f.o.Before(batch)
	}
	for _, fault := range f.update(st.changes, closed) {
		st.all = append(st.all, fault)
		st.faults[fault.Name] = fault
		batch.changes = slices.DeleteFunc(slices.Clone(batch.changes), func(c Change) bool { return c.Key == fault.Key })
	}
	if len(batch.changes) > 0 {
		f.o.After(batch)
	}
	f.applied(st)
	f.appendCheckpoint(st.saved)
	for _, fault := range st.all {
		if last, ok := st.faults[fault.Name]; ok && last.Revision == fault.Revision {
			fault = last
		}
		f.report(fault)
	}
}

// update makes the changes one step of the engine. If it refuses them
// together, each is made alone, and those that are refused come back.
func (f *Feed) update(changes []Change, closed []string) (refused []Fault) {
	if len(changes)+len(closed) == 0 {
		return nil
	}
	one := func(tx *ipallow.Tx, c Change) error {
		if c.Deleted || len(c.Entries) == 0 {
			tx.Delete(c.Key)
			return nil
		}
		return tx.Set(c.Key, c.Entries)
	}
	shut := func(tx *ipallow.Tx, key string) error { return tx.Set(key, []ipallow.Entry{Nobody}) }
	err := f.engine.Update(func(tx *ipallow.Tx) error {
		for _, c := range changes {
			if err := one(tx, c); err != nil {
				return err
			}
		}
		for _, key := range closed {
			if err := shut(tx, key); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	for _, c := range changes {
		if err := f.engine.Update(func(tx *ipallow.Tx) error { return one(tx, c) }); err != nil {
			name, _ := KeyName(c.Key)
			refused = append(refused, Fault{Key: c.Key, Name: name, Revision: c.Revision,
				Err: fmt.Errorf("natsfeed: the engine refuses the list: %w", err)})
		}
	}
	for _, key := range closed {
		if err := f.engine.Update(func(tx *ipallow.Tx) error { return shut(tx, key) }); err != nil {
			f.o.Logger.Error("natsfeed: a key cannot be closed", "key", key, "error", err)
		}
	}
	return refused
}
