package logstore

import (
	"sort"

	"github.com/ipallow/ipallow/cmd/internal/binrec"
)

// A cursor stands at a record of an open block.
type cursor struct {
	ns  int64
	rec binrec.Record
	b   *block
	i   int

	id, oldest int64 // of the block
}

// before reports whether the record of c comes before that of d.
func (c *cursor) before(d *cursor) bool {
	if c.ns != d.ns {
		return c.ns > d.ns
	}
	return c.rec.ID().Compare(d.rec.ID()) > 0
}

// find moves c to the first record from its present one on that the filter
// chooses, or returns false.
func (r *reader) find(c *cursor) bool {
	for ; c.i < c.b.len(); c.i++ {
		c.rec = c.b.at(c.i)
		if c.ns = c.rec.UnixNano(); c.ns < r.from {
			return false
		}
		if c.rec.Match(&r.f) {
			return true
		}
	}
	return false
}

// push adds an open block.
func (r *reader) push(c cursor) {
	if r.to.set {
		c.i = c.b.behind(r.to)
	}
	if !r.find(&c) {
		r.done[c.id] = c.oldest
		return
	}
	r.heap = append(r.heap, c)
	h := r.heap
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

// advance moves the block on top to its next record.
func (r *reader) advance() {
	h := r.heap
	h[0].i++
	if !r.find(&h[0]) {
		r.done[h[0].id] = h[0].oldest
		last := len(h) - 1
		h[0] = h[last]
		h[last] = cursor{} // let its block go
		h = h[:last]
		r.heap = h
	}
	for i := 0; ; {
		down := 2*i + 1
		if down+1 < len(h) && h[down+1].before(&h[down]) {
			down++
		}
		if down >= len(h) || !h[down].before(&h[i]) {
			return
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
}

// behind returns the index of the first record that stands behind p.
func (b *block) behind(p bound) int {
	return sort.Search(b.len(), func(i int) bool {
		rec := b.at(i)
		if ns := rec.UnixNano(); ns != p.ns {
			return ns < p.ns
		}
		return rec.ID().Compare(p.id) < 0
	})
}
