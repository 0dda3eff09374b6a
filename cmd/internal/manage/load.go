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
			if len(r.list) > 0 {
				s.faulty.add(r.id, s.policy.Validate(r.list))
			}
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
		return fmt.Errorf("allowlists that are stored cannot be enforced: %w", err)
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

// maxFaulty bounds the lists that StoredFaults names.
const maxFaulty = 10

// StoredFaults are lists in force that could not be saved again, since the policy has
// become narrower than when they were.
type StoredFaults struct {
	Total int
	Named []*ipallow.KeyError // some of them; Err is a *ipallow.ValidationError
}

func (f *StoredFaults) add(id string, err error) {
	if err == nil {
		return
	}
	f.Total++
	if len(f.Named) < maxFaulty {
		f.Named = append(f.Named, &ipallow.KeyError{Key: id, Err: err})
	}
}

// StoredFaults returns the lists that Open found and that the policy refuses.
func (s *Service) StoredFaults() StoredFaults { return s.faulty }
