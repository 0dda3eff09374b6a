// Package manage is what an administrator can do: create, edit, rotate and
// revoke API keys, and edit their allowlists, each as one step that is kept in
// SQLite and in force on this node before it is acknowledged.
//
// The management API and the settings page both call a [Service] and add no
// rules of their own.
package manage

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// Limits of what a key carries. Texts are counted in Unicode code points.
const (
	MaxName        = 100
	MaxDescription = 1000
	MaxKeys        = 1_000_000 // active ones; a new one beyond is ErrTooManyKeys
	MaxTrial       = 1000      // addresses of one trial
	DefaultLimit   = 50        // keys or audit records a page
	MaxLimit       = 500
)

// Errors of a Service. Match them with errors.Is. Besides these, a faulty list
// is an *ipallow.ValidationError, a faulty other field a *FieldError, and a
// list that would refuse known addresses a *LockoutError. [Faults] finds the
// faults, all of them at once.
var (
	ErrNotFound    = errors.New("no such key")
	ErrRevoked     = errors.New("the key is revoked; create a new one")
	ErrConflict    = errors.New("somebody else changed the allowlist meanwhile; read it again and repeat the change")
	ErrTooManyKeys = errors.New("too many active keys; revoke some first")
	ErrCursor      = errors.New("the cursor is not one that a page gave out; begin again without one")
	// ErrLockoutUnknown says that the usage log could not be read, so that
	// nobody knows whether a list locks anybody out.
	ErrLockoutUnknown = errors.New("the usage log cannot be read to see who would be locked out; confirm to save the allowlist all the same")
)

// A FieldError is a fault of one field of a request.
type FieldError struct {
	Field  string // as in JSON: "name", "description", "scopes"
	Reason string // what is wrong and what to do
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// A LockoutError says that a change would refuse addresses that are served now:
// those from which the key was used lately, or the caller's own. The same
// change with ConfirmLockout is made.
type LockoutError struct {
	Addresses []SeenAddress // the caller's own first, then the most used, at most MaxSeen
	Total     int           // of all, those that are not named included
	Caller    bool          // the caller's own address is among them
}

func (e *LockoutError) Error() string {
	return fmt.Sprintf("the allowlist would lock out %d addresses that are in use; confirm to save it all the same", e.Total)
}

// Unnamed is how many addresses there are beyond those that are named.
func (e *LockoutError) Unnamed() int { return e.Total - len(e.Addresses) }

// A SeenAddress is an address from which requests with a key came.
type SeenAddress struct {
	Addr    netip.Addr
	Last    time.Time // the last request that was served; zero: none was
	Served  int64     // requests in the time looked at
	Blocked int64     // of them refused by the allowlist of that moment
	Caller  bool      // where the change itself comes from
}

// Seen is from where a key was used lately: the addresses that were served and
// those that were blocked, each most requests first and at most MaxSeen. An
// address may be in both.
type Seen struct {
	Since           time.Time
	Served, Blocked []SeenAddress
	// How many addresses there are of each, and their requests, those included
	// that are not named.
	ServedTotal, BlockedTotal       int
	ServedRequests, BlockedRequests int64
}

// How far back "lately" reaches, and how many addresses are named.
const (
	SeenWithin = 7 * 24 * time.Hour
	MaxSeen    = 100
)

// An Actor is who makes a change, for the audit trail and the check for
// lock-outs.
type Actor struct {
	Name string     // "token" for the API, "page" for the settings page
	Addr netip.Addr // the caller's own client address; zero if unknown
}

// A Key is an API key as the management shows it. It never has the secret.
type Key struct {
	ID          string
	Name        string
	Description string
	Scopes      keyring.Scopes
	ReportOnly  bool // the allowlist is watched, not enforced
	Created     time.Time
	Updated     time.Time // the last change of anything here or of the list
	Revoked     time.Time // zero while the key is active
	LastUsed    time.Time // the last served request, to a few seconds; zero: never
	Entries     int       // length of the allowlist; 0: unrestricted
}

// Active reports whether the key is not revoked.
func (k *Key) Active() bool { return k.Revoked.IsZero() }

// A ListEntry is an entry as the user writes it: any of the four text forms,
// and a label.
type ListEntry struct {
	Entry string `json:"entry"`
	Label string `json:"label"`
}

// An Allowlist is the list of one key.
type Allowlist struct {
	Entries []ipallow.Entry // canonical
	Tag     string          // changes with every change of the list; for ETag
	Updated time.Time       // zero: never set
}

// NewKey is what Create makes a key of.
type NewKey struct {
	Name        string
	Description string
	Scopes      []string // at least one
	ReportOnly  bool
	Allowlist   []ListEntry // empty: unrestricted
}

// KeyEdit changes what is not nil.
type KeyEdit struct {
	Name        *string
	Description *string
	Scopes      *[]string
	ReportOnly  *bool

	// ConfirmLockout ends report-only mode even if the allowlist will refuse
	// addresses from which the key is used.
	ConfirmLockout bool
}

// A ListEdit puts a whole list in place of the one there was.
type ListEdit struct {
	Entries        []ListEntry // empty: the key becomes unrestricted
	IfMatch        string      // the Tag that the caller saw; empty: whatever is there
	ConfirmLockout bool
}

// Created is the answer of Create and Rotate: the only place a secret is shown.
type Created struct {
	Key      Key
	Token    string // ipk_<id>_<secret>
	List     Allowlist
	Warnings []ipallow.Warning
}

// A KeyQuery asks for a page of keys. Its conditions all apply.
type KeyQuery struct {
	// Search is a part of the name, the ID, the description, an entry or a
	// label, in any case. Of an address or a network it also finds the keys with
	// an entry that contains it. Empty: all.
	Search string

	Revoked    bool  // also those that are revoked
	Restricted *bool // with an allowlist, or without; nil: both
	Unused     bool  // without a served request for UnusedFor
	Broad      bool  // with an entry broader than BroadBits4 or BroadBits6
	Order      KeyOrder
	Limit      int // 0: DefaultLimit; more than MaxLimit: MaxLimit
	Cursor     string
}

// What KeyQuery finds with Unused and Broad.
const (
	UnusedFor  = 30 * 24 * time.Hour
	BroadBits4 = 24
	BroadBits6 = 48
)

// A KeyOrder is the order of a list of keys.
type KeyOrder uint8

// The orders. That by last use is precise to the ten seconds in which marks of
// use are stored.
const (
	NewestFirst KeyOrder = iota
	ByName
	LastUsedFirst
)

// A KeyPage is part of an answer. Next is empty on the last one, Previous on
// the first.
type KeyPage struct {
	Keys     []Key
	Next     string
	Previous string
	Total    int // of all pages; MaxCounted: so many or more
}

// MaxCounted bounds KeyPage.Total.
const MaxCounted = 10_000

// A Trial is what a list would do to addresses.
type Trial struct {
	Results  []TrialResult
	Warnings []ipallow.Warning
	Lockout  *LockoutError // nil: the list can be saved without a confirmation
	// Unrestricts says that the key has a list now, and that with the proposed
	// one, which is empty, it would be served from everywhere.
	Unrestricts bool
}

// A TrialResult is the verdict on one address.
type TrialResult struct {
	Addr    netip.Addr
	Verdict ipallow.Verdict
	Match   *ipallow.Entry // the most specific entry; nil: none
	Index   int            // its place in the list; -1: none
}

// An Action is what an audit record tells of.
type Action string

// The actions.
const (
	ActionCreate Action = "key.create"
	ActionEdit   Action = "key.edit"
	ActionRotate Action = "key.rotate"
	ActionRevoke Action = "key.revoke"
	ActionList   Action = "allowlist.set"
	ActionNode   Action = "node.remove" // KeyID is empty, and KeyName that of the node
)

// An AuditRecord says who changed what, with the state before and after.
type AuditRecord struct {
	ID      int64
	Time    time.Time
	Actor   string // Actor.Name
	Addr    netip.Addr
	Action  Action
	KeyID   string
	KeyName string
	Before  *AuditState // nil for a key that was created
	After   *AuditState
	// Confirmed says that the actor was told of a lock-out and confirmed it.
	Confirmed bool
}

// An AuditState is a key at one moment, as the audit trail keeps it.
type AuditState struct {
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Scopes      []string    `json:"scopes"`
	ReportOnly  bool        `json:"report_only"`
	Revoked     bool        `json:"revoked"`
	Allowlist   []ListEntry `json:"allowlist"`
}

// An AuditQuery asks for a page of the audit trail, newest first.
type AuditQuery struct {
	KeyID  string // empty: all keys
	Limit  int
	Cursor string
}

// An AuditPage is part of an answer. Next is empty on the last one.
type AuditPage struct {
	Records []AuditRecord
	Next    string
}
