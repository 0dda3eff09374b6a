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
	tx    *sql.Tx
	rows  *sql.Rows
	data  *sql.Stmt
	tally *sql.Stmt // prepared when it is needed
	bloom sql.RawBytes

	// The block that next has found.
	id             int64
	records        int
	newest, oldest int64
	counts         counts
}

const candidatesText = `SELECT id, records, newest, oldest, served, blocked, terms FROM blocks INDEXED BY blocks_newest
	WHERE newest >= ? AND oldest <= ? ORDER BY newest DESC`

func (s *Store) candidates(ctx context.Context, from int64, to bound, terms []term) (*candidates, error) {
	upTo := int64(math.MaxInt64)
	if to.set {
		upTo = to.ns
	}
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	c := &candidates{s: s, terms: terms, tx: tx}
	text := candidatesText
	if len(terms) == 0 {
		text = strings.Replace(text, "terms", "NULL", 1) // read no more than is needed
	}
	if c.rows, err = tx.QueryContext(ctx, text, from, upTo); err == nil {
		c.data, err = tx.PrepareContext(ctx, "SELECT data FROM frames WHERE id = ?")
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
		if err := c.rows.Scan(&c.id, &c.records, &c.newest, &c.oldest, &c.counts.served, &c.counts.blocked, &c.bloom); err != nil {
			return false, err
		}
		if mayHave(c.bloom, c.terms, c.newest) {
			c.counts.other = int64(c.records) - c.counts.served - c.counts.blocked
			return true, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
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
	if c.rows != nil {
		c.rows.Close()
	}
	if c.data != nil {
		c.data.Close()
	}
	if err := c.tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		c.s.opt.Logger.Error("usage log: a reading transaction does not end", "file", c.s.opt.Path, "error", err)
	}
}
