package manage

import (
	"context"
	"database/sql"
	"errors"
	"strings"

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

// Keys returns a page of keys, newest first. A search looks at all keys until
// the page is full.
func (s *Service) Keys(ctx context.Context, q KeyQuery) (KeyPage, error) {
	db, err := s.read()
	if err != nil {
		return KeyPage{}, err
	}
	limit := pageSize(q.Limit)
	where := []string{"1"}
	var args []any
	if !q.Revoked {
		where = append(where, "revoked = 0")
	}
	if q.Cursor != "" {
		created, id, err := parseKeyCursor(q.Cursor)
		if err != nil {
			return KeyPage{}, err
		}
		where = append(where, "(created, id) < (?, ?)")
		args = append(args, created, id)
	}
	if search := strings.TrimSpace(q.Search); search != "" {
		where = append(where, "(instr(folded, ?) OR instr(id, ?))")
		args = append(args, fold(search), strings.ToLower(search))
	}
	rows, err := db.QueryContext(ctx, "SELECT "+keyColumns+" FROM keys WHERE "+strings.Join(where, " AND ")+
		" ORDER BY created DESC, id DESC LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return KeyPage{}, err
	}
	defer rows.Close()
	page := KeyPage{Keys: []Key{}}
	for rows.Next() {
		k, err := scanKey(rows)
		if err != nil {
			return KeyPage{}, err
		}
		if len(page.Keys) == limit {
			last := &page.Keys[limit-1]
			page.Next = keyCursor(nanos(last.Created), last.ID)
			break
		}
		s.freshen(&k)
		page.Keys = append(page.Keys, k)
	}
	return page, rows.Err()
}

func pageSize(limit int) int {
	if limit <= 0 {
		return DefaultLimit
	}
	return min(limit, MaxLimit)
}
