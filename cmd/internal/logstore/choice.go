package logstore

import (
	"bytes"
	"cmp"
	"database/sql"
	"encoding/binary"

	"github.com/ipallow/ipallow/usagelog"
)

// A plan is what a filter asks of columns.
type plan struct {
	f       usagelog.Filter
	kinds   bool // it asks for a method, a status, a verdict or an outcome
	columns []columnTest
	request term // 0: any

	known map[string]kind // by their values: a log has few
}

// A columnTest chooses among the values of a column.
type columnTest struct {
	column int
	match  func(value []byte) bool
	prefix []byte // instead, of the column of paths
}

func newPlan(f *usagelog.Filter) *plan {
	p := &plan{f: *f, known: make(map[string]kind)}
	p.kinds = f.Method != "" || f.Status != 0 || f.StatusClass != 0 || f.Verdict != nil || f.Outcome != usagelog.AnyOutcome
	if id := f.KeyID; id != "" {
		term := binary.LittleEndian.AppendUint64(nil, uint64(keyTerm(id)))
		p.columns = append(p.columns, columnTest{column: keyColumn, match: func(v []byte) bool { return bytes.Equal(v, term) }})
	}
	if f.ClientNet.IsValid() {
		first := f.ClientNet.Masked().Addr().AsSlice()
		whole, rest := f.ClientNet.Bits()/8, f.ClientNet.Bits()%8
		if rest != 0 {
			rest = 8 - rest
		}
		p.columns = append(p.columns, columnTest{column: addrColumn, match: func(v []byte) bool {
			return len(v) == len(first) && bytes.HasPrefix(v, first[:whole]) && (rest == 0 || v[whole]>>rest == first[whole]>>rest)
		}})
	}
	if f.PathPrefix != "" {
		p.columns = append(p.columns, columnTest{column: pathColumn, prefix: []byte(f.PathPrefix)})
	}
	if f.RequestID != "" {
		p.request = requestTerm(f.RequestID)
	}
	return p
}

// byKind reports whether the plan asks for nothing else.
func (p *plan) byKind() bool { return len(p.columns) == 0 && p.request == 0 }

// maxKnown bounds what a plan keeps: a client chooses its method.
const maxKnown = 4096

// kind returns what a value of the column of kinds means.
func (p *plan) kind(v []byte) kind {
	k, ok := p.known[string(v)]
	if !ok {
		k = readKind(v, &p.f)
		if len(p.known) < maxKnown {
			p.known[string(v)] = k
		}
	}
	return k
}

// A choice says which records of a block a filter chooses, but for their times.
type choice struct {
	known bool   // otherwise the records must be read
	some  bool   // there may be any
	marks []byte // 1 or 0 by record; empty: it chooses each, or each of its kinds
}

// choose chooses among the records of the present block by its columns.
func (c *candidates) choose() error {
	ch := &c.choice
	*ch = choice{known: true, some: true, marks: ch.marks[:0]}
	p := c.plan
	kinds := p.kinds // it leaves out any of the block's
	known := false   // what kinds the block has
	if p.kinds {
		all, none := true, true
		known = eachKind(c.kinds, func(v []byte, _ int64) {
			matches := p.kind(v).chosen
			all, none = all && matches, none && !matches
		})
		if known && none {
			ch.some = false
			return nil
		}
		kinds = !known || !all
	}
	if c.class != classes {
		ch.known = !kinds && len(p.columns) == 0 && p.request == 0
		return nil
	}
	if known && p.byKind() {
		return nil // countChosen looks at the kinds anyway
	}
	// The smallest column first: where it leaves nothing, no other is read.
	if kinds {
		t := columnTest{column: kindColumn, match: func(v []byte) bool { return p.kind(v).chosen }}
		if ok, err := c.test(&t); !ok || err != nil {
			return err
		}
	}
	for i := range p.columns {
		if ok, err := c.test(&p.columns[i]); !ok || err != nil {
			return err
		}
	}
	if p.request != 0 {
		b, err := c.column(requestColumn)
		if err != nil {
			return err
		}
		bloom, ok := unsealed(b)
		ch.some = !ok || len(bloom) > 0 && mayHave(bloom, []term{p.request}, c.newest)
		ch.known = !ch.some
	}
	return nil
}

// test leaves of the choice what a column has the right value for. It reports
// whether more can be left out.
func (c *candidates) test(t *columnTest) (more bool, err error) {
	ch := &c.choice
	b, err := c.column(t.column)
	if err != nil {
		return false, err
	}
	col := &c.coded
	c.match = c.match[:0]
	if !col.read(b, c.records) {
		ch.known = false
		return false, nil
	}
	n := 0
	note := func(matches bool) {
		m := byte(0)
		if matches {
			m = 1
			n++
		}
		c.match = append(c.match, m)
	}
	if t.column == pathColumn {
		col.eachPath(t.prefix, note)
	} else {
		col.each(func(v []byte) { note(t.match(v)) })
	}
	match := c.match
	switch {
	case n == 0:
		ch.some = false
		return false, nil
	case n == len(match):
		return true, nil
	}
	if len(ch.marks) == 0 {
		for range c.records {
			ch.marks = append(ch.marks, 1)
		}
	}
	left := byte(0)
	marks := ch.marks
	if col.wide {
		for i := range marks {
			marks[i] &= match[uint16(col.codes[2*i])|uint16(col.codes[2*i+1])<<8]
			left |= marks[i]
		}
	} else {
		for i := range marks {
			marks[i] &= match[col.codes[i]]
			left |= marks[i]
		}
	}
	ch.some = left != 0
	return ch.some, nil
}

// column returns a column of the present block, or nil if it is not there. The
// bytes are good until the next call.
func (c *candidates) column(column int) ([]byte, error) {
	if c.columns == nil {
		var err error
		if c.columns, err = c.tx.PrepareContext(background, "SELECT data FROM columns WHERE id = ?"); err != nil {
			return nil, err
		}
	}
	if c.open != nil {
		if err := c.open.Close(); err != nil {
			return nil, err
		}
	}
	var err error
	if c.open, err = c.columns.QueryContext(background, columnID(c.id, column)); err != nil {
		return nil, err
	}
	var b sql.RawBytes
	if c.open.Next() {
		err = c.open.Scan(&b)
	}
	if err = cmp.Or(err, c.open.Err()); err != nil && isDamage(err) {
		return nil, nil // the records will tell
	}
	return b, err
}
