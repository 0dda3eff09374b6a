package conformance

import "testing"

// An Implementation answers questions. Its Answer is called for one question
// after another; no question depends on an earlier one. The ID of an answer
// may be left empty here.
type Implementation interface {
	Answer(q Question) Answer
}

// A Report says how an implementation did.
type Report struct {
	Files    []FileReport `json:"files"`
	Failures []Failure    `json:"failures"`
}

// A FileReport is the part of a report that is about one file.
type FileReport struct {
	File   string `json:"file"`
	Passed int    `json:"passed"`
	Failed int    `json:"failed"`
}

// OK reports whether there were cases and all passed.
func (r Report) OK() bool {
	passed := 0
	for _, f := range r.Files {
		passed += f.Passed
	}
	return passed > 0 && len(r.Failures) == 0
}

// Add counts a case: as passed if f is nil, else as failed.
func (r *Report) Add(c *Case, f *Failure) {
	if n := len(r.Files); n == 0 || r.Files[n-1].File != c.File {
		r.Files = append(r.Files, FileReport{File: c.File})
	}
	last := &r.Files[len(r.Files)-1]
	if f == nil {
		last.Passed++
		return
	}
	last.Failed++
	r.Failures = append(r.Failures, *f)
}

// Check puts all cases to impl and returns the report. It panics if the
// cases cannot be loaded; see [Load].
func Check(impl Implementation) Report {
	v, err := Load()
	if err != nil {
		panic(err)
	}
	var r Report
	for i := range v.Cases {
		c := &v.Cases[i]
		r.Add(c, c.Judge(impl.Answer(c.Question)))
	}
	return r
}

// Run puts all cases to impl, each as a test of its own below t.
func Run(t *testing.T, impl Implementation) {
	v, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for i := range v.Cases {
		c := &v.Cases[i]
		t.Run(c.File+"/"+c.Name, func(t *testing.T) {
			if f := c.Judge(impl.Answer(c.Question)); f != nil {
				t.Errorf("%v\n  asked:  %s", f, compact(c.Question))
			}
		})
	}
}
