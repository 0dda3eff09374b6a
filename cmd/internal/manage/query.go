package manage

import (
	"context"
	"database/sql"
	"errors"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// Key returns one key, revoked ones too.
func (s *Service) Key(ctx context.Context, id string) (Key, error) {
	db, err := s.read()
	if err != nil {
		return Key{}, err
	}
	if !keyring.ValidID(id) {
		return Key{}, ErrNotFound
	}
	k, err := scanKey(db.QueryRowContext(ctx, "SELECT "+keyColumns+" FROM keys WHERE id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		return Key{}, ErrNotFound
	}
	if err != nil {
		return Key{}, err
	}
	s.freshen(&k)
	return k, nil
}

// freshen puts the time of last use in place of the stored one.
func (s *Service) freshen(k *Key) {
	if mark := s.lastMark(k.ID); mark > nanos(k.LastUsed) {
		k.LastUsed = fromNanos(mark)
	}
}

// lastMark returns when the ring saw the key last, 0 for never.
func (s *Service) lastMark(id string) int64 {
	if k := s.ring.Get(id); k != nil {
		return nanos(k.LastUsed())
	}
	return 0
}

func pageSize(limit int) int {
	if limit <= 0 {
		return DefaultLimit
	}
	return min(limit, MaxLimit)
}
