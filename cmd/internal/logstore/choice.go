package logstore

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/ipallow/ipallow/usagelog"
)

// A plan is what a filter asks of columns.
type plan struct {
	f       usagelog.Filter
	kinds   bool // it asks for a method, a status, a verdict or an outcome
	columns []*columnTest
	request term // 0: any

	known map[string]kind // by their values: a log has few
}

// A columnTest chooses among the values of a column.
type columnTest struct {
	column  int
	key     []byte       // of the column of keys: the one that it chooses
	network netip.Prefix // of addresses
	prefix  []byte       // of paths

	// How many blocks it has looked at, of how many of them it left nothing, and how
	// many bytes it read.
	tried, ended, bytes int
}

func newPlan(f *usagelog.Filter) *plan {
	p := &plan{f: *f, known: make(map[string]kind)}
	p.kinds = f.Method != "" || f.Status != 0 || f.StatusClass != 0 || f.Verdict != nil || f.Outcome != usagelog.AnyOutcome
	if p.kinds {
		p.columns = append(p.columns, &columnTest{column: kindColumn})
	}
	if id := f.KeyID; id != "" {
		p.columns = append(p.columns, &columnTest{column: keyColumn, key: binary.LittleEndian.AppendUint64(nil, uint64(keyTerm(id)))})
	}
	if f.ClientNet.IsValid() {
		p.columns = append(p.columns, &columnTest{column: addrColumn, network: f.ClientNet.Masked()})
	}
	if f.PathPrefix != "" {
		p.columns = append(p.columns, &columnTest{column: pathColumn, prefix: []byte(f.PathPrefix)})
	}
	if f.RequestID != "" {
		p.request = requestTerm(f.RequestID)
	}
	return p
}

// byKind reports whether the plan asks for nothing else.
func (p *plan) byKind() bool {
	return p.request == 0 && (len(p.columns) == 0 || len(p.columns) == 1 && p.kinds)
}

// reorder puts first what leaves nothing for the fewest bytes. It is called once for
// every few blocks; a test that comes late is judged by the blocks that came to it.
func (p *plan) reorder() {
	cost := func(t *columnTest) float64 { return float64(t.bytes+1) / (float64(t.ended) + 0.01) }
	slices.SortStableFunc(p.columns, func(a, b *columnTest) int { return cmp.Compare(cost(a), cost(b)) })
}

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

// reorderEvery is how many blocks the order of the columns is kept for.
const reorderEvery = 16

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
		ch.known = !kinds && p.byKind()
		return nil
	}
	kinds = kinds && !(known && p.byKind()) // countChosen looks at them anyway
	c.wantedFor(kinds)
	for _, t := range p.columns {
		if t.column == kindColumn && !kinds {
			continue
		}
		if ok, err := c.test(t); !ok || err != nil {
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

// wantedFor sets which columns of the present block will be read: those of the tests, and
// those that a chart counts by. From time to time it brings the tests in another order.
func (c *candidates) wantedFor(kinds bool) {
	p := c.plan
	if c.chosen++; c.chosen%reorderEvery == 0 {
		p.reorder()
	}
	c.read.wanted = c.read.wanted[:0]
	for _, t := range p.columns {
		if t.column != kindColumn || kinds {
			c.read.wanted = append(c.read.wanted, t.column)
		}
	}
	if c.counting {
		if !kinds {
			c.read.wanted = append(c.read.wanted, kindColumn)
		}
		c.read.wanted = append(c.read.wanted, timeColumn)
	}
}

// test leaves of the choice what a column has the right value for. It reports
// whether more can be left out.
func (c *candidates) test(t *columnTest) (more bool, err error) {
	ch := &c.choice
	b, err := c.column(t.column)
	if err != nil {
		return false, err
	}
	t.tried++
	t.bytes += len(b)
	col := &c.coded
	if !col.read(b, c.records) {
		ch.known = false
		return false, nil
	}
	// The values that are chosen are those from lo up to hi, or those that have a 1.
	lo, hi, n := 0, 0, 0
	match := c.match[:0]
	switch t.column {
	case pathColumn:
		lo, hi = col.prefixed(t.prefix)
		n = hi - lo
	case keyColumn:
		lo, hi = col.of(t.key)
		n = hi - lo
	case addrColumn:
		match, n = col.within(match, t.network)
	default:
		col.each(func(v []byte) {
			m := byte(0)
			if c.plan.kind(v).chosen {
				m = 1
				n++
			}
			match = append(match, m)
		})
	}
	c.match = match
	switch n {
	case 0:
		t.ended++
		ch.some = false
		return false, nil
	case col.n:
		return true, nil
	}
	if len(ch.marks) == 0 {
		ch.marks = slices.Grow(ch.marks, c.records)[:c.records]
		for i := range ch.marks {
			ch.marks[i] = 1
		}
	}
	if len(match) > 0 {
		ch.some = col.mark(ch.marks, match)
	} else {
		ch.some = col.markRange(ch.marks, lo, hi)
	}
	if !ch.some {
		t.ended++
	}
	return ch.some, nil
}

// mark leaves the marks of the records whose values have a 1 in match. It reports
// whether there are any.
func (c *coded) mark(marks, match []byte) bool {
	left := byte(0)
	if c.wide {
		codes := c.codes[:2*len(marks)]
		for i := range marks {
			marks[i] &= match[uint16(codes[2*i])|uint16(codes[2*i+1])<<8]
			left |= marks[i]
		}
		return left != 0
	}
	codes := c.codes[:len(marks)]
	for i := range marks {
		marks[i] &= match[codes[i]]
		left |= marks[i]
	}
	return left != 0
}

// markRange is mark for the values from lo up to hi.
func (c *coded) markRange(marks []byte, lo, hi int) bool {
	left, first, size := byte(0), uint32(lo), uint32(hi-lo)
	within := func(code uint32) byte { // without a branch: 1 where code-first < size
		return byte((uint64(code-first) - uint64(size)) >> 63)
	}
	if c.wide {
		codes := c.codes[:2*len(marks)]
		for i := range marks {
			marks[i] &= within(uint32(codes[2*i]) | uint32(codes[2*i+1])<<8)
			left |= marks[i]
		}
		return left != 0
	}
	codes := c.codes[:len(marks)]
	for i := range marks {
		marks[i] &= within(uint32(codes[i]))
		left |= marks[i]
	}
	return left != 0
}
