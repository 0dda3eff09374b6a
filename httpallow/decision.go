package httpallow

import (
	"fmt"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
)

// A Decision is what the middleware found out about a request and what becomes
// of it. The zero Decision refuses.
type Decision struct {
	// Key is the identifier that Options.Key returned. It is empty exactly
	// when the outcome is NoKey or Passed.
	Key string

	// Client is the client's address, or the reason why there is none. It is
	// found also where no key was.
	Client clientip.Result

	// Verdict is the engine's answer. Without a key the engine is not asked,
	// and Verdict is Denied; it is also Denied where the outcome is NotReady.
	Verdict ipallow.Verdict

	// Outcome is what becomes of the request.
	Outcome Outcome

	// Revision is that of the snapshot that gave the verdict, 0 where the
	// engine was not asked.
	Revision uint64

	// Entry is the most specific entry that let the address in, with its label,
	// and Index its position in the list that was set, from 0. They are of the
	// same snapshot as the verdict, and set only where Options.Explain is and
	// Verdict is Allowed; otherwise Entry.Prefix is the zero Prefix.
	Entry ipallow.Entry
	Index int
}

// OK reports whether the request is handed on to the next handler.
func (d Decision) OK() bool { return d.Outcome.OK() }

// An Outcome is what becomes of a request. The zero Outcome is Refused.
type Outcome uint8

const (
	// Refused means that the allowlist refuses the request: status 403.
	Refused Outcome = iota
	// NoKey means that the request has no key and is refused: status 401.
	NoKey
	// Served means that the request is handed on.
	Served
	// Reported means that the request is handed on although the allowlist
	// refuses it, by report-only mode.
	Reported
	// Passed means that the request has no key and is handed on, by
	// Options.PassUnauthenticated.
	Passed
	// NotReady means that the engine waits for its first load and cannot
	// decide: status 503. No list refused the request, and report-only mode
	// does not serve it.
	NotReady

	numOutcomes
)

var outcomeNames = [numOutcomes]string{
	Refused:  "refused",
	NoKey:    "no_key",
	Served:   "served",
	Reported: "reported",
	Passed:   "passed",
	NotReady: "not_ready",
}

// OK reports whether the request is handed on. It is false for values that are
// none of the six.
func (o Outcome) OK() bool { return o == Served || o == Reported || o == Passed }

// String returns the outcome's stable name: "refused", "no_key", "served",
// "reported", "passed" or "not_ready".
func (o Outcome) String() string {
	if o < numOutcomes {
		return outcomeNames[o]
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// MarshalText returns what String returns, so that an outcome reads the same in
// logs and in JSON.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }
