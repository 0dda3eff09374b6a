package manage

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// ErrRefused is wrapped by the errors of changes that a Service does not make
// since Refuse was called.
var ErrRefused = errors.New("changes are refused")

// A RefusedError says why changes are refused. It is ErrRefused.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string   { return e.Reason }
func (e *RefusedError) Is(t error) bool { return t == ErrRefused }

// Refuse has every change refused from now on. The reason is a sentence that
// says what to do. What changes are under way when it is called are made.
func (s *Service) Refuse(reason string) { s.refusal.Store(&RefusedError{reason}) }

// Refused returns the reason of Refuse, or nil.
func (s *Service) Refused() error {
	if r := s.refusal.Load(); r != nil {
		return r
	}
	return nil
}

// A Change is the last of the changes that a state of the database has. The
// zero Change is that of a database without any.
type Change struct {
	Revision int64     `json:"revision"`
	Mark     int64     `json:"mark"` // random: copies that were changed apart differ
	Time     time.Time `json:"time"`
}

// allBuckets is the fence that a restored backup has.
const allBuckets = "*"

// LastChange returns the last change that is stored.
func (s *Service) LastChange(ctx context.Context) (Change, error) {
	if _, err := s.read(); err != nil {
		return Change{}, err
	}
	return readChange(prepared{s.lastOne}.QueryRowContext(ctx, ""))
}

// ChangeAt returns the change with a number, or the zero Change.
func (s *Service) ChangeAt(ctx context.Context, revision int64) (Change, error) {
	db, err := s.read()
	if err != nil {
		return Change{}, err
	}
	return readChange(db.QueryRowContext(ctx, "SELECT revision, mark, time FROM changes WHERE revision = ?", revision))
}

const selectLastChange = "SELECT revision, mark, time FROM changes ORDER BY revision DESC LIMIT 1"

func readChange(r *sql.Row) (c Change, err error) {
	var at int64
	err = r.Scan(&c.Revision, &c.Mark, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return Change{}, nil
	}
	c.Time = fromNanos(at)
	return c, err
}

// HasClaim reports whether a claim to a fleet's bucket was made with this
// database, or with one that it is a copy of.
func (s *Service) HasClaim(ctx context.Context, nonce string) (bool, error) {
	db, err := s.read()
	if err != nil {
		return false, err
	}
	var n int
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM claims WHERE nonce = ?", nonce).Scan(&n)
	return n > 0, err
}

// AddClaim notes a claim that is going to be made.
func (s *Service) AddClaim(ctx context.Context, nonce string) error {
	return s.transact(ctx, func(st *step) error {
		return st.exec("INSERT INTO claims (nonce, time) VALUES (?, ?)", nonce, nanos(st.now))
	})
}

// Fence returns why this database must not publish to the bucket, or "" if it
// may.
func (s *Service) Fence(ctx context.Context, bucket string) (reason string, err error) {
	db, err := s.read()
	if err != nil {
		return "", err
	}
	err = db.QueryRowContext(ctx, "SELECT reason FROM fences WHERE bucket IN (?, ?) ORDER BY time DESC LIMIT 1", bucket, allBuckets).Scan(&reason)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return reason, err
}

// FenceAll notes that this database must not publish to any bucket.
func (s *Service) FenceAll(ctx context.Context, reason string) error {
	return s.SetFence(ctx, allBuckets, reason)
}

// SetFence notes that this database must not publish to the bucket, also after
// the next start. With an empty reason it may again.
func (s *Service) SetFence(ctx context.Context, bucket, reason string) error {
	return s.transact(ctx, func(st *step) error {
		if reason == "" {
			return st.exec("DELETE FROM fences WHERE bucket IN (?, ?)", bucket, allBuckets)
		}
		return st.exec("INSERT OR REPLACE INTO fences (bucket, reason, time) VALUES (?, ?, ?)", bucket, reason, nanos(st.now))
	})
}
