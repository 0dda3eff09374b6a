package conform

import (
	"fmt"
	"strings"

	"github.com/ipallow/ipallow/conformance"
)

// maxGot is how much of a wrong answer is kept, in bytes, so that a program
// which writes long lines does not fill the memory.
const maxGot = 4 << 10

// A Result says how a program did. Its JSON form is that of the command's
// option --json.
type Result struct {
	Program []string                 `json:"program"`
	OK      bool                     `json:"ok"`
	Passed  int                      `json:"passed"`
	Failed  int                      `json:"failed"`
	Files   []conformance.FileReport `json:"files"`
	// Failures are the cases that were answered wrongly or not readably.
	Failures []conformance.Failure `json:"failures"`
	// Unanswered are the names of the cases that were not answered. They
	// count as failed.
	Unanswered []string `json:"unanswered"`
	// Faults are what the program did wrong apart from answers.
	Faults []string `json:"faults"`
	// Stderr is the end of what the program wrote to its standard error, if
	// not all is well.
	Stderr string `json:"stderr,omitempty"`
}

// judge collects the answers of one run.
type judge struct {
	cases    []conformance.Case
	byName   map[string]int
	done     []bool
	failures []*conformance.Failure // nil where the answer was right
	answered int
	line     int
	faults   []string
	stopped  bool
}

func newJudge(cases []conformance.Case) *judge {
	j := &judge{
		cases:    cases,
		byName:   make(map[string]int, len(cases)),
		done:     make([]bool, len(cases)),
		failures: make([]*conformance.Failure, len(cases)),
	}
	for i := range cases {
		j.byName[cases[i].Name] = i
	}
	return j
}

func (j *judge) fault(format string, args ...any) {
	j.faults = append(j.faults, fmt.Sprintf(format, args...))
}

// stop records why the program is ended before its time.
func (j *judge) stop(format string, args ...any) {
	j.stopped = true
	j.fault(format, args...)
}

// hear takes a line and reports whether it was the first answer to a case,
// right or wrong.
func (j *judge) hear(h heard) bool {
	j.line++
	if h.err != nil {
		j.fault("line %d: %v", j.line, h.err)
		return false
	}
	a, err := conformance.ParseAnswer(h.line)
	id := a.ID
	if err != nil {
		id = idOf(h.line)
	}
	i, known := j.byName[id]
	switch {
	case err != nil && !known:
		j.fault("line %d is no answer: %q: %v", j.line, cut(string(h.line), 80), strings.TrimPrefix(err.Error(), "conformance: answer: "))
		return false
	case !known:
		j.fault("line %d answers %q, which was not asked", j.line, cut(id, 80))
		return false
	case j.done[i]:
		j.fault("line %d answers %q again", j.line, id)
		return false
	case err != nil:
		j.failures[i] = j.cases[i].Fail(err.Error())
	default:
		j.failures[i] = j.cases[i].Judge(a)
	}
	if f := j.failures[i]; f != nil {
		f.Got = cut(f.Got, maxGot)
	}
	j.done[i] = true
	j.answered++
	return true
}

func (j *judge) result() *Result {
	// Empty and not nil, so that a reader of the JSON form finds arrays.
	r := &Result{Unanswered: []string{}, Failures: []conformance.Failure{}, Faults: append([]string{}, j.faults...)}
	var report conformance.Report
	for i := range j.cases {
		c, f := &j.cases[i], j.failures[i]
		if !j.done[i] {
			r.Unanswered = append(r.Unanswered, c.Name)
			f = c.Fail("no answer")
		} else if f != nil {
			r.Failures = append(r.Failures, *f)
		}
		report.Add(c, f)
	}
	r.Files = report.Files
	for _, f := range r.Files {
		r.Passed += f.Passed
		r.Failed += f.Failed
	}
	r.OK = report.OK() && len(r.Faults) == 0
	return r
}

// cut shortens s to at most n bytes and says so.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
