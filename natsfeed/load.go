package natsfeed

import (
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow"
)

// A load collects the whole bucket.
//
// The server sends the last message of each name in the order of sequences,
// and behind them whatever comes in. A value that is overwritten before it was
// sent is missing at its place and comes later; a Replace without it would
// open its key for a moment. So a load is complete when an audit says that no
// name is missing, and not before.
type load struct {
	*content
	names *tracker
}

func newLoad(info *jetstream.StreamInfo, seed maphash.Seed) *load {
	l := &load{content: newContent(), names: newTracker(seed, int(min(info.State.NumSubjects, 1<<24)))}
	l.created = info.Created
	if info.State.Msgs == 0 {
		l.rev = info.State.LastSeq
	}
	return l
}

// add takes one message.
func (l *load) add(f *Feed, m message) {
	l.rev, l.last, l.lastTime, l.lastName = m.seq, m.seq, m.time, m.name
	if m.name == reservedConfirm {
		k := kindDeleted
		if !m.deleted {
			k, l.confirmed = kindLive, confirm{m.seq, m.time}
		}
		l.names.set(m.name, k)
		return
	}
	// One allocation for both, and the message's buffer is free.
	n := len(m.name)
	text := m.name + string(m.data)
	name, data := text[:n], text[n:]
	rec := record{rev: m.seq, kind: kindLive, data: data}
	delete(l.faults, name)
	delete(l.refused, name)
	if m.deleted {
		rec.kind, rec.data = kindDeleted, ""
	} else if isReserved(name) {
		rec.data = ""
	} else if key, v, err := f.read(name, data); err != nil {
		rec.kind, rec.data = kindFaulty, restricting(l.recs[name].data)
		if isRefused(err) {
			l.refused[name] = v.Meta
		}
		if key == "" {
			rec.kind = kindForeign
		}
		l.faults[name] = Fault{Key: key, Name: name, Revision: m.seq, Time: m.time, Err: err}
	}
	l.recs[name] = rec
	l.names.set(name, rec.kind)
}

// read decodes a value and checks it against the policy. The key is empty if
// the name is no key's. Of a value whose list alone is refused, Meta is returned with
// the error.
func (f *Feed) read(name, data string) (key string, v Value, err error) {
	if key, err = NameKey(name); err != nil {
		return "", Value{}, err
	}
	if v, err = decodeValue(data); err != nil {
		return key, Value{}, err
	}
	if err = f.policy.Validate(v.Entries); err != nil {
		return key, Value{Meta: v.Meta}, fmt.Errorf("natsfeed: the engine's policy refuses the list: %w", err)
	}
	return key, v, nil
}

// isRefused reports whether read returned a Meta with its error.
func isRefused(err error) bool {
	var invalid *ipallow.ValidationError
	return errors.As(err, &invalid)
}

// repair gives the keys whose list is refused what is in force of it, Nobody if nothing is,
// with the Meta of the value: a secret that was changed in the same step must not
// stay what it was.
func (c *content) repair() {
	for name, meta := range c.refused {
		rec, entries := c.recs[name], []ipallow.Entry{Nobody}
		if v, err := decodeValue(restricting(rec.data)); err == nil {
			entries = v.Entries
		}
		rec.data, rec.local = string(encoded(entries, meta)), false
		c.recs[name] = rec
		fault := c.faults[name]
		fault.Closed = isNobody(entries)
		c.faults[name] = fault
	}
}

// restricting returns the value if it has a list, and "" otherwise. Behind a
// value without one, a value that cannot be read closes the key.
func restricting(data string) string {
	if data != "" {
		if v, err := decodeValue(data); err != nil || len(v.Entries) == 0 {
			return ""
		}
	}
	return data
}

// install puts what was loaded in the place of all that the engine has. At is
// when the bucket had it.
func (f *Feed) install(c *content, names *tracker, source Source, at time.Time) error {
	first := f.created.IsZero()
	c.keep = !first && !f.o.AcceptMissing && !f.gone && !c.confirmed.isNewer(f.place, c.created)
	if !first {
		f.carryOver(c)
		if c.keep {
			names.keepMissing(f.names)
		}
	}
	c.repair()
	batch := &Batch{Revision: c.rev, Reset: true, content: c}
	f.o.Before(batch)
	err := f.engine.ReplaceFunc(func(add func(string, []ipallow.Entry)) error {
		for name, rec := range c.recs {
			key, err := NameKey(name)
			if err != nil || rec.kind == kindDeleted {
				continue
			}
			if rec.data == "" {
				add(key, []ipallow.Entry{Nobody})
				continue
			}
			v, err := decodeValue(rec.data)
			if err != nil {
				return err // it was read before
			}
			add(key, v.Entries)
		}
		return nil
	})
	if err != nil {
		if errors.Is(err, ipallow.ErrTooManyKeys) {
			f.refuse(err)
		}
		return fmt.Errorf("natsfeed: the engine refuses what was loaded: %w", err)
	}
	f.o.After(batch)
	if c.confirmed.seq == 0 && c.created.Equal(f.created) {
		c.confirmed = f.confirmed
	}
	f.place, f.names, f.confirming = c.place, names, confirm{}
	if source == SourceBucket {
		f.reload, f.gone = false, false
	}
	for name, fault := range c.faults {
		fault.Closed = fault.Closed || fault.Key != "" && c.recs[name].data == ""
		c.faults[name] = fault
	}
	f.installed(c, source)
	f.writeCheckpoint(c, source, at)
	return nil
}

// carryOver adds to what was loaded the values that are in force and must
// stay: of names that are missing, if they are kept, and of those whose value
// cannot be read.
func (f *Feed) carryOver(c *content) {
	if f.cp != nil {
		f.cp.each(func(name string, old record) {
			rec, ok := c.recs[name]
			switch {
			case !old.known():
			case !ok && c.keep:
				c.recs[name] = record{data: old.data, rev: old.rev, kind: kindMissing}
			case ok && rec.kind == kindFaulty && rec.data == "":
				rec.data = restricting(old.data)
				c.recs[name] = rec
			}
		})
	}
	// Without a checkpoint only the engine remembers, and it knows no Meta.
	for key, entries := range f.engine.Snapshot().All() {
		name, err := KeyName(key)
		if err != nil {
			continue
		}
		rec, ok := c.recs[name]
		switch {
		case !ok && c.keep:
			rec = record{rev: c.rev, kind: kindMissing, local: true}
		case ok && rec.kind == kindFaulty && rec.data == "":
			rec.local = true
		default:
			continue
		}
		if len(entries) != 1 || entries[0] != Nobody {
			data, err := AppendValue(nil, Value{Entries: entries})
			if err == nil { // or else it is closed
				rec.data = string(data)
			}
		}
		c.recs[name] = rec
	}
}
