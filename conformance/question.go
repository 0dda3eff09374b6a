package conformance

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Version is that of the files and of the protocol. It rises when a reader
// of the version before could misread a file or a line; new cases and new
// optional members do not raise it.
const Version = 1

// A Kind says what is asked.
type Kind string

// The kinds of questions, one for each file.
const (
	KindEntry    Kind = "entry"    // entries.json
	KindList     Kind = "list"     // lists.json
	KindVerdict  Kind = "verdict"  // verdicts.json
	KindSequence Kind = "sequence" // sequences.json
)

// A Question is a case without its answer: what is written to a program, a
// line for each. Which fields are set depends on Kind.
type Question struct {
	Version int    `json:"version"`
	ID      string `json:"id"` // the name of the case
	Kind    Kind   `json:"kind"`
	Policy  Policy `json:"policy"`

	// Entry is the text to read; KindEntry only.
	Entry *string `json:"entry,omitempty"`
	// Entries is the list to validate, or to ask about; KindList and
	// KindVerdict.
	Entries []EntryText `json:"entries,omitzero"`
	// Address is the client address, "" where there is none; KindVerdict.
	Address *string `json:"address,omitempty"`
	// DenyUntilLoaded asks for an engine that waits for its first load;
	// KindSequence.
	DenyUntilLoaded bool `json:"deny_until_loaded,omitempty"`
	// Steps are to be made in order, on one new engine; KindSequence.
	Steps []Step `json:"steps,omitempty"`
}

// A Policy is the limits that lists must keep. Members that are missing from
// JSON text have their default values.
type Policy struct {
	MaxEntries     int  `json:"max_entries"`
	MinBits4       int  `json:"min_bits4"`
	MinBits6       int  `json:"min_bits6"`
	MaxLabel       int  `json:"max_label"`
	AllowNonPublic bool `json:"allow_non_public"`
}

// DefaultPolicy returns the limits of the specification.
func DefaultPolicy() Policy {
	return Policy{MaxEntries: 20, MinBits4: 9, MinBits6: 33, MaxLabel: 100}
}

// An EntryText is an entry as it is written. Its label is either text or,
// where it need not be UTF-8, the hexadecimal digits of its bytes.
type EntryText struct {
	Entry    string  `json:"entry"`
	Label    string  `json:"label,omitempty"`
	LabelHex *string `json:"label_hex,omitempty"`
}

// LabelBytes returns the label, from whichever member has it.
func (e EntryText) LabelBytes() (string, error) {
	if e.LabelHex == nil {
		return e.Label, nil
	}
	if e.Label != "" {
		return "", errors.New("conformance: an entry has both label and label_hex")
	}
	b, err := hex.DecodeString(*e.LabelHex)
	if err != nil {
		return "", fmt.Errorf("conformance: label_hex: %w", err)
	}
	return string(b), nil
}

// The operations of a [Step]. A [Change] has OpSet or OpDelete.
const (
	OpSet      = "set"      // Key, Entries
	OpDelete   = "delete"   // Key
	OpUpdate   = "update"   // Changes
	OpReplace  = "replace"  // Lists
	OpSnapshot = "snapshot" // Name; the state of the engine is kept under it
)

// A Step is one call of an engine and the questions that follow it.
type Step struct {
	Op      string      `json:"op"`
	Key     string      `json:"key,omitempty"`
	Entries []EntryText `json:"entries,omitzero"`
	Changes []Change    `json:"changes,omitzero"`
	Lists   []KeyList   `json:"lists,omitzero"`
	Name    string      `json:"name,omitempty"`
	Probes  []Probe     `json:"probes,omitempty"`
}

// A Change is a part of an update.
type Change struct {
	Op      string      `json:"op"`
	Key     string      `json:"key"`
	Entries []EntryText `json:"entries,omitzero"`
}

// A KeyList is a part of a replacement.
type KeyList struct {
	Key     string      `json:"key"`
	Entries []EntryText `json:"entries"`
}

// The operations of a [Probe].
const (
	ProbeCheck   = "check"   // the verdict on Key and Address
	ProbeEntries = "entries" // the list of Key as it is read back
)

// A Probe is a question after a step. It is put to the present state, or to
// the snapshot of the given name.
type Probe struct {
	Op       string  `json:"op"`
	Key      string  `json:"key"`
	Address  *string `json:"address,omitempty"`
	Snapshot string  `json:"snapshot,omitempty"`
}

// ParseQuestion reads a line of the protocol.
func ParseQuestion(line []byte) (Question, error) {
	q := Question{Policy: DefaultPolicy()}
	if err := decode(line, &q); err != nil {
		return Question{}, fmt.Errorf("conformance: question: %w", err)
	}
	if q.Version != Version {
		return Question{}, fmt.Errorf("conformance: the question has version %d, and this program knows version %d", q.Version, Version)
	}
	return q, q.validate()
}

// validate reports a question that lacks what its kind needs, so that an
// implementation may rely on it.
func (q *Question) validate() error {
	missing := ""
	switch q.Kind {
	case KindEntry:
		if q.Entry == nil {
			missing = "entry"
		}
	case KindList:
		if q.Entries == nil {
			missing = "entries"
		}
	case KindVerdict:
		if q.Entries == nil || q.Address == nil {
			missing = "entries or address"
		}
	case KindSequence:
		if len(q.Steps) == 0 {
			missing = "steps"
		}
	default:
		return fmt.Errorf("conformance: question %q has the unknown kind %q", q.ID, q.Kind)
	}
	if missing != "" {
		return fmt.Errorf("conformance: question %q of kind %s lacks %s", q.ID, q.Kind, missing)
	}
	return nil
}

// decode reads exactly one JSON value, without members that v does not know:
// a misspelt member must not pass for a missing one.
func decode(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if err == io.EOF {
			return errors.New("the line is empty")
		}
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("there is more than one JSON value")
	}
	return nil
}
