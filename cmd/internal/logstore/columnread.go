package logstore

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A columnStatement reads some columns of a block.
type columnStatement struct {
	columns []int
	stmt    *sql.Stmt
}

// A columnReader reads the columns of one block after another.
type columnReader struct {
	wanted []int // of the present block, in the order in which they will be asked for

	statements []columnStatement
	rows       *sql.Rows
	block      int64 // whose columns rows has
	left       []int // of them, from the one on that was asked for last
	row        int64 // where rows is; 0 before the first row, -1 behind the last
	data       sql.RawBytes

	kinds   []byte // the column of kinds, which is asked for twice
	kindsOf int64  // of this block
}

// column returns a column of the present block, or nil if it is not there. The bytes
// are good until the next call. One query reads the wanted columns one after another,
// as far as they are asked for: to begin one costs as much as to read a column.
func (c *candidates) column(column int) ([]byte, error) {
	r := &c.read
	if column == kindColumn && r.kindsOf == c.id {
		return r.kinds, nil
	}
	at := slices.Index(r.left, column)
	if r.block != c.id || at < 0 {
		if err := c.begin(column); err != nil {
			return nil, err
		}
		at = 0
	}
	r.left = r.left[at:]
	for r.row != columnID(c.id, column) {
		// A row of a column that comes later shows that this one is missing.
		if r.row < 0 || r.row > 0 && slices.Contains(r.left[1:], int(r.row%columnsPerBlock)) {
			return nil, nil
		}
		if !r.rows.Next() {
			r.row = -1
			if err := r.rows.Err(); err != nil {
				r.block = -1 // the next column has a query of its own
				if !isDamage(err) {
					return nil, err
				}
			}
			return nil, nil // the records will tell
		}
		if err := r.rows.Scan(&r.row, &r.data); err != nil {
			return nil, err
		}
	}
	if column == kindColumn {
		r.kinds, r.kindsOf = append(r.kinds[:0], r.data...), c.id
		return r.kinds, nil
	}
	return r.data, nil
}

// begin begins to read the columns that are wanted from this one on.
func (c *candidates) begin(column int) (err error) {
	r := &c.read
	from := max(slices.Index(r.wanted, column), 0)
	r.left = append(r.left[:0], r.wanted[from:]...)
	if len(r.left) == 0 || r.left[0] != column {
		r.left = append(r.left[:0], column)
	}
	if err := r.end(); err != nil {
		return err
	}
	statement, err := c.statement()
	if err != nil {
		return err
	}
	r.block, r.row = c.id, 0
	r.rows, err = statement.QueryContext(background, columnID(c.id, 0))
	if err != nil && isDamage(err) {
		r.block, r.row, r.rows = -1, -1, nil
		return nil
	}
	return err
}

// statement returns the statement that reads the columns that are left.
func (c *candidates) statement() (*sql.Stmt, error) {
	r := &c.read
	for i := range r.statements {
		if slices.Equal(r.statements[i].columns, r.left) {
			return r.statements[i].stmt, nil
		}
	}
	var text []string
	for _, column := range r.left {
		text = append(text, fmt.Sprintf("SELECT id, data FROM columns WHERE id = ?1 + %d", column))
	}
	stmt, err := c.tx.PrepareContext(background, strings.Join(text, " UNION ALL "))
	if err == nil {
		r.statements = append(r.statements, columnStatement{slices.Clone(r.left), stmt})
	}
	return stmt, err
}

// end ends the query of a block.
func (r *columnReader) end() error {
	if r.rows == nil {
		return nil
	}
	err := r.rows.Close()
	r.rows = nil
	if err != nil && isDamage(err) {
		return nil
	}
	return err
}

func (r *columnReader) close() error {
	err := r.end()
	for _, s := range r.statements {
		err = errors.Join(err, s.stmt.Close())
	}
	return err
}
