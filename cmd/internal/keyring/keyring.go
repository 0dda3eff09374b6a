// Package keyring authenticates requests: it holds, for every API key, the
// hash of its secret and its scopes, in memory.
//
// A [Ring] is what the gateway asks. The management side, or a feed, keeps it
// in step with what is stored.
package keyring

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Scopes are what a key may do. The zero Scopes permit nothing.
type Scopes uint8

// The scopes.
const (
	Read  Scopes = 1 << iota // GET, HEAD and OPTIONS
	Write                    // every other method
)

// scopeNames are the names of the scopes, in order.
var scopeNames = []scopeName{{Read, "read"}, {Write, "write"}}

type scopeName struct {
	scope Scopes
	name  string
}

// ErrScope is wrapped by the error of ParseScopes.
var ErrScope = errors.New("unknown scope")

// ParseScopes returns the scopes with these names: "read", "write".
func ParseScopes(names []string) (Scopes, error) {
	var s Scopes
	for _, name := range names {
		i := slices.IndexFunc(scopeNames, func(n scopeName) bool { return n.name == name })
		if i < 0 {
			return 0, fmt.Errorf("%w %.40q: want \"read\" or \"write\"", ErrScope, name)
		}
		s |= scopeNames[i].scope
	}
	return s, nil
}

// Names returns the names of the scopes, "read" before "write". It is never
// nil.
func (s Scopes) Names() []string {
	names := make([]string, 0, len(scopeNames))
	for _, n := range scopeNames {
		if s&n.scope != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// Permits reports whether a key with these scopes may use the method.
func (s Scopes) Permits(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS":
		return s&Read != 0
	}
	return s&Write != 0
}

// A Key is what authentication needs of an API key. It is never written after
// it was given to a Ring, but for the mark of its last use.
type Key struct {
	ID         string
	Hash       Hash
	Scopes     Scopes
	ReportOnly bool // the allowlist of this key is watched, not enforced

	lastUsed atomic.Int64 // Unix seconds; 0: not since this process began
}

// Used marks the key as used for a served request.
func (k *Key) Used(now time.Time) {
	k.mark(now.Unix())
}

// mark moves the mark forward, never back. A key in heavy use is written once
// a second, so that the cores do not fight over its cache line.
func (k *Key) mark(s int64) {
	for old := k.lastUsed.Load(); old < s; old = k.lastUsed.Load() {
		if k.lastUsed.CompareAndSwap(old, s) {
			return
		}
	}
}

// LastUsed returns the last mark, or the zero Time if there is none since this
// process began.
func (k *Key) LastUsed() time.Time {
	if s := k.lastUsed.Load(); s != 0 {
		return time.Unix(s, 0).UTC()
	}
	return time.Time{}
}

// A Ring holds the active keys. A revoked key is in no Ring. The zero Ring is
// empty and ready for use. All methods may be called from any number of
// goroutines.
type Ring struct {
	keys sync.Map // string -> *Key
	n    atomic.Int64
}

// Put adds the key or takes the place of the one with the same ID. The mark of
// the last use is carried over.
func (r *Ring) Put(k *Key) {
	old, loaded := r.keys.Swap(k.ID, k)
	if !loaded {
		r.n.Add(1)
		return
	}
	k.mark(old.(*Key).lastUsed.Load())
}

// Remove takes the key out: from now on it is unknown.
func (r *Ring) Remove(id string) {
	if _, loaded := r.keys.LoadAndDelete(id); loaded {
		r.n.Add(-1)
	}
}

// Get returns the active key with this ID, or nil.
func (r *Ring) Get(id string) *Key {
	if k, ok := r.keys.Load(id); ok {
		return k.(*Key)
	}
	return nil
}

// Len returns the number of keys.
func (r *Ring) Len() int { return int(r.n.Load()) }

// All calls yield for each key until it returns false.
func (r *Ring) All(yield func(*Key) bool) {
	r.keys.Range(func(_, k any) bool { return yield(k.(*Key)) })
}

// Authenticate returns the key that the token belongs to, or nil for one whose key is
// unknown or revoked, or whose secret is wrong. The hashes are compared in constant
// time. A token of a form that is not ours is that of an imported key: all of it is the
// secret (see ForeignID).
func (r *Ring) Authenticate(token string) *Key {
	var hash Hash
	var k *Key
	if id, secret, ok := ParseToken(token); ok {
		hash = HashSecret(secret)
		k = r.Get(id)
	} else if hash, ok = parseForeign(token); ok {
		var id [IDLen]byte
		idEncoding.Encode(id[:], hash[:IDLen*5/8])
		k = r.Get(string(id[:]))
	} else {
		return nil
	}
	if k == nil {
		// As long as for a known key. (The ID is public, this hides little.)
		subtle.ConstantTimeCompare(hash[:], hash[:])
		return nil
	}
	if subtle.ConstantTimeCompare(hash[:], k.Hash[:]) != 1 {
		return nil
	}
	return k
}
