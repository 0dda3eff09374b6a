package logstore

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
)

// candidates are the blocks that may have records between two times and for a
// filter, the one with the newest record first, in one transaction.
type candidates struct {
	s     *Store
	terms []term
	plan  *plan // nil: blocks are chosen by their rows alone
	conn  *sql.Conn
	tx    *sql.Tx
	rows  *sql.Rows
	data  *sql.Stmt
	tally *sql.Stmt // prepared when it is needed
	bloom sql.RawBytes
	read  columnReader

	counting bool // for a chart, which reads more columns than a filter
	chosen   int  // blocks that were chosen among

	// The block that next has found.
	id             int64
	records        int
	class          int
	newest, oldest int64
	counts         counts
	requests       sql.NullInt64
	kinds          sql.RawBytes
	choice         choice // among its records, if there is a plan

	coded  coded
	match  []byte
	times  []int64
	places []int8 // of each kind: which of a Bucket's counts it is
}

const candidatesText = `SELECT id, records, class, newest, oldest, served, blocked, requests, kinds, terms
	FROM blocks INDEXED BY blocks_newest WHERE newest >= ? AND oldest <= ? ORDER BY newest DESC`

func (s *Store) candidates(ctx context.Context, db *sql.DB, from int64, to bound, terms []term, p *plan) (*candidates, error) {
	upTo := int64(math.MaxInt64)
	if to.set {
		upTo = to.ns
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	// Each statement is short, and watching a context costs more than most of
	// them: next looks at it once a block.
	tx, err := conn.BeginTx(background, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c := &candidates{s: s, terms: terms, plan: p, conn: conn, tx: tx}
	text := candidatesText // read no more than is needed
	if len(terms) == 0 {
		text = strings.Replace(text, "terms", "NULL", 1)
	}
	if p == nil || !p.kinds {
		text = strings.Replace(text, "kinds", "NULL", 1)
	}
	if c.rows, err = tx.QueryContext(background, text, from, upTo); err == nil {
		c.data, err = tx.PrepareContext(background, "SELECT data FROM frames WHERE id = ?")
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// next goes to the next block, if there is one.
func (c *candidates) next(ctx context.Context) (bool, error) {
	for c.rows.Next() {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if err := c.rows.Scan(&c.id, &c.records, &c.class, &c.newest, &c.oldest,
			&c.counts.served, &c.counts.blocked, &c.requests, &c.kinds, &c.bloom); err != nil {
			return false, err
		}
		if mayHave(c.bloom, c.terms, c.newest) {
			all := int64(c.records)
			if c.requests.Valid {
				all = c.requests.Int64
			}
			c.counts.other = all - c.counts.served - c.counts.blocked
			if c.plan == nil {
				return true, nil
			}
			if err := c.choose(); err != nil || c.choice.some {
				return err == nil, err
			}
		}
	}
	return false, c.rows.Err()
}

// load reads the block.
func (c *candidates) load(ctx context.Context) (*block, error) {
	b, _, err := c.s.load(ctx, c.data, c.id, c.records)
	return b, err
}

// within reports whether all records of the block are in the time of r.
func (c *candidates) within(r *reader) bool {
	return c.oldest >= r.from && (!r.to.set || c.newest < r.to.ns)
}

// tallies returns the tallies of a key in the block. ok is false when the
// records must be read.
func (c *candidates) tallies(ctx context.Context, key term) (found []tally, ok bool, err error) {
	ok, err = c.eachTallied(ctx, func(k term, addrs []byte) bool {
		if k == key {
			found = readTallies(addrs, c.newest)
		}
		return k != key
	})
	return found, ok, err
}

// blocked calls f for each key of the block with the number of its blocked
// requests. ok is false, and f was not called, when the records must be read.
func (c *candidates) blocked(ctx context.Context, f func(key term, n int64)) (ok bool, err error) {
	return c.eachTallied(ctx, func(k term, addrs []byte) bool {
		n := int64(0)
		for _, t := range readTallies(addrs, c.newest) {
			n += t.blocked
		}
		f(k, n)
		return true
	})
}

// eachTallied calls f with the tallies of each key in the block, until it
// returns false. ok is false when the records must be read.
func (c *candidates) eachTallied(ctx context.Context, f func(key term, addrs []byte) bool) (ok bool, err error) {
	if c.records < blockRecords {
		return false, nil
	}
	if c.tally == nil {
		if c.tally, err = c.tx.PrepareContext(ctx, "SELECT data FROM columns WHERE id = ?"); err != nil {
			return false, err
		}
	}
	b, err := readBlob(ctx, c.tally, columnID(c.id, tallyColumn))
	if err != nil {
		if isDamage(err) {
			return false, nil // load will tell of it
		}
		return false, err
	}
	return eachTallied(b, f), nil
}

func (c *candidates) close() {
	if c.tally != nil {
		c.tally.Close()
	}
	c.read.close()
	if c.rows != nil {
		c.rows.Close()
	}
	if c.data != nil {
		c.data.Close()
	}
	if err := c.tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		c.s.opt.Logger.Error("usage log: a reading transaction does not end", "file", c.s.opt.Path, "error", err)
	}
	c.conn.Close()
}
