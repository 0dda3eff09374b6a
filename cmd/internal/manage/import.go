package manage

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// importChunk is how many keys Import stores in one transaction. Identifiers
// are random, so a transaction writes nearly every page of the index anew, and
// few large ones write less than many small ones.
const importChunk = 20_000

// Import makes many keys, 20,000 in one transaction, and returns their tokens
// in order. It is for tests and measurements; other changes wait a second or
// two for each transaction. The keys whose tokens are returned exist, also if
// there is an error.
//
// Cost: 50 to 100 µs a key.
func (s *Service) Import(ctx context.Context, by Actor, keys iter.Seq[NewKey]) ([]string, error) {
	var tokens, pending []string
	var rows []*row
	flush := func() error {
		if err := s.importRows(ctx, by, rows); err != nil {
			return err
		}
		tokens = append(tokens, pending...)
		pending, rows = pending[:0], nil
		return nil
	}
	for k := range keys {
		r, err := s.parseKey(k)
		if err != nil {
			return tokens, err
		}
		secret := r.identify()
		pending = append(pending, keyring.Token(r.id, secret))
		if rows = append(rows, r); len(rows) == s.chunk {
			if err := flush(); err != nil {
				return tokens, err
			}
		}
	}
	if len(rows) > 0 {
		if err := flush(); err != nil {
			return tokens, err
		}
	}
	return tokens, nil
}

func (s *Service) importRows(ctx context.Context, by Actor, rows []*row) error {
	return s.writeRoomy(ctx, func(st *step) error {
		if s.active+len(rows) > s.maxKeys {
			return ErrTooManyKeys
		}
		for _, r := range rows {
			r.begin(st)
			if err := s.insert(st, by, r); err != nil {
				return err
			}
		}
		err := s.engine.Update(func(tx *ipallow.Tx) error {
			for _, r := range rows {
				if err := tx.Set(r.id, r.list); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return s.engineError(err)
		}
		st.undo = func() {
			_ = s.engine.Update(func(tx *ipallow.Tx) error { // deletions do not fail
				for _, r := range rows {
					tx.Delete(r.id)
				}
				return nil
			})
		}
		st.apply = func() error {
			for _, r := range rows {
				s.ring.Put(r.ringKey())
			}
			s.active += len(rows)
			return nil
		}
		return nil
	})
}

// A KnownKey is a key that exists elsewhere: its clients have the token
// ipk_<ID>_<secret>, and of the secret only the SHA-256 is known.
type KnownKey struct {
	NewKey
	ID   string
	Hash keyring.Hash
}

// ImportKnown makes the keys, each with its list from the beginning, in one
// step: all or none. With dry set it only says what is wrong. The error joins
// the faults of all keys; that of a key wraps what Create would return, or
// ErrExists.
func (s *Service) ImportKnown(ctx context.Context, by Actor, keys []KnownKey, dry bool) error {
	db, err := s.read()
	if err != nil {
		return err
	}
	var faults []error
	var rows []*row
	for _, k := range keys {
		r, err := s.parseKey(k.NewKey)
		if err == nil {
			_, err = readRow(ctx, db, k.ID)
			switch {
			case !keyring.ValidID(k.ID):
				err = &FieldError{"id", fmt.Sprintf("an identifier is %d characters of a to z and 2 to 7", keyring.IDLen)}
			case err == nil:
				err = ErrExists
			case errors.Is(err, ErrNotFound):
				err = nil
			}
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("key %q: %w", k.ID, err))
			continue
		}
		r.id, r.hash = k.ID, k.Hash
		rows = append(rows, r)
	}
	if len(faults) > 0 || dry || len(rows) == 0 {
		return errors.Join(faults...)
	}
	return s.importRows(ctx, by, rows)
}

// ErrExists says that a key with this identifier exists already, perhaps revoked.
var ErrExists = errors.New("a key with this identifier exists already; its list can be imported without it")
