package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/visible"
	"github.com/ipallow/ipallow/usagelog"
)

// An apiError is an answer other than the one that was asked for. Its JSON
// form stands under "error". Codes are stable, messages are for people.
type apiError struct {
	status int
	header http.Header
	cause  error // for the log, of answers from 500 on
	warn   bool  // the log is told of it

	Code    string `json:"code"`
	Message string `json:"message"`

	Path           string        `json:"path,omitempty"`      // of INVALID_JSON: JSON Pointer (RFC 6901)
	Parameter      string        `json:"parameter,omitempty"` // of INVALID_QUERY
	Faults         []fault       `json:"faults,omitempty"`    // of INVALID_INPUT
	Addresses      []seenAddress `json:"addresses,omitempty"` // of WOULD_LOCK_OUT
	AddressesTotal int           `json:"addresses_total,omitempty"`
	RequestID      string        `json:"request_id,omitempty"`
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

// A fault is one thing that is wrong with what was sent.
type fault struct {
	Field      string `json:"field"`
	Index      int    `json:"index"` // in the list that Field names; -1: all of the field
	Input      string `json:"input"`
	Code       string `json:"code"`
	Reason     string `json:"reason"`
	Suggestion string `json:"suggestion"`
	// Suggestions are entries to take as they stand, as in ipallow.EntryError.
	Suggestions []string `json:"suggestions,omitempty"`
}

// Codes of faults that are not an ipallow.Code.
const (
	faultField    = "invalid_field"
	faultRequired = "required"
	faultAddress  = "invalid_address"
	faultTooMany  = "too_many_addresses"
)

var errNoRoute = &apiError{
	status: http.StatusNotFound, Code: "NOT_FOUND",
	Message: "There is nothing at this path. The routes are in /api/openapi.json.",
}

func noRoute(http.ResponseWriter, *http.Request) error { return errNoRoute }

func badQuery(parameter, format string, args ...any) *apiError {
	return &apiError{
		status: http.StatusBadRequest, Code: "INVALID_QUERY",
		Message: fmt.Sprintf(format, args...), Parameter: parameter,
	}
}

// invalid is the answer to input with faults.
func invalid(faults ...fault) *apiError {
	n := fmt.Sprintf("%d faults", len(faults))
	if len(faults) == 1 {
		n = "1 fault"
	}
	return &apiError{
		status: http.StatusUnprocessableEntity, Code: "INVALID_INPUT",
		Message: "Nothing was changed: the request has " + n + ". Correct what error.faults names, and send it again.",
		Faults:  faults,
	}
}

func required(field, reason string) fault {
	return fault{Field: field, Index: -1, Code: faultRequired, Reason: reason}
}

// translate makes an apiError of what the manager and the log store return.
// listField is the name that the allowlist has in the request's body.
func translate(err error, listField string) *apiError {
	var (
		answer  *apiError
		lockout *manage.LockoutError
	)
	if errors.As(err, &answer) {
		return answer
	}
	if errors.As(err, &lockout) {
		return lockedOut(lockout)
	}
	var refused *manage.RefusedError
	if errors.As(err, &refused) {
		return &apiError{status: http.StatusConflict, Code: "NOT_THE_OWNER", Message: "Nothing was changed. " + refused.Reason}
	}
	if faults := faultsOf(err, listField); faults != nil {
		return invalid(faults...)
	}
	for _, known := range knownErrors {
		if errors.Is(err, known.err) {
			e := known.answer
			e.cause = err
			return &e
		}
	}
	return &apiError{status: http.StatusInternalServerError, Code: "INTERNAL", cause: err,
		Message: "The server failed. Its log has the reason under this request_id."}
}

// knownErrors are the answers to errors that say all there is to say.
var knownErrors = []struct {
	err    error
	answer apiError
}{
	{manage.ErrNotFound, apiError{status: http.StatusNotFound, Code: "NOT_FOUND",
		Message: "There is no key with this identifier. GET /api/v1/keys lists them."}},
	{fleet.ErrNoNode, apiError{status: http.StatusNotFound, Code: "NO_NODE",
		Message: "There is no node with this name. GET /api/v1/nodes lists them."}},
	{fleet.ErrNodeAlive, apiError{status: http.StatusConflict, Code: "NODE_ALIVE",
		Message: "The node still reports, and would be back at once. Stop it, and try again when it is silent."}},
	{manage.ErrRevoked, apiError{status: http.StatusConflict, Code: "KEY_REVOKED",
		Message: "The key is revoked and stays so. Create a new one."}},
	{manage.ErrTooManyKeys, apiError{status: http.StatusConflict, Code: "TOO_MANY_KEYS",
		Message: "The server has the maximum number of keys. Revoke some first."}},
	{manage.ErrFull, apiError{status: http.StatusInsufficientStorage, Code: "DISK_FULL",
		Message: "Nothing was changed: the disk is full. Delete something from it, or give it more room, and try again. Keys can be revoked as long as there is a reserve."}},
	{manage.ErrConflict, apiError{status: http.StatusPreconditionFailed, Code: "PRECONDITION_FAILED",
		Message: "The allowlist is not the one that If-Match names: it has been changed. Read it again, repeat the change, and send it with the new ETag."}},
	{manage.ErrCursor, *badCursor},
	{usagelog.ErrQuery, *badCursor}, // all else of a query was checked before
	{manage.ErrLockoutUnknown, apiError{status: http.StatusServiceUnavailable, Code: "LOCKOUT_UNKNOWN",
		Message: "Nothing was changed: the usage log cannot be read, so it is not known which addresses the list would lock out. Try again, or save it anyway with \"confirm_lockout\": true.",
		header:  retrySoon}},
	{logstore.ErrBusy, apiError{status: http.StatusServiceUnavailable, Code: "BUSY",
		Message: "Too many charts, searches and exports of the usage log are running. Try again in a few seconds.", header: retrySoon}},
	{context.DeadlineExceeded, apiError{status: http.StatusServiceUnavailable, Code: "UNAVAILABLE",
		Message: "The server did not get it done in time. Try again.", header: retrySoon}},
	{manage.ErrClosed, apiError{status: http.StatusServiceUnavailable, Code: "UNAVAILABLE",
		Message: "The server is stopping. Try again when it has started.", header: retrySoon}},
	{logstore.ErrClosed, apiError{status: http.StatusServiceUnavailable, Code: "UNAVAILABLE",
		Message: "The server is stopping. Try again when it has started.", header: retrySoon}},
}

var retrySoon = http.Header{"Retry-After": {"5"}}

var badCursor = badQuery("cursor", "The cursor is not one that a page of this list gave out. Begin again without one.")

// faultsOf returns the faults in an error: those of fields first.
func faultsOf(err error, listField string) []fault {
	var faults []fault
	fields, list := manage.Faults(err)
	for _, f := range fields {
		faults = append(faults, fault{Field: f.Field, Index: -1, Code: faultField, Reason: f.Reason})
	}
	if list != nil {
		for _, f := range list.Entries {
			faults = append(faults, fault{
				Field: listField, Index: f.Index, Input: f.Input,
				Code: string(f.Code), Reason: f.Reason, Suggestion: f.Suggestion, Suggestions: f.Suggestions,
			})
		}
	}
	return faults
}

func lockedOut(e *manage.LockoutError) *apiError {
	return &apiError{
		status: http.StatusConflict, Code: "WOULD_LOCK_OUT",
		Message: "Nothing was changed: the list would refuse addresses that are served now, and from which the key was used lately or this request comes." +
			" error.addresses has the most used of them. Add them, or send the same again with \"confirm_lockout\": true.",
		Addresses: seenAddresses(e.Addresses), AddressesTotal: e.Total,
	}
}

// fail writes the answer that err stands for.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := *translate(err, "entries")
	e.RequestID = w.Header().Get("X-Request-Id")
	switch {
	case e.status >= 500 && r.Context().Err() == nil:
		h.logger.ErrorContext(r.Context(), "management API failed", "request_id", e.RequestID,
			"method", r.Method, "path", r.URL.Path, "status", e.status, "error", e.cause)
	case e.warn:
		h.logger.WarnContext(r.Context(), "management API got a wrong token", "request_id", e.RequestID,
			"method", r.Method, "path", r.URL.Path, "address", h.source.FromRequest(r).String())
	}
	for name := range e.header {
		w.Header().Set(name, e.header.Get(name))
	}
	writeJSON(w, e.status, map[string]*apiError{"error": &e})
}

// writeJSON writes v as the whole answer, with hidden characters of others' texts
// escaped, for whoever reads it on a terminal. All that the API answers can be encoded.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	text, _ := json.Marshal(v)
	_, _ = w.Write(append(visible.JSON(text), '\n')) // an error means that the client is gone
}
