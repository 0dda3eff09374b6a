package logstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
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

// retain deletes what is older than the retention or beyond the bound of bytes, now
// and then, and gives the space back.
func (s *Store) retain(ctx context.Context) {
	every := time.Minute
	if s.opt.Retention > 0 {
		every = max(time.Second, min(s.opt.Retention/100, every))
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		if err := cmp.Or(s.expire(ctx), s.shrink(ctx)); err != nil && ctx.Err() == nil {
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

// expire deletes what is older than the retention, in small steps.
func (s *Store) expire(ctx context.Context) error {
	cutoff := s.cutoff()
	if cutoff == 0 {
		return nil
	}
	changed := false
	for _, step := range s.expireSteps(cutoff) {
		for {
			n, err := s.expireOnce(ctx, step)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return s.change(ctx, func(w *writer) error { return w.forgetBefore(cutoff) })
}

// An expireStep finds some blocks and does something about each.
type expireStep struct {
	query string
	args  []any
	apply func(w *writer, id int64) error
}

func (s *Store) expireSteps(cutoff int64) []expireStep {
	// A block that holds some records which are to be kept is written anew
	// without the others, when they are a sixteenth of the retention too old.
	late := cutoff - int64(s.opt.Retention/16)
	return []expireStep{
		{
			"SELECT id FROM blocks INDEXED BY blocks_newest WHERE newest < ? LIMIT ?",
			[]any{cutoff, expireBlocks},
			func(w *writer, id int64) error { return w.removeBlock(id) },
		},
		{
			"SELECT id FROM blocks INDEXED BY blocks_newest WHERE newest >= ? AND oldest < ? AND class >= 0 LIMIT 1",
			[]any{cutoff, late},
			func(w *writer, id int64) error { return w.trim(id, cutoff) },
		},
	}
}

// expireOnce takes a step and returns for how many blocks.
func (s *Store) expireOnce(ctx context.Context, step expireStep) (blocks int, err error) {
	rows, err := s.read.QueryContext(ctx, step.query, step.args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return 0, err
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil || len(ids) == 0 {
		return 0, err
	}
	return len(ids), s.change(ctx, func(w *writer) error {
		for _, id := range ids {
			// It may have been merged since it was found.
			if err := step.apply(w, id); err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		return nil
	})
}

// trim writes a block anew without the records before cutoff.
func (w *writer) trim(id, cutoff int64) error {
	row := blockRow{id: id}
	if err := w.block.QueryRowContext(background, id).Scan(&row.lane, &row.records); err != nil {
		return err
	}
	w.merged = w.merged[:0]
	if err := w.takeApart(row, cutoff); err != nil {
		return err
	}
	return w.putBlock(row.lane, w.merged, cutoff)
}

// forgetBefore forgets the IDs of records of which none is kept: all are older
// than cutoff, and Append leaves such a record out if it is given again.
func (w *writer) forgetBefore(cutoff int64) error {
	var oldest sql.NullInt64
	if err := w.oldest.QueryRowContext(background).Scan(&oldest); err != nil {
		return err
	}
	w.s.setOldest(oldest)
	if oldest.Valid {
		cutoff = min(cutoff, oldest.Int64)
	}
	if _, err := w.forgetOld.ExecContext(background, cutoff); err != nil {
		return err
	}
	return w.countRuns(background)
}

// change runs f in a transaction, when the writer's turn has come.
func (s *Store) change(ctx context.Context, f func(w *writer) error) error {
	w, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer func() { s.turn <- w }()
	return w.transaction(ctx, func() error { return f(w) })
}
