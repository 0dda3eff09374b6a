package manage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// load fills the engine and then the ring.
func (s *Service) load(ctx context.Context) error {
	var keys []*keyring.Key
	var total uint64
	err := s.engine.ReplaceFunc(func(add func(string, []ipallow.Entry)) error {
		err := eachActive(ctx, s.db.reader, func(r *row) error {
			add(r.id, r.list)
			keys = append(keys, r.ringKey())
			total += digest(r.id, r.crc)
			return nil
		}, func(_ string, err error) error { return err })
		if err != nil {
			return err
		}
		if err := s.checkTotal(ctx, total); err != nil {
			return err
		}
		// What the ring has and the database has not must be unknown before
		// the engine forgets its list.
		if s.ring.Len() > 0 {
			known := make(map[string]bool, len(keys))
			for _, k := range keys {
				known[k.ID] = true
			}
			for k := range s.ring.All {
				if !known[k.ID] {
					s.ring.Remove(k.ID)
				}
			}
		}
		return nil
	})
	var fault *ipallow.KeyError
	if errors.As(err, &fault) {
		return fmt.Errorf("the policy refuses allowlists that are stored: %w", err)
	}
	if err != nil {
		return err
	}
	for _, k := range keys {
		s.ring.Put(k)
	}
	s.active, s.total = len(keys), total
	return nil
}

// checkTotal demands that the active keys are those that the last change left.
// Each row has a checksum of its own; this finds rows that are whole and too
// old, as of a file that was put in place while its write-ahead log was left.
func (s *Service) checkTotal(ctx context.Context, total uint64) error {
	var want int64
	err := s.db.reader.QueryRowContext(ctx, "SELECT total FROM changes ORDER BY revision DESC LIMIT 1").Scan(&want)
	switch {
	case errors.Is(err, sql.ErrNoRows): // from before there were changes
		return nil
	case err != nil:
		return err
	case uint64(want) != total:
		return fmt.Errorf("the keys are not those that the last change left: parts of the file are older than the rest: %w", ErrDamaged)
	}
	return nil
}
