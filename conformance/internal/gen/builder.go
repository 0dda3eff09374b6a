package main

// A move is a step with what is wanted of it.
type move struct {
	step
	want stepWant
}

// A look is a probe with what is wanted of it.
type look struct {
	probe
	want probeWant
}

func sequence(name, reason string, moves ...move) sequenceCase {
	c := sequenceCase{Name: "sequence: " + name, Reason: reason}
	for _, m := range moves {
		c.Steps = append(c.Steps, m.step)
		c.Want.Steps = append(c.Want.Steps, m.want)
	}
	return c
}

func (c sequenceCase) with(p policy) sequenceCase {
	c.Policy = p
	return c
}

func (c sequenceCase) waiting() sequenceCase {
	c.DenyUntilLoaded = true
	return c
}

// done makes a move that succeeds, and so raises the revision.
func done(s step) move { return move{s, stepWant{OK: true, Revision: "higher"}} }

// fails says that the step is refused and nothing changes.
func (m move) fails() move {
	m.want.OK, m.want.Revision = false, "same"
	return m
}

// then adds probes, which are made after the step.
func (m move) then(looks ...look) move {
	for _, l := range looks {
		m.step.Probes = append(m.step.Probes, l.probe)
		m.want.Probes = append(m.want.Probes, l.want)
	}
	return m
}

func set(key string, entries ...string) move {
	return done(step{Op: "set", Key: &key, Entries: texts(entries...)})
}

func setTexts(key string, entries ...text) move {
	return done(step{Op: "set", Key: &key, Entries: entries})
}

func del(key string) move { return done(step{Op: "delete", Key: &key}) }

func update(changes ...change) move { return done(step{Op: "update", Changes: changes}) }

func setChange(key string, entries ...string) change {
	return change{Op: "set", Key: key, Entries: texts(entries...)}
}

func deleteChange(key string) change { return change{Op: "delete", Key: key} }

func replace(lists ...list) move {
	if lists == nil {
		lists = []list{}
	}
	return done(step{Op: "replace", Lists: lists})
}

func listOf(key string, entries ...string) list { return list{key, texts(entries...)} }

// snapshot keeps the present state under a name. It is no step of the engine:
// the revision stays.
func snapshot(name string) move {
	return move{step{Op: "snapshot", Name: name}, stepWant{OK: true, Revision: "same"}}
}

func check(key, address string) probe { return probe{Op: "check", Key: key, Address: &address} }

func no(key, address string) look {
	return look{check(key, address), probeWant{Verdict: denied}}
}

func free(key, address string) look {
	return look{check(key, address), probeWant{Verdict: unrestricted}}
}

func yes(key, address string, index int, entry string) look {
	return look{check(key, address), probeWant{Verdict: allowed, Match: &match{Index: index, Entry: entry}}}
}

func (l look) label(s string) look {
	m := *l.want.Match
	m.Label = s
	l.want.Match = &m
	return l
}

// in asks the snapshot of that name and not the present state.
func (l look) in(snapshot string) look {
	l.probe.Snapshot = snapshot
	return l
}

// reads is the list of key as it is read back.
func reads(key string, entries ...text) look {
	if entries == nil {
		entries = []text{}
	}
	return look{probe{Op: "entries", Key: key}, probeWant{Entries: entries}}
}
