package conformance_test

import (
	"testing"

	"github.com/ipallow/ipallow/conformance"
	"github.com/stretchr/testify/require"
)

type answerFunc func(conformance.Question) conformance.Answer

func (f answerFunc) Answer(q conformance.Question) conformance.Answer { return f(q) }

// spoiled is the project's implementation with a fault in its answers.
func spoiled(spoil func(q conformance.Question, a *conformance.Answer)) conformance.Report {
	return conformance.Check(answerFunc(func(q conformance.Question) conformance.Answer {
		a := conformance.Engine().Answer(q)
		spoil(q, &a)
		return a
	}))
}

// TestSpoiled checks that a fault in any part of an answer is found, and in
// the files in which that part occurs.
func TestSpoiled(t *testing.T) {
	number := func(n uint64) *uint64 { return &n }
	for _, c := range []struct {
		what  string
		spoil func(q conformance.Question, a *conformance.Answer)
		files []string
	}{
		{"says nothing", func(_ conformance.Question, a *conformance.Answer) { *a = conformance.Answer{} }, []string{"entries", "lists", "verdicts", "sequences"}},
		{"reports an error", func(_ conformance.Question, a *conformance.Answer) { a.Error = "unsupported" }, []string{"entries", "lists", "verdicts", "sequences"}},
		{"another canonical text", func(_ conformance.Question, a *conformance.Answer) {
			if a.Canonical != "" {
				a.Canonical += " "
			}
		}, []string{"entries"}},
		{"another code", func(_ conformance.Question, a *conformance.Answer) {
			if a.Code != "" {
				a.Code = "bad"
			}
		}, []string{"entries"}},
		{"a code beside the canonical text", func(_ conformance.Question, a *conformance.Answer) {
			if a.Canonical != "" {
				a.Code = "too_broad"
			}
		}, []string{"entries"}},
		{"no suggestion", func(_ conformance.Question, a *conformance.Answer) { a.Suggest = nil }, []string{"entries"}},
		{"one reading too few", func(_ conformance.Question, a *conformance.Answer) {
			if len(a.Suggest) == 2 {
				a.Suggest = a.Suggest[:1]
			}
		}, []string{"entries"}},
		{"no warnings", func(_ conformance.Question, a *conformance.Answer) { a.Warnings = nil }, []string{"lists"}},
		{"a warning too many", func(_ conformance.Question, a *conformance.Answer) {
			if a.Entries != nil {
				a.Warnings = append(a.Warnings, conformance.Warning{Index: 99, Code: "redundant"})
			}
		}, []string{"lists"}},
		{"only the first fault", func(_ conformance.Question, a *conformance.Answer) {
			if len(a.Faults) > 1 {
				a.Faults = a.Faults[:1]
			}
		}, []string{"lists"}},
		{"no first of a duplicate", func(_ conformance.Question, a *conformance.Answer) {
			for i := range a.Faults {
				a.Faults[i].First = nil
			}
		}, []string{"lists"}},
		{"labels lost", func(_ conformance.Question, a *conformance.Answer) {
			for i := range a.Entries {
				a.Entries[i].Label = ""
			}
			if a.Match != nil {
				a.Match.Label = ""
			}
		}, []string{"lists", "verdicts"}},
		{"positions lost", func(_ conformance.Question, a *conformance.Answer) {
			if a.Match != nil {
				a.Match.Index = 0
			}
		}, []string{"verdicts"}},
		{"denied is unrestricted", func(_ conformance.Question, a *conformance.Answer) {
			if a.Verdict == "denied" {
				a.Verdict = "unrestricted"
			}
		}, []string{"verdicts"}},
		{"no match", func(_ conformance.Question, a *conformance.Answer) { a.Match = nil }, []string{"verdicts"}},
		{"no first revision", func(_ conformance.Question, a *conformance.Answer) { a.Revision = nil }, []string{"sequences"}},
		{"revision of a step missing", func(_ conformance.Question, a *conformance.Answer) {
			for i := range a.Steps {
				a.Steps[i].Revision = nil
			}
		}, []string{"sequences"}},
		{"revision stands still", func(_ conformance.Question, a *conformance.Answer) {
			for i := range a.Steps {
				a.Steps[i].Revision = a.Revision
			}
		}, []string{"sequences"}},
		{"revision falls", func(_ conformance.Question, a *conformance.Answer) {
			if a.Revision != nil {
				a.Revision = number(1 << 40)
			}
		}, []string{"sequences"}},
		{"every step is made", func(_ conformance.Question, a *conformance.Answer) {
			for i := range a.Steps {
				a.Steps[i].OK = true
			}
		}, []string{"sequences"}},
		{"a step too few", func(_ conformance.Question, a *conformance.Answer) {
			if len(a.Steps) > 0 {
				a.Steps = a.Steps[1:]
			}
		}, []string{"sequences"}},
		{"a probe too few", func(_ conformance.Question, a *conformance.Answer) {
			for i := range a.Steps {
				a.Steps[i].Probes = nil
			}
		}, []string{"sequences"}},
		{"snapshots follow the engine", func(q conformance.Question, a *conformance.Answer) {
			for i, s := range q.Steps {
				for j := range s.Probes {
					s.Probes[j].Snapshot = ""
				}
				q.Steps[i] = s
			}
			*a = conformance.Engine().Answer(q)
		}, []string{"sequences"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			report := spoiled(c.spoil)
			require.False(t, report.OK())
			var files []string
			failed := 0
			for _, f := range report.Files {
				if f.Failed > 0 {
					files = append(files, f.File)
					failed += f.Failed
				}
			}
			require.Equal(t, c.files, files)
			require.Len(t, report.Failures, failed)
			for _, f := range report.Failures {
				require.NotEmpty(t, f.Reason)
				require.NotEqual(t, f.Want, f.Got, f.Name)
				require.Contains(t, f.String(), f.Name)
			}
		})
	}
}

// TestTolerated checks what an answer may do otherwise: any order where the
// order means nothing, and a member left out where it would be empty.
func TestTolerated(t *testing.T) {
	report := spoiled(func(_ conformance.Question, a *conformance.Answer) {
		for i, j := 0, len(a.Faults)-1; i < j; i, j = i+1, j-1 {
			a.Faults[i], a.Faults[j] = a.Faults[j], a.Faults[i]
		}
		for i, j := 0, len(a.Warnings)-1; i < j; i, j = i+1, j-1 {
			a.Warnings[i], a.Warnings[j] = a.Warnings[j], a.Warnings[i]
		}
		if len(a.Warnings) == 0 {
			a.Warnings = nil
		}
		if a.Code == "too_broad" {
			a.Suggest = []string{"anything"}
		}
	})
	require.True(t, report.OK(), report.Failures)
}

func TestEmptyReport(t *testing.T) {
	require.False(t, conformance.Report{}.OK(), "no cases are no success")
}

// TestSilence checks that no case is passed by saying nothing.
func TestSilence(t *testing.T) {
	report := spoiled(func(_ conformance.Question, a *conformance.Answer) { *a = conformance.Answer{} })
	for _, f := range report.Files {
		require.Zero(t, f.Passed, f.File)
	}
}
