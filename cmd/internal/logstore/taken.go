package logstore

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/ipallow/ipallow/usagelog"
)

// A run is a row of the table taken: the numbers first to last of one Writer,
// all of them taken. No two runs of a Writer overlap or touch.
type run struct {
	first, last uint64
	newest      int64 // time of the newest record
}

// SQLite's integers have a sign.
func signed(n uint64) int64   { return int64(n ^ 1<<63) }
func unsigned(n int64) uint64 { return uint64(n) ^ 1<<63 }

func splitID(id usagelog.RecordID) (epoch, n uint64) {
	return binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
}

// fresh leaves of the entries, which come last first, those whose IDs were not
// taken before, of each ID the first in the batch, and takes their IDs. It uses
// entries' memory.
func (w *writer) fresh(entries []entry) ([]entry, error) {
	w.byID = w.byID[:0]
	for i := len(entries) - 1; i >= 0; i-- {
		w.byID = append(w.byID, int32(i))
	}
	id := func(i int32) usagelog.RecordID { return entries[i].rec.ID() }
	// Nearly always they are in order already: a Writer numbers them.
	slices.SortStableFunc(w.byID, func(a, b int32) int { return id(a).Compare(id(b)) })

	dropped := false
	for i := 0; i < len(w.byID); {
		epoch, first := splitID(id(w.byID[i]))
		r := run{first: first, last: first, newest: entries[w.byID[i]].ns}
		j := i + 1
		for ; j < len(w.byID); j++ {
			e := &entries[w.byID[j]]
			ep, n := splitID(e.rec.ID())
			if ep != epoch || n-r.last > 1 {
				break
			}
			if n == r.last { // again in the same batch
				e.rec, dropped = nil, true
				continue
			}
			r.last, r.newest = n, max(r.newest, e.ns)
		}
		old, err := w.takeRun(epoch, r)
		if err != nil {
			return nil, err
		}
		for _, k := range w.byID[i:j] {
			if len(old) == 0 {
				break
			}
			if e := &entries[k]; e.rec != nil {
				_, n := splitID(e.rec.ID())
				if slices.ContainsFunc(old, func(o run) bool { return o.first <= n && n <= o.last }) {
					e.rec, dropped = nil, true
				}
			}
		}
		i = j
	}
	if dropped {
		entries = slices.DeleteFunc(entries, func(e entry) bool { return e.rec == nil })
	}
	return entries, nil
}

// takeRun adds r to the table, and returns the runs there that it overlaps or
// touches.
func (w *writer) takeRun(epoch uint64, r run) (old []run, err error) {
	upTo := r.last
	if upTo < math.MaxUint64 {
		upTo++ // touching
	}
	rows, err := w.taken.QueryContext(background, int64(epoch), signed(upTo))
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var first, last int64
		var o run
		if err := rows.Scan(&first, &last, &o.newest); err != nil {
			rows.Close()
			return nil, err
		}
		o.first, o.last = unsigned(first), unsigned(last)
		if o.last < r.first && r.first-o.last > 1 {
			break // and so are all before it
		}
		old = append(old, o)
	}
	if err := cmp.Or(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	all := r
	for _, o := range old {
		all = run{min(all.first, o.first), max(all.last, o.last), max(all.newest, o.newest)}
	}
	if len(old) == 1 && old[0] == all {
		return old, nil
	}
	for _, o := range old {
		if o.first == all.first {
			continue // replaced
		}
		if _, err := w.forget.ExecContext(background, int64(epoch), signed(o.first)); err != nil {
			return nil, err
		}
		w.runs.added[w.node]--
	}
	if !slices.ContainsFunc(old, func(o run) bool { return o.first == all.first }) {
		w.runs.added[w.node]++
	}
	_, err = w.take.ExecContext(background, int64(epoch), signed(all.first), signed(all.last), all.newest, w.node)
	return old, err
}
