package logstore

import (
	"context"
	"time"
)

// cutoff returns the time, in nanoseconds since 1970, before which records
// are kept no longer.
func (s *Store) cutoff() int64 {
	if s.opt.Retention == 0 {
		return 0
	}
	return nanos(s.opt.now().Add(-s.opt.Retention))
}

// retain deletes what is older than the retention, now and then.
func (s *Store) retain(ctx context.Context) {
	t := time.NewTicker(max(time.Second, min(s.opt.Retention/100, time.Minute)))
	defer t.Stop()
	for {
		if err := s.expire(ctx); err != nil && ctx.Err() == nil {
			s.opt.Logger.Error("usage log: old records cannot be deleted, trying again later", "file", s.opt.Path, "error", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// expireBlocks is how many blocks are deleted in one transaction: an Append
// waits for no more.
const expireBlocks = 8

// expire deletes what is older than the retention in small steps.
func (s *Store) expire(ctx context.Context) error {
	for more := true; more; {
		w, err := s.take(ctx)
		if err != nil {
			return err
		}
		cutoff := s.cutoff()
		err = w.transaction(ctx, func() error {
			more, err = w.expireStep(cutoff)
			return err
		})
		if err == nil && !more {
			err = s.count(ctx) // for the oldest one that is left
		}
		s.turn <- w
		if err != nil {
			return err
		}
	}
	return nil
}

// expireStep deletes some blocks whose records are all before cutoff. When there are
// none, it takes one apart that has not been in time for long, and says so.
func (w *writer) expireStep(cutoff int64) (more bool, err error) {
	rows, err := w.expired.QueryContext(background, cutoff, expireBlocks)
	if err != nil {
		return false, err
	}
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			rows.Close()
			return false, err
		}
		ids = append(ids, id)
	}
	if err := rows.Close(); err != nil {
		return false, err
	}
	for _, id := range ids {
		if err := w.removeBlock(id); err != nil {
			return false, err
		}
	}
	return len(ids) > 0, nil
}
