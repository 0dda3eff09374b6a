package manage

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// flushSize is how many times of last use are stored in one transaction, so
// that no change waits for a hundred thousand of them.
const flushSize = 2000

const setUsed = `INSERT INTO used (id, at) VALUES (?, ?)
	ON CONFLICT (id) DO UPDATE SET at = excluded.at WHERE at < excluded.at`

// housekeeping stores the times of last use, and clears the engine of revoked
// keys, until the Service is closed.
func (s *Service) housekeeping() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		<-s.mu
		if !s.closed.Load() {
			if err := s.flush(context.Background()); err != nil {
				s.log.Error("the times of last use are not stored; they will be tried again", "err", err)
			}
			s.sweep(s.now().Add(-lingering))
			if s.reserve != nil {
				if err := s.reserve.Restore(); err != nil {
					s.log.Error("the reserve for a full disk is not there; it will be tried again", "err", err)
				}
			}
		}
		s.mu <- struct{}{}
	}
}

// flush stores the times of last use that changed since it was called last.
// The caller has the right to write.
func (s *Service) flush(ctx context.Context) error {
	var changed []*keyring.Key
	for k := range s.ring.All {
		if mark := nanos(k.LastUsed()); mark > s.used[k.ID] {
			changed = append(changed, k)
		}
	}
	// Neighbours share a page of the database, and whole pages are written.
	slices.SortFunc(changed, func(a, b *keyring.Key) int { return strings.Compare(a.ID, b.ID) })
	for chunk := range slices.Chunk(changed, flushSize) {
		if err := s.flushChunk(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) flushChunk(ctx context.Context, keys []*keyring.Key) error {
	tx, err := s.db.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	set, err := tx.PrepareContext(ctx, setUsed)
	if err != nil {
		return err
	}
	defer set.Close()
	marks := make([]int64, len(keys))
	for i, k := range keys {
		marks[i] = nanos(k.LastUsed())
		if _, err := set.ExecContext(ctx, k.ID, marks[i]); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for i, k := range keys {
		s.used[k.ID] = marks[i]
	}
	return nil
}

// sweep takes the lists of keys out of the engine that were revoked before a
// moment. The caller has the right to write.
func (s *Service) sweep(before time.Time) {
	n := 0
	for n < len(s.retired) && s.retired[n].at.Before(before) {
		n++
	}
	if n == 0 {
		return
	}
	_ = s.engine.Update(func(tx *ipallow.Tx) error { // deletions do not fail
		for _, k := range s.retired[:n] {
			tx.Delete(k.id)
		}
		return nil
	})
	s.retired = slices.Delete(s.retired, 0, n)
}
