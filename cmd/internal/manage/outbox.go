package manage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// A Publication is what others must know of a key.
type Publication struct {
	ID      string
	Key     *keyring.Key // nil: the key is revoked, or there is none
	Entries []ipallow.Entry
	Err     error // the key cannot be read, see Publications

	// Change is, from Publication, one that was stored last then or later: a
	// database that does not have it may lack what is said here.
	Change Change
}

// An OutboxRow says that a key was changed.
type OutboxRow struct {
	Seq     int64 // in the order of the changes
	KeyID   string
	Created time.Time
}

// Identity is a random text that the database was given when it was made. A
// copy of the database has the same one.
func (s *Service) Identity() string { return s.identity }

// Changed yields a value after changes have been stored in the outbox: one
// for many, where nobody takes it at once. It is for one reader.
func (s *Service) Changed() <-chan struct{} { return s.changed }

// Outbox returns the rows behind a number, in order, at most limit.
func (s *Service) Outbox(ctx context.Context, after int64, limit int) ([]OutboxRow, error) {
	db, err := s.read()
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT seq, key_id, created FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []OutboxRow
	for rows.Next() {
		var r OutboxRow
		var created int64
		if err := rows.Scan(&r.Seq, &r.KeyID, &created); err != nil {
			return nil, err
		}
		r.Created = fromNanos(created)
		list = append(list, r)
	}
	return list, rows.Err()
}

// OutboxLen returns how many changes are in the outbox, and when the oldest of
// them was made; the zero time if there is none.
func (s *Service) OutboxLen(ctx context.Context) (n int, oldest time.Time, err error) {
	db, err := s.read()
	if err != nil {
		return 0, time.Time{}, err
	}
	var created sql.NullInt64
	err = db.QueryRowContext(ctx, "SELECT count(*), (SELECT created FROM outbox ORDER BY seq LIMIT 1) FROM outbox").Scan(&n, &created)
	return n, fromNanos(created.Int64), err
}

// OutboxOf returns the number of the key's newest row, or 0 if it has none.
func (s *Service) OutboxOf(ctx context.Context, id string) (seq int64, err error) {
	db, err := s.read()
	if err != nil {
		return 0, err
	}
	err = db.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM outbox WHERE key_id = ?", id).Scan(&seq)
	return seq, err
}

// Published takes rows out of the outbox.
func (s *Service) Published(ctx context.Context, seqs []int64) error {
	if len(seqs) == 0 {
		return nil
	}
	return s.transact(ctx, func(st *step) error {
		for _, seq := range seqs {
			if err := st.exec("DELETE FROM outbox WHERE seq = ?", seq); err != nil {
				return err
			}
		}
		return nil
	})
}

// Publication returns the state of a key as it is stored now, with all changes
// of which an OutboxRow was seen before.
func (s *Service) Publication(ctx context.Context, id string) (Publication, error) {
	p := Publication{ID: id}
	if _, err := s.read(); err != nil {
		return p, err
	}
	r, err := readRow(ctx, prepared{s.rowByID}, id)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return p, err
	case r.revoked == 0:
		p.Key, p.Entries = r.ringKey(), r.list
	}
	p.Change, err = s.LastChange(ctx)
	return p, err
}

// prepared is a querier for the one query that was prepared: a publisher asks
// for a hundred thousand rows one by one, and parsing takes half of the time.
type prepared struct{ *sql.Stmt }

func (p prepared) QueryRowContext(ctx context.Context, _ string, args ...any) *sql.Row {
	return p.Stmt.QueryRowContext(ctx, args...)
}

// Publications calls yield for each active key, all as they were at one
// moment, until it returns an error. A key whose row is damaged has an Err that
// wraps ErrDamaged, and no more than its identifier.
func (s *Service) Publications(ctx context.Context, yield func(Publication) error) error {
	db, err := s.read()
	if err != nil {
		return err
	}
	return eachActive(ctx, db, func(r *row) error {
		return yield(Publication{ID: r.id, Key: r.ringKey(), Entries: r.list})
	}, func(id string, err error) error {
		return yield(Publication{ID: id, Err: err})
	})
}

// eachActive calls yield for the row of each active key, and damaged for each
// that cannot be read.
func eachActive(ctx context.Context, db *sql.DB, yield func(*row) error, damaged func(id string, err error) error) error {
	rows, err := db.QueryContext(ctx,
		"SELECT id, scopes, report_only, version, entries, hash, sum, list FROM keys NOT INDEXED WHERE revoked = 0")
	if err != nil {
		return err
	}
	defer rows.Close()
	var hash, list sql.RawBytes
	var sum int64
	var entries int
	for rows.Next() {
		r := new(row)
		if err := rows.Scan(&r.id, &r.scopes, &r.reportOnly, &r.version, &entries, &hash, &sum, &list); err != nil {
			err = fmt.Errorf("key %q: %w: %w", r.id, err, ErrDamaged)
			if err := damaged(r.id, err); err != nil {
				return err
			}
			continue
		}
		if err := r.restore(hash, list, sum, entries); err != nil {
			if err := damaged(r.id, err); err != nil {
				return err
			}
			continue
		}
		r.crc = sum
		if err := yield(r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// readIdentity returns the database's identity.
func readIdentity(ctx context.Context, db *sql.DB) (id string, err error) {
	err = db.QueryRowContext(ctx, "SELECT id FROM identity").Scan(&id)
	return id, err
}
