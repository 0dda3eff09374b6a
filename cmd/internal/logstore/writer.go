package logstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/ipallow/ipallow/cmd/internal/binrec"
	"github.com/ipallow/ipallow/usagelog"
)

// A writer is the one connection that changes the database, with its prepared
// statements and its buffers. Whoever holds it has it alone.
type writer struct {
	s    *Store
	db   *sql.DB
	conn *sql.Conn

	stmts                          []*sql.Stmt // all of these
	begin, commit, rollback        *sql.Stmt
	taken, take, forget, forgetOld *sql.Stmt
	class, block, oldest           *sql.Stmt
	insert, insertFrames           *sql.Stmt
	insertColumn                   *sql.Stmt
	frames, markDamaged            *sql.Stmt
	remove, removeFrames           *sql.Stmt
	removeColumns, earlier         *sql.Stmt
	pages, oldestBlocks            *sql.Stmt
	findNode, addNode, forgetMost  *sql.Stmt

	delta Stats // what the transaction adds
	names nodeNames
	bytes perNode // of blocks
	runs  perNode // in the table taken
	node  int64   // whose records are being written

	// Of the batch.
	buf     []byte
	entries []entry
	byID    []int32
	merged  []entry // those of blocks that are merged with it

	// Of the block that is written.
	terms     termSet
	tallies   tallySet
	columns   columnSet
	bloom     []byte
	tallyBlob []byte
	data      []byte
	raw       []byte
}

const classText = "SELECT id, records FROM blocks WHERE lane = ? AND class = ? AND class BETWEEN 0 AND 2 ORDER BY id DESC"

func newWriter(ctx context.Context, s *Store, db *sql.DB) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{
		s: s, db: db, conn: conn, names: nodeNames{make(map[string]int64), make(map[string]int64)}, bytes: newPerNode(), runs: newPerNode(),
	}
	for stmt, text := range map[**sql.Stmt]string{
		&w.begin:    "BEGIN IMMEDIATE",
		&w.commit:   "COMMIT",
		&w.rollback: "ROLLBACK",

		&w.taken:  "SELECT first, last, newest FROM taken WHERE epoch = ? AND first <= ? ORDER BY first DESC",
		&w.take:   "INSERT OR REPLACE INTO taken (epoch, first, last, newest, node) VALUES (?, ?, ?, ?, ?)",
		&w.forget: "DELETE FROM taken WHERE epoch = ? AND first = ?",

		&w.class: classText,
		&w.insert: `INSERT INTO blocks (lane, class, records, newest, oldest, served, blocked, requests, kinds, bytes, terms)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		&w.insertFrames: "INSERT INTO frames (id, data) VALUES (?, ?)",
		&w.insertColumn: "INSERT INTO columns (id, data) VALUES (?, ?)",

		&w.frames:        "SELECT data FROM frames WHERE id = ?",
		&w.remove:        "DELETE FROM blocks WHERE id = ? RETURNING records, bytes, lane",
		&w.removeFrames:  "DELETE FROM frames WHERE id = ?",
		&w.removeColumns: "DELETE FROM columns WHERE id BETWEEN 8 * ?1 AND 8 * ?1 + 7",
		&w.earlier:       earlierText,
		&w.pages:         pagesText,
		&w.oldestBlocks:  oldestText,
		&w.findNode:      findNodeText,
		&w.addNode:       addNodeText,
		&w.forgetMost:    forgetMostText,
		&w.markDamaged:   "UPDATE blocks SET class = -1 WHERE id = ?",

		&w.block:     "SELECT lane, records FROM blocks WHERE id = ? AND class >= 0",
		&w.forgetOld: "DELETE FROM taken WHERE newest < ?",
		&w.oldest:    "SELECT min(oldest) FROM blocks",
	} {
		if *stmt, err = conn.PrepareContext(ctx, text); err != nil {
			return nil, errors.Join(err, w.closeConn())
		}
		w.stmts = append(w.stmts, *stmt)
	}
	return w, nil
}

// closeConn gives the connection back. A statement that was prepared on it and
// is not closed would keep SQLite's connection open behind the pool's back.
func (w *writer) closeConn() error {
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, w.conn.Close())...)
}

func (w *writer) close() error { return errors.Join(w.closeConn(), w.db.Close()) }

// background is the context of statements inside a transaction: they are
// short, and watching a context costs more than most of them.
var background = context.Background()

// transaction runs f in a transaction, which is on the disk when nil is
// returned. After an error it has left no trace, or the disk failed at the last
// moment, and IDs tell.
func (w *writer) transaction(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.delta = Stats{}
	// This may wait for another process.
	if _, err := w.begin.ExecContext(ctx); err != nil {
		return err
	}
	err := f()
	clear(w.merged) // let the blocks go
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		_, err = w.commit.ExecContext(background)
	}
	w.names.end(err == nil)
	w.bytes.end(err == nil)
	w.runs.end(err == nil)
	if err != nil {
		// After some errors SQLite has rolled back by itself.
		w.rollback.ExecContext(background)
		return err
	}
	w.s.add(w.delta)
	return nil
}

// Append implements usagelog.Store. It waits for the disk once. A record of a
// batch of 4096 costs about 1 us of processor time, of a batch of 512 about 2
// (BenchmarkAppend).
func (s *Store) Append(ctx context.Context, records []usagelog.Record) error {
	return s.AppendParts(ctx, []Part{{Records: records}})
}

// AppendParts appends the records of several nodes in one transaction. Those of one
// node become blocks of their own.
func (s *Store) AppendParts(ctx context.Context, parts []Part) error {
	for _, p := range parts {
		for i := range p.Records {
			if p.Records[i].ID.IsZero() {
				return fmt.Errorf("%w: record %d of the batch has no ID; records come from a Writer", usagelog.ErrRejected, i)
			}
		}
	}
	if s.opt.Room != nil {
		if err := s.opt.Room(0); err != nil {
			return fmt.Errorf("%w: %w", usagelog.ErrUnavailable, err)
		}
	}
	w, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer func() { s.turn <- w }()
	return s.explain(ctx, w.append(ctx, parts))
}

// keepBytes is how much memory for a batch a writer keeps for the next one.
const keepBytes = 4 << 20

func (w *writer) append(ctx context.Context, parts []Part) error {
	cutoff := w.s.cutoff()
	err := w.transaction(ctx, func() error {
		for _, p := range parts {
			if err := w.appendPart(p, cutoff); err != nil {
				return err
			}
		}
		_, err := w.bound()
		return err
	})
	if cap(w.buf) > keepBytes {
		w.buf, w.entries, w.byID, w.data = nil, nil, nil, nil
	}
	return err
}

// appendPart writes the records of one node.
func (w *writer) appendPart(p Part, cutoff int64) error {
	w.buf, w.entries = w.buf[:0], w.entries[:0]
	// Backwards: a batch comes nearly oldest first, and a block is newest first.
	for i := len(p.Records) - 1; i >= 0; i-- {
		at := len(w.buf)
		w.buf = binrec.Append(w.buf, &p.Records[i])
		rec := binrec.Record(w.buf[at:])
		if ns := rec.UnixNano(); ns >= cutoff {
			w.entries = append(w.entries, entry{ns, rec})
		}
	}
	if len(w.entries) == 0 {
		return nil
	}
	var err error
	if w.node, err = w.nodeID(p.Node); err != nil {
		return err
	}
	entries, err := w.fresh(w.entries)
	if err != nil || len(entries) == 0 {
		return err
	}
	if err := w.put(entries, cutoff); err != nil {
		return err
	}
	return w.boundRuns()
}
