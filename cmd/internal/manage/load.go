package manage

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// load fills the engine and then the ring. Check is asked before, with the sum of
// the keys' digests.
func (s *Service) load(ctx context.Context, check func(total uint64) error) error {
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
		if err := check(total); err != nil {
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
