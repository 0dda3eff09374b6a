package ipallow

import "errors"

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
