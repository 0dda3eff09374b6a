package conformance

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/ipallow/ipallow"
)

// Engine returns this project's own implementation, package ipallow.
func Engine() Implementation { return engine{} }

type engine struct{}

func (engine) Answer(q Question) Answer {
	a, err := answer(q)
	if err != nil {
		a = Answer{Error: err.Error()}
	}
	a.ID = q.ID
	return a
}

func answer(q Question) (Answer, error) {
	policy := ipallow.Policy(q.Policy)
	switch q.Kind {
	case KindEntry:
		return answerEntry(policy, *q.Entry), nil
	case KindList:
		return answerList(policy, q.Entries)
	case KindVerdict:
		return answerVerdict(policy, q.Entries, *q.Address)
	case KindSequence:
		return answerSequence(policy, q)
	}
	return Answer{}, fmt.Errorf("unknown kind %q", q.Kind)
}

func answerEntry(policy ipallow.Policy, text string) Answer {
	entries, err := policy.ParseList([]string{text})
	if err == nil {
		return Answer{Canonical: entries[0].String()}
	}
	var fault *ipallow.EntryError
	if !errors.As(err, &fault) {
		return Answer{Error: err.Error()}
	}
	a := Answer{Code: string(fault.Code)}
	a.Suggest = fault.Suggestions
	return a
}

func answerList(policy ipallow.Policy, list []EntryText) (Answer, error) {
	entries, err := parse(policy, list)
	var invalid *ipallow.ValidationError
	if errors.As(err, &invalid) {
		a := Answer{Faults: []Fault{}}
		for _, e := range invalid.Entries {
			f := Fault{Index: e.Index, Code: string(e.Code)}
			if e.Code == ipallow.CodeDuplicate {
				f.First = &e.First
			}
			a.Faults = append(a.Faults, f)
		}
		return a, nil
	}
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Entries: format(entries), Warnings: []Warning{}}
	for _, w := range ipallow.Warnings(entries) {
		a.Warnings = append(a.Warnings, Warning{Index: w.Index, Code: string(w.Code)})
	}
	return a, nil
}

func answerVerdict(policy ipallow.Policy, list []EntryText, address string) (Answer, error) {
	entries, err := parse(policy, list)
	if err != nil {
		return Answer{}, err
	}
	e := ipallow.New(&ipallow.Options{Policy: &policy})
	if err := e.Set("key", entries); err != nil {
		return Answer{}, err
	}
	p, err := check(e.Snapshot(), "key", address)
	return Answer{Verdict: p.Verdict, Match: p.Match}, err
}

// check asks Check for the verdict and Explain for the match.
func check(s *ipallow.Snapshot, key, address string) (ProbeAnswer, error) {
	addr, err := parseAddress(address)
	if err != nil {
		return ProbeAnswer{}, err
	}
	verdict, x := s.Check(key, addr), s.Explain(key, addr)
	if x.Verdict != verdict {
		return ProbeAnswer{}, fmt.Errorf("Check says %v and Explain %v", verdict, x.Verdict)
	}
	p := ProbeAnswer{Verdict: verdict.String()}
	if x.Matched {
		p.Match = &Match{Index: x.Index, Entry: x.Entry.String(), Label: x.Entry.Label}
	}
	return p, nil
}

// parseAddress reads a client address. netip.ParseAddr refuses a zone on an
// IPv4-mapped address, which other address parsers hand out.
func parseAddress(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	bare, zone, _ := strings.Cut(s, "%")
	addr, err := netip.ParseAddr(bare)
	return addr.WithZone(zone), err
}

func parse(policy ipallow.Policy, list []EntryText) ([]ipallow.Entry, error) {
	texts := make([]ipallow.EntryText, len(list))
	for i, e := range list {
		label, err := e.LabelBytes()
		if err != nil {
			return nil, err
		}
		texts[i] = ipallow.EntryText{Entry: e.Entry, Label: label}
	}
	return policy.ParseEntries(texts)
}

// parseUnchecked reads a list without applying a policy, so that it is the
// engine which has to refuse what the policy does not allow.
func parseUnchecked(list []EntryText) ([]ipallow.Entry, error) {
	entries := make([]ipallow.Entry, len(list))
	for i, e := range list {
		var err error
		if entries[i], err = ipallow.ParseEntry(e.Entry); err != nil {
			return nil, err
		}
		if entries[i].Label, err = e.LabelBytes(); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func format(entries []ipallow.Entry) []EntryText {
	list := make([]EntryText, len(entries))
	for i, e := range entries {
		list[i] = EntryText{Entry: e.String(), Label: e.Label}
	}
	return list
}

func answerSequence(policy ipallow.Policy, q Question) (Answer, error) {
	e := ipallow.New(&ipallow.Options{Policy: &policy, DenyUntilLoaded: q.DenyUntilLoaded})
	start := e.Snapshot().Revision()
	a := Answer{Revision: &start}
	snapshots := map[string]*ipallow.Snapshot{}
	for i, step := range q.Steps {
		if step.Op == OpSnapshot {
			snapshots[step.Name] = e.Snapshot()
		}
		err := perform(e, step)
		revision := e.Snapshot().Revision()
		s := StepAnswer{OK: err == nil, Revision: &revision}
		for j, probe := range step.Probes {
			state := e.Snapshot()
			if probe.Snapshot != "" {
				state = snapshots[probe.Snapshot]
			}
			p, err := ask(state, probe)
			if err != nil {
				return Answer{}, fmt.Errorf("step %d, probe %d: %w", i, j, err)
			}
			s.Probes = append(s.Probes, p)
		}
		a.Steps = append(a.Steps, s)
	}
	return a, nil
}

func ask(s *ipallow.Snapshot, p Probe) (ProbeAnswer, error) {
	switch {
	case p.Op == ProbeEntries:
		entries, _ := s.Entries(p.Key)
		return ProbeAnswer{Entries: format(entries)}, nil
	case p.Op == ProbeCheck && p.Address != nil:
		return check(s, p.Key, *p.Address)
	}
	return ProbeAnswer{}, fmt.Errorf("unknown probe %q, or one without an address", p.Op)
}

// perform makes one step. An error means that the step was refused.
func perform(e *ipallow.Engine, step Step) error {
	switch step.Op {
	case OpSnapshot:
		return nil
	case OpSet:
		entries, err := parseUnchecked(step.Entries)
		if err != nil {
			return err
		}
		return e.Set(step.Key, entries)
	case OpDelete:
		e.Delete(step.Key)
		return nil
	case OpUpdate:
		return e.Update(func(tx *ipallow.Tx) error {
			for _, c := range step.Changes {
				if c.Op == OpDelete {
					tx.Delete(c.Key)
					continue
				}
				entries, err := parseUnchecked(c.Entries)
				if err != nil {
					return err
				}
				// The update fails with this error though nobody looks at it.
				_ = tx.Set(c.Key, entries)
			}
			return nil
		})
	case OpReplace:
		return e.ReplaceFunc(func(add func(string, []ipallow.Entry)) error {
			for _, l := range step.Lists {
				entries, err := parseUnchecked(l.Entries)
				if err != nil {
					return err
				}
				add(l.Key, entries)
			}
			return nil
		})
	}
	return fmt.Errorf("unknown step %q", step.Op)
}
