package logstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Stats are counts of what the file holds.
type Stats struct {
	Records int64     // kept, those that retention has not deleted yet included
	Blocks  int64     // that hold them
	Bytes   int64     // of the records as they are stored, without the rest of the file
	Oldest  time.Time // of the records; zero when there are none

	// Damage that was met since Open: reading meets it, not looking for it.
	DamagedBlocks  int64
	DamagedRecords int64 // that could not be read
}

// Stats returns the counts of this moment. It reads no file.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.DamagedBlocks = int64(len(s.damaged))
	for _, n := range s.damaged {
		st.DamagedRecords += int64(n)
	}
	return st
}

// count sets the counts from the file.
func (s *Store) count(ctx context.Context, w *writer) error {
	var st Stats
	var oldest sql.NullInt64
	rows, err := s.read.QueryContext(ctx, "SELECT lane / 8, count(*), sum(records), sum(bytes), min(oldest) FROM blocks GROUP BY 1")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var of Stats
		var node, first int64
		if err := rows.Scan(&node, &of.Blocks, &of.Records, &of.Bytes, &first); err != nil {
			return err
		}
		st.Blocks, st.Records, st.Bytes = st.Blocks+of.Blocks, st.Records+of.Records, st.Bytes+of.Bytes
		if !oldest.Valid || first < oldest.Int64 {
			oldest = sql.NullInt64{Int64: first, Valid: true}
		}
		w.bytes.stored[node] = of.Bytes
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if err := w.countRuns(ctx); err != nil {
		return err
	}
	w.runs.end(true)
	s.mu.Lock()
	s.stats = st
	s.mu.Unlock()
	s.setOldest(oldest)
	return nil
}

func (s *Store) setOldest(ns sql.NullInt64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stats.Oldest = (time.Time{}); ns.Valid {
		s.stats.Oldest = time.Unix(0, ns.Int64).UTC()
	}
}

// add adds what a transaction has added.
func (s *Store) add(delta Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Records += delta.Records
	s.stats.Blocks += delta.Blocks
	s.stats.Bytes += delta.Bytes
	if s.stats.Oldest.IsZero() || !delta.Oldest.IsZero() && delta.Oldest.Before(s.stats.Oldest) {
		s.stats.Oldest = delta.Oldest
	}
}

// load reads a block. damaged says that some of its records could not be read,
// which has been counted and logged.
func (s *Store) load(ctx context.Context, data *sql.Stmt, id int64, records int) (b *block, damaged bool, err error) {
	raw, err := readBlob(ctx, data, id)
	if err != nil && !isDamage(err) {
		return nil, false, err
	}
	b = readData(raw, records)
	if lost := records - b.len(); lost > 0 {
		s.report(id, lost, records, err)
		return b, true, nil
	}
	return b, false, nil
}

// isDamage reports whether err says that the file is damaged, rather than that
// it cannot be read now.
func isDamage(err error) bool {
	var fault *sqlite.Error
	return errors.Is(err, sql.ErrNoRows) || errors.As(err, &fault) && fault.Code()&0xff == sqlite3.SQLITE_CORRUPT
}

// readBlob runs a query for one blob by its ID.
func readBlob(ctx context.Context, query *sql.Stmt, id int64) ([]byte, error) {
	rows, err := query.QueryContext(ctx, id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, cmp.Or(rows.Err(), sql.ErrNoRows)
	}
	var b []byte
	if err := rows.Scan(&b); err != nil {
		return nil, err
	}
	return b, rows.Close()
}

// report counts a damaged block, and logs it when it is met first.
func (s *Store) report(id int64, lost, records int, cause error) {
	s.mu.Lock()
	_, known := s.damaged[id]
	s.damaged[id] = lost
	s.mu.Unlock()
	if !known {
		s.opt.Logger.Error("usage log: a block is damaged: what can be read of it is shown",
			"file", s.opt.Path, "block", id, "records", records, "lost", lost, "cause", cause)
	}
}
