package natsfeed

import (
	"fmt"
	"time"
)

// A Fault is a value in the bucket that cannot be used. The key keeps the list
// that it had.
type Fault struct {
	Key      string    // empty if the name is not that of a key
	Name     string    // in the bucket
	Revision uint64    // of the value
	Time     time.Time // when it was stored, by the server's clock

	// Err says why: it wraps ErrName, ErrVersion, ErrTooLarge, ErrValue or an
	// *ipallow.ValidationError, or says that the engine refuses the list.
	Err error

	// Closed says that the key had no list, and that nobody is served with it
	// until it has a value that can be used.
	Closed bool
}

// Error returns the key or the name, the revision and the reason.
func (f *Fault) Error() string {
	what := "key " + quote(f.Key)
	if f.Key == "" {
		what = "name " + quote(f.Name)
	}
	end := ""
	if f.Closed {
		end = "; the key has no list to keep and is closed"
	}
	return fmt.Sprintf("%s, revision %d: %v%s", what, f.Revision, f.Err, end)
}

// Unwrap returns the reason.
func (f *Fault) Unwrap() error { return f.Err }
