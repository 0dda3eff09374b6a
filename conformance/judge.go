package conformance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// A Failure is a case that was not answered as it should have been.
type Failure struct {
	File   string `json:"file"`
	Name   string `json:"name"`
	Reason string `json:"reason"` // why the case is there
	Where  string `json:"where,omitempty"`
	Want   string `json:"want"`
	Got    string `json:"got"`
}

// String returns the failure in a few lines.
func (f Failure) String() string {
	where := ""
	if f.Where != "" {
		where = " (" + f.Where + ")"
	}
	return fmt.Sprintf("%s: %s%s\n  reason: %s\n  want:   %s\n  got:    %s", f.File, f.Name, where, f.Reason, f.Want, f.Got)
}

// Judge compares an answer with the one wanted. It returns nil if they
// agree. The answer's ID is not looked at.
func (c *Case) Judge(a Answer) *Failure {
	if a.Error != "" {
		return c.Fail("error: " + a.Error)
	}
	where, want, got := c.difference(a)
	if want == got {
		return nil
	}
	f := c.Fail(got)
	f.Where, f.Want = where, want
	return f
}

// Fail returns the failure of a case for which there is no answer to judge;
// got says why.
func (c *Case) Fail(got string) *Failure {
	return &Failure{File: c.File, Name: c.Name, Reason: c.Reason, Want: compact(c.Want), Got: got}
}

// difference returns the first place where a differs from what is wanted,
// and both there, as JSON text. The texts are equal if there is none.
func (c *Case) difference(a Answer) (where, want, got string) {
	w := c.Want
	if c.Question.Kind == KindSequence {
		if where, want, got = stepDifference(w.Steps, a); want != got {
			return where, want, got
		}
	}
	return "", normal(wantAnswer(w)), normal(answerLike(a, w))
}

// wantAnswer is w in the form of an answer, without its steps.
func wantAnswer(w Want) Answer {
	return Answer{
		Canonical: w.Canonical, Code: w.Code, Suggest: w.Suggest,
		Entries: w.Entries, Warnings: w.Warnings, Faults: w.Faults,
		Verdict: w.Verdict, Match: w.Match,
	}
}

// answerLike is a without what is compared elsewhere or not at all.
func answerLike(a Answer, w Want) Answer {
	a.ID = ""
	if w.Steps != nil {
		a.Revision, a.Steps = nil, nil
	}
	if w.Suggest == nil {
		a.Suggest = nil
	}
	return a
}

// stepDifference compares steps one by one, the revision before the first
// with that after it and so on.
func stepDifference(want []StepWant, a Answer) (where, w, g string) {
	if len(a.Steps) != len(want) {
		return "number of steps", fmt.Sprint(len(want)), fmt.Sprint(len(a.Steps))
	}
	if a.Revision == nil {
		return "start", "a revision", "none"
	}
	last := *a.Revision
	for i, step := range a.Steps {
		where = fmt.Sprintf("step %d", i)
		if step.OK != want[i].OK {
			return where, fmt.Sprintf("ok: %v", want[i].OK), fmt.Sprintf("ok: %v", step.OK)
		}
		if step.Revision == nil {
			return where, "a revision", "none"
		}
		if g := movement(last, *step.Revision); g != want[i].Revision {
			return where, "revision: " + want[i].Revision, fmt.Sprintf("revision: %s (%d after %d)", g, *step.Revision, last)
		}
		last = *step.Revision
		if len(step.Probes) != len(want[i].Probes) {
			return where + ", number of probes", fmt.Sprint(len(want[i].Probes)), fmt.Sprint(len(step.Probes))
		}
		for j, p := range step.Probes {
			if w, g := compact(want[i].Probes[j]), compact(p); w != g {
				return fmt.Sprintf("step %d, probe %d", i, j), w, g
			}
		}
	}
	return "", "", ""
}

func movement(from, to uint64) string {
	switch cmp.Compare(to, from) {
	case 0:
		return RevisionSame
	case 1:
		return RevisionHigher
	}
	return "lower"
}

// normal is the JSON text of an answer, with what may come in any order put
// in one. An accepted list without warnings may leave the member out.
func normal(a Answer) string {
	a.Warnings = slices.SortedFunc(slices.Values(a.Warnings), func(x, y Warning) int {
		return cmp.Or(cmp.Compare(x.Index, y.Index), cmp.Compare(x.Code, y.Code))
	})
	a.Faults = slices.SortedFunc(slices.Values(a.Faults), func(x, y Fault) int {
		return cmp.Or(cmp.Compare(x.Index, y.Index), cmp.Compare(x.Code, y.Code))
	})
	if len(a.Warnings) == 0 {
		a.Warnings = nil
	}
	if len(a.Faults) == 0 {
		a.Faults = nil
	}
	return compact(a)
}

func compact(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err.Error() // the types of this package have no such values
	}
	return string(bytes.TrimRight(bytes.Replace(b.Bytes(), []byte(`"id":"",`), nil, 1), "\n"))
}
