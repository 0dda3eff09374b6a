package manage

import (
	"context"
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
	return s.write(ctx, func(st *step) error {
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
