package logstore

import (
	"context"
	"time"
)

// earlierText finds blocks that an earlier version wrote, the newest first: what
// people look at most is fast again soonest.
const earlierText = `SELECT id, records FROM blocks INDEXED BY blocks_earlier
	WHERE class = -2 AND lane = ? ORDER BY newest DESC LIMIT 64`

// lanes is how many lanes there are.
const lanes = 5

// upgrade writes blocks of an earlier version anew, in small steps, until there
// are none. Until then they are read whole, whatever is asked for.
func (s *Store) upgrade(ctx context.Context) {
	blocks := 0
	begun := s.opt.now()
	for wait := time.Duration(0); ; {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		start := time.Now()
		n, err := s.upgradeOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.opt.Logger.Error("usage log: blocks of an earlier version cannot be written anew, trying again in a minute",
				"file", s.opt.Path, "error", err)
			wait = time.Minute
		case n == 0:
			s.upgrading.Store(false)
			if blocks > 0 {
				s.opt.Logger.Info("usage log: upgraded", "file", s.opt.Path, "blocks", blocks, "took", s.opt.now().Sub(begun))
			}
			return
		default:
			blocks += n
			wait = time.Since(start) // half of the time is for others
		}
	}
}

// upgradeOnce merges some blocks of an earlier version, and returns how many.
func (s *Store) upgradeOnce(ctx context.Context) (blocks int, err error) {
	cutoff := s.cutoff()
	for lane := range lanes {
		err := s.change(ctx, func(w *writer) (err error) {
			blocks, err = w.mergeEarlier(lane, cutoff)
			return err
		})
		if err != nil || blocks > 0 {
			return blocks, err
		}
	}
	return 0, nil
}

// mergeEarlier makes one block of as many of a lane as fit, and returns how many
// there were.
func (w *writer) mergeEarlier(lane int, cutoff int64) (blocks int, err error) {
	rows, err := w.blockRows(w.earlier, lane)
	if err != nil {
		return 0, err
	}
	w.merged = w.merged[:0]
	for _, b := range rows {
		if blocks > 0 && len(w.merged)+b.records > batchRecords {
			break
		}
		b.lane = lane
		if err := w.takeApart(b, cutoff); err != nil {
			return 0, err
		}
		blocks++
	}
	if len(w.merged) == 0 {
		return blocks, nil
	}
	sortEntries(w.merged)
	return blocks, w.putBlock(lane, w.merged, cutoff)
}
