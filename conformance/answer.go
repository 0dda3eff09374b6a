package conformance

import "fmt"

// An Answer is what an implementation says to a [Question]. Which fields are
// set depends on the question's kind.
type Answer struct {
	ID string `json:"id"`

	// Error says that the implementation could not answer at all. The case
	// has failed then; the text is shown.
	Error string `json:"error,omitempty"`

	// Canonical is the stored text of the entry; Code is set instead if it
	// is refused. KindEntry.
	Canonical string `json:"canonical,omitempty"`
	Code      string `json:"code,omitempty"`
	// Suggest is what to write instead, for some codes; KindEntry.
	Suggest []string `json:"suggest,omitempty"`

	// Entries is the list as stored, with its Warnings; Faults is set
	// instead if the list is refused. KindList. In any order but Entries.
	Entries  []EntryText `json:"entries,omitzero"`
	Warnings []Warning   `json:"warnings,omitzero"`
	Faults   []Fault     `json:"faults,omitzero"`

	// Verdict is "denied", "allowed" or "unrestricted"; Match is set where
	// an entry matched. KindVerdict.
	Verdict string `json:"verdict,omitempty"`
	Match   *Match `json:"match,omitempty"`

	// Revision is that before the first step; KindSequence.
	Revision *uint64 `json:"revision,omitempty"`
	// Steps has an element for each step; KindSequence.
	Steps []StepAnswer `json:"steps,omitempty"`
}

// A Warning is one about a valid list.
type Warning struct {
	Index int    `json:"index"`
	Code  string `json:"code"`
}

// A Fault is one of a list. Index is -1 for a fault of the whole list. First
// is the index of the entry that a duplicate repeats.
type Fault struct {
	Index int    `json:"index"`
	Code  string `json:"code"`
	First *int   `json:"first,omitempty"`
}

// A Match is the most specific entry that contains an address.
type Match struct {
	Index int    `json:"index"`
	Entry string `json:"entry"`
	Label string `json:"label,omitempty"`
}

// A StepAnswer says whether a step was made, the revision after it, and the
// answers to its probes.
type StepAnswer struct {
	OK       bool          `json:"ok"`
	Revision *uint64       `json:"revision"`
	Probes   []ProbeAnswer `json:"probes,omitempty"`
}

// A ProbeAnswer is a verdict with its match, or a list.
type ProbeAnswer struct {
	Verdict string      `json:"verdict,omitempty"`
	Match   *Match      `json:"match,omitempty"`
	Entries []EntryText `json:"entries,omitzero"`
}

// Want is the answer that a case asks for. It is an [Answer] except that
// revisions are compared and not given.
type Want struct {
	Canonical string      `json:"canonical,omitempty"`
	Code      string      `json:"code,omitempty"`
	Suggest   []string    `json:"suggest,omitempty"` // not compared where it is absent
	Entries   []EntryText `json:"entries,omitzero"`
	Warnings  []Warning   `json:"warnings,omitzero"`
	Faults    []Fault     `json:"faults,omitzero"`
	Verdict   string      `json:"verdict,omitempty"`
	Match     *Match      `json:"match,omitempty"`
	Steps     []StepWant  `json:"steps,omitempty"`
}

// A StepWant is what is wanted of a step. Revision is RevisionHigher or
// RevisionSame.
type StepWant struct {
	OK       bool          `json:"ok"`
	Revision string        `json:"revision"`
	Probes   []ProbeAnswer `json:"probes,omitempty"`
}

// What a step does to the revision.
const (
	RevisionHigher = "higher"
	RevisionSame   = "same"
)

// ParseAnswer reads a line of the protocol. A member that no answer has is
// an error.
func ParseAnswer(line []byte) (Answer, error) {
	var a Answer
	if err := decode(line, &a); err != nil {
		return Answer{}, fmt.Errorf("conformance: answer: %w", err)
	}
	return a, nil
}
