package manage

import (
	"context"
	"net/netip"
	"time"
)

// A Manager is a Service as the API and the page see it. All methods may be
// called from any number of goroutines. When one that changes something
// returns without an error, the change is durable and in force on this node.
//
// An id that no key has is ErrNotFound; to change, or to try, a key that is
// revoked is ErrRevoked.
type Manager interface {
	// Create makes a key. A faulty list or field makes none.
	Create(ctx context.Context, by Actor, k NewKey) (Created, error)
	// Keys returns a page of keys.
	Keys(ctx context.Context, q KeyQuery) (KeyPage, error)
	// Key returns one key, revoked ones too.
	Key(ctx context.Context, id string) (Key, error)
	// Edit changes a key's fields.
	Edit(ctx context.Context, by Actor, id string, e KeyEdit) (Key, error)
	// Rotate gives the key a new secret; the old one is refused from now on.
	Rotate(ctx context.Context, by Actor, id string) (Created, error)
	// Revoke ends the key for ever. It stays in the logs and the audit trail.
	Revoke(ctx context.Context, by Actor, id string) error
	// Allowlist returns the key's list.
	Allowlist(ctx context.Context, id string) (Allowlist, error)
	// SetAllowlist replaces the list whole.
	SetAllowlist(ctx context.Context, by Actor, id string, e ListEdit) (Created, error)
	// Try says what the stored list (proposed nil) or a proposed one would do
	// to the addresses, and changes nothing. With a proposed list the trial
	// looks for a lock-out as SetAllowlist would.
	Try(ctx context.Context, by Actor, id string, proposed *[]ListEntry, addrs []netip.Addr) (Trial, error)
	// Seen returns from where requests with the key came lately.
	Seen(ctx context.Context, id string) (Seen, error)
	// Blocked counts the requests that the allowlist of each of the keys has
	// refused lately. A key without any may be missing.
	Blocked(ctx context.Context, ids []string) (map[string]int64, error)
	// NodeRemoved records that a node was taken off the list of the fleet.
	NodeRemoved(ctx context.Context, by Actor, name string) error
	// Audit returns a page of the audit trail, newest first.
	Audit(ctx context.Context, q AuditQuery) (AuditPage, error)
}

// SeenLog is what a Service asks of the usage log.
type SeenLog interface {
	// Seen returns every address from which requests with the key were served
	// or blocked since then, in any order.
	Seen(ctx context.Context, keyID string, since time.Time) ([]SeenAddress, error)
	// Blocked counts the blocked requests with each of the keys since then.
	Blocked(ctx context.Context, keyIDs []string, since time.Time) (map[string]int64, error)
}
