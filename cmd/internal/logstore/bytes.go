package logstore

import (
	"context"
	"database/sql"
	"errors"
)

// MinMaxBytes is the smallest bound of bytes: room for some of the largest blocks.
const MinMaxBytes = 8 << 20

const (
	// One page in 16 below the bound stays free, so that new blocks take the
	// place of those that went and the file does not grow past it.
	slack = 16

	// boundBlocks is how many blocks are deleted in one transaction.
	boundBlocks = 32

	// vacuumPages is how many pages are given back in one transaction: an Append
	// waits for no more.
	vacuumPages = 256

	pagesText = "SELECT page_count, freelist_count, page_size, auto_vacuum FROM pragma_page_count, pragma_freelist_count, pragma_page_size, pragma_auto_vacuum"
)

// A usage says what of the file is used.
type usage struct{ pages, free, pageSize, autoVacuum int64 }

func (u usage) size() int64 { return u.pages * u.pageSize }
func (u usage) used() int64 { return (u.pages - u.free) * u.pageSize }

func (w *writer) usage() (u usage, err error) {
	err = w.pages.QueryRowContext(background).Scan(&u.pages, &u.free, &u.pageSize, &u.autoVacuum)
	return u, err
}

// bound deletes blocks while the file has more than it may, but only some of them at
// once, and reports whether there are more. It is called in a transaction.
//
// They are the oldest of the node that has most, so that a node that invents records
// pushes out its own, and no other one's that are fewer.
func (w *writer) bound() (more bool, err error) {
	most := w.s.opt.MaxBytes
	if most == 0 {
		return false, nil
	}
	removed, more, err := w.removeMost(most - most/slack)
	if err != nil || removed == 0 {
		return false, err
	}
	var oldest sql.NullInt64
	if err := w.oldest.QueryRowContext(background).Scan(&oldest); err != nil {
		return false, err
	}
	w.s.setOldest(oldest)
	return more, nil
}

// removeMost is bound, and returns how many blocks it has deleted.
func (w *writer) removeMost(most int64) (removed int, more bool, err error) {
	for removed < boundBlocks {
		u, err := w.usage()
		if err != nil || u.used() <= most {
			return removed, false, err
		}
		node, _ := w.bytes.largest()
		rows, err := w.blockRows(w.oldestBlocks, node)
		if err != nil || len(rows) == 0 {
			return removed, false, err
		}
		for _, b := range rows {
			if err := w.removeBlock(b.id); err != nil {
				return removed, false, err
			}
			removed++
			if now, _ := w.bytes.largest(); now != node {
				break
			}
			if u, err = w.usage(); err != nil || u.used() <= most {
				return removed, false, err
			}
		}
	}
	return removed, true, nil
}

// shrink brings the file down to the bound, and gives the space of what was deleted
// back to the disk, in small steps.
func (s *Store) shrink(ctx context.Context) error {
	for more := true; more; {
		err := s.change(ctx, func(w *writer) (err error) {
			more, err = w.bound()
			return err
		})
		if err != nil {
			return err
		}
	}
	for {
		var u usage
		err := s.alone(ctx, func(w *writer) (err error) {
			if u, err = w.usage(); err != nil || !s.worthwhile(u) {
				return err
			}
			return w.exec("PRAGMA incremental_vacuum(256)")
		})
		if err != nil {
			return err
		}
		if !s.worthwhile(u) {
			break
		}
	}
	return s.vacuum(ctx)
}

// worthwhile reports whether free pages should be given back: more than an eighth of
// the file and 1 MiB, or any where the file is larger than it may be.
func (s *Store) worthwhile(u usage) bool {
	if u.autoVacuum == 0 || u.free == 0 {
		return false
	}
	return u.free > max(u.pages/8, vacuumPages) || s.opt.MaxBytes > 0 && u.size() > s.opt.MaxBytes
}

// vacuum writes a file that an earlier version made anew, once, so that it can give
// back space from then on. That needs room for what it holds, twice. Appends wait
// meanwhile: their records are in the files before the store.
func (s *Store) vacuum(ctx context.Context) error {
	return s.alone(ctx, func(w *writer) error {
		u, err := w.usage()
		if err != nil || u.autoVacuum != 0 || s.upgrading.Load() {
			return err
		}
		if s.opt.Room != nil {
			if err := s.opt.Room(2 * u.used()); err != nil {
				return nil // later
			}
		}
		s.opt.Logger.Info("usage log: the file is written anew, so that it can shrink", "file", s.opt.Path, "bytes", u.used())
		return errors.Join(w.exec("PRAGMA auto_vacuum = INCREMENTAL"), w.exec("VACUUM"), w.exec("PRAGMA wal_checkpoint(TRUNCATE)"))
	})
}

// alone runs f outside a transaction, when the writer's turn has come.
func (s *Store) alone(ctx context.Context, f func(w *writer) error) error {
	w, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer func() { s.turn <- w }()
	return f(w)
}

// exec runs a statement to its end, whatever it returns.
func (w *writer) exec(text string) error {
	rows, err := w.conn.QueryContext(background, text)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}
