package ipallow

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxKeyLen is the length of the longest key that can have a list, in bytes.
// The shortest has one byte. A longer or empty key can have no list: Check
// answers [Denied] and Set refuses it.
const MaxKeyLen = 1024

// DefaultMaxKeys is how many keys with a list an engine holds if
// [Options].MaxKeys is 0.
const DefaultMaxKeys = 1 << 28

var (
	// ErrKeyLength says that a key is empty or longer than MaxKeyLen.
	ErrKeyLength = errors.New("ipallow: a key must have 1 to 1024 bytes")

	// ErrTooManyKeys says that a step would leave more keys than
	// Options.MaxKeys.
	ErrTooManyKeys = errors.New("ipallow: too many keys; raise Options.MaxKeys or delete some")

	// ErrDuplicateKey says that Replace was given two lists for one key. (An
	// empty list beside another is passed over, so it cannot open the key.)
	ErrDuplicateKey = errors.New("ipallow: the key has been given a list already; give each key one list")

	// ErrTxDone says that a Tx was used after its function had returned.
	ErrTxDone = errors.New("ipallow: the transaction is over; use a Tx only inside the function it was given to")

	// ErrNoEngine says that a method was called on a nil Engine.
	ErrNoEngine = errors.New("ipallow: the engine is nil; make one with New")

	// ErrNoFunc says that Update or ReplaceFunc was called with a nil function.
	ErrNoFunc = errors.New("ipallow: the function is nil; pass one that makes the changes")

	// ErrNoLists says that Replace was called with a nil sequence. To remove
	// all lists, pass an empty sequence.
	ErrNoLists = errors.New("ipallow: the sequence of lists is nil; pass an empty one to remove all lists")
)

// A KeyError is a fault with the key that it belongs to. [Engine.Update] and
// [Engine.Replace] return it, because they change many keys.
type KeyError struct {
	Key string
	Err error
}

// Error returns the key, quoted, and the fault.
func (e *KeyError) Error() string {
	return "key " + quote(e.Key) + ": " + e.Err.Error()
}

// Unwrap returns the fault.
func (e *KeyError) Unwrap() error { return e.Err }

// A Code names a kind of fault or warning. Codes are stable: programs may
// compare them and store them.
type Code string

// The codes of faults, in the order in which the first that fits is
// reported. A label's fault is reported beside that of its entry.
const (
	CodeInvalidSyntax  Code = "invalid_syntax"
	CodeZoneNotAllowed Code = "zone_not_allowed"
	CodeHostBitsSet    Code = "host_bits_set"
	CodeNotPublic      Code = "not_public"
	CodeTooBroad       Code = "too_broad"
	CodeDuplicate      Code = "duplicate"
	CodeTooManyEntries Code = "too_many_entries"
	CodeLabelTooLong   Code = "label_too_long"
	CodeLabelInvalid   Code = "label_invalid"
)

// CodeRedundant is the code of a [Warning].
const CodeRedundant Code = "redundant"

// An EntryError is one fault of one entry. Its pointer is an error.
//
// Index and First are indexes of the slice that was validated, and so begin at 0.
// Texts for people (Error, Reason, Suggestion) count entries from 1.
type EntryError struct {
	// Index is the entry's place in the list, from 0. It is -1 for
	// CodeTooManyEntries, which is a fault of the list.
	Index int
	// Input is the entry as it was given, of any length and content. It is
	// empty where Index is -1.
	Input string
	// Code is the kind of fault.
	Code Code
	// Reason is a sentence for people: what is wrong and what to write.
	Reason string
	// Suggestion is what was probably meant: an entry, or two of which one was
	// ("203.0.113.0/24 or 203.0.113.5"), or words: the limit, or the entry that is
	// repeated. It is empty where nothing is evident, and where several entries
	// are needed.
	Suggestion string
	// Suggestions are entries to take as they stand; the policy accepts each of
	// them. Where Suggestion is not empty, one of them was meant. Where it is, they
	// are together what the input stands for (a range, a wildcard, several
	// addresses in one text), and at most as many as a list may have.
	Suggestions []string
	// First is the index of the entry that is repeated, with CodeDuplicate.
	First int
}

// Error returns the place counted from 1, the input quoted (cut after 64 bytes),
// the code, the reason and the suggestion in one line.
func (e *EntryError) Error() string {
	if e == nil {
		return "<nil>"
	}
	var b strings.Builder
	if e.Index >= 0 {
		fmt.Fprintf(&b, "entry %d %s: ", e.Index+1, quote(e.Input))
	}
	fmt.Fprintf(&b, "%s: %s", e.Code, e.Reason)
	switch n := len(e.Suggestions); {
	case e.Suggestion != "":
		fmt.Fprintf(&b, " (suggestion: %s)", e.Suggestion)
	case n > maxShown:
		fmt.Fprintf(&b, " (suggestions: %s and %d more)", strings.Join(e.Suggestions[:maxShown], ", "), n-maxShown)
	case n > 0:
		fmt.Fprintf(&b, " (suggestions: %s)", strings.Join(e.Suggestions, ", "))
	}
	return b.String()
}

// maxShown is how many suggestions the text of an error has.
const maxShown = 8

// quote quotes an input for a log or a terminal.
func quote(s string) string {
	if len(s) <= 64 {
		return strconv.Quote(s)
	}
	return strconv.Quote(s[:64]) + "..."
}

// A ValidationError is all the faults of a list, in the order of its
// entries, a fault of the whole list last. It is never empty. errors.As finds
// both the ValidationError and the first [EntryError] in it.
type ValidationError struct {
	Entries []*EntryError
}

// Error returns the faults, a line each; after 20 of them it says how many
// more there are.
func (e *ValidationError) Error() string {
	if e == nil || len(e.Entries) == 0 {
		return "invalid allowlist"
	}
	var b strings.Builder
	for i, f := range e.Entries {
		if i == 20 {
			fmt.Fprintf(&b, "\nand %d more faults", len(e.Entries)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.Error())
	}
	return b.String()
}

// Unwrap returns the faults for errors.Is and errors.As.
func (e *ValidationError) Unwrap() []error {
	if e == nil {
		return nil
	}
	errs := make([]error, len(e.Entries))
	for i, f := range e.Entries {
		errs[i] = f
	}
	return errs
}
