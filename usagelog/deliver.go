package usagelog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// A deliverer reads the segments and brings their records to the store. It
// belongs to one goroutine. Records of this Writer and of earlier ones take
// the same way, from the files, so that a store that is slow or down costs no
// memory and a replay is nothing special.
type deliverer struct {
	w *Writer

	// Where reading stands. seg is nil before the first segment and between two.
	seg     *segment
	file    *os.File
	reader  *frameReader
	records uint64 // of seg, as far as reader.end
	ord     uint64 // all records before this one have been read

	items    []item    // read and not resolved, at most BatchRecords
	batch    []Record  // scratch
	window   int       // how many items the next Append gets
	failures int       // in a row
	called   time.Time // when Append was called last
}

// An item is a record that has been read and is neither stored nor lost.
type item struct {
	rec Record
	seg *segment
	ord uint64

	// A record that fails on its own while others before and behind it are
	// taken is at fault itself. failed says that it failed alone since the
	// last success; strikes counts the successes that came between failures.
	failed  bool
	strikes int
}

// maxStrikes is how often a record must fail, each time followed by another
// record's success, until it counts as rejected by a store that does not say so.
const maxStrikes = 8

// deliver is the goroutine that brings the write-ahead file to the store.
func (w *Writer) deliver(d *deliverer) {
	defer func() {
		<-w.spilled
		d.close()
		w.abort() // frees the context
		w.lock.Close()
		close(w.done)
	}()
	for w.storeCtx.Err() == nil {
		last := d.spillEnded()
		err := d.fill()
		switch {
		case err != nil:
			w.opt.OnError(err)
			w.mu.Lock()
			w.stats.WALErrors++
			w.stats.LastWALError = err
			w.mu.Unlock()
			d.pause()
		case len(d.items) > 0 && !d.linger():
			d.append()
		case len(d.items) > 0: // more may have come
		case last:
			return
		default:
			select {
			case <-w.ready:
			case <-w.spilled:
			case <-w.storeCtx.Done():
			}
		}
	}
}

// spillEnded reports whether the segments are final.
func (d *deliverer) spillEnded() bool {
	select {
	case <-d.w.spilled:
		return true
	default:
		return false
	}
}

// pause waits before the next attempt, longer with each failure in a row.
func (d *deliverer) pause() {
	t := time.NewTimer(backoff(d.failures))
	defer t.Stop()
	d.failures++
	select {
	case <-t.C:
	case <-d.w.storeCtx.Done():
	}
}

// linger waits for more records, as Options.StoreLinger says, and reports
// whether it did. A store that fails has its own pauses.
func (d *deliverer) linger() bool {
	w := d.w
	wait := time.Until(d.called.Add(w.opt.StoreLinger))
	if wait <= 0 || len(d.items) >= w.opt.BatchRecords || d.window < w.opt.BatchRecords {
		return false
	}
	w.mu.Lock()
	hurry := w.draining > 0 || w.closed || w.blocked == SpillFull
	w.mu.Unlock()
	if hurry {
		return false
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.hurry:
	case <-w.closing:
	case <-w.storeCtx.Done():
	}
	return true
}

// append gives the store the first items, as many as the window says, and
// draws the consequences.
func (d *deliverer) append() {
	w := d.w
	n := min(d.window, len(d.items))
	d.batch = d.batch[:0]
	for i := range n {
		d.batch = append(d.batch, d.items[i].rec)
	}
	d.called = time.Now()
	ctx, cancel := context.WithTimeout(w.storeCtx, w.opt.StoreTimeout)
	err := w.store.Append(ctx, d.batch)
	cancel()
	clear(d.batch) // hold no texts of stored records
	if err == nil {
		d.failures = 0
		d.window = min(2*d.window, w.opt.BatchRecords)
		d.resolve(n, func(s *Stats) { s.Stored += uint64(n) })
		d.strike()
		return
	}
	if w.storeCtx.Err() != nil {
		return // Close gave up: no fault of the store's
	}
	err = fmt.Errorf("usagelog: store: %w", err)
	w.opt.OnError(err)
	w.mu.Lock()
	w.stats.StoreErrors++
	w.stats.LastStoreError = err
	w.mu.Unlock()
	rejected := errors.Is(err, ErrRejected)
	switch {
	case errors.Is(err, ErrUnavailable):
	case n > 1:
		// A smaller batch tells a record at fault from a store that is down,
		// and is kinder to a store that is overloaded.
		d.window = (n + 3) / 4
	case rejected:
		d.window = min(2*d.window, w.opt.BatchRecords)
		d.resolve(1, func(s *Stats) { s.Lost[Rejected]++ })
		return
	default:
		// Set it aside and try another one: if that is taken, the store is up.
		it := d.items[0]
		it.failed = true
		copy(d.items, d.items[1:])
		d.items[len(d.items)-1] = it
		d.window = 1
	}
	if !rejected {
		d.pause()
	}
}

// strike counts a success against the items that failed before it.
func (d *deliverer) strike() {
	for i := 0; i < len(d.items); i++ {
		it := &d.items[i]
		if !it.failed {
			continue
		}
		it.failed = false
		if it.strikes++; it.strikes < maxStrikes {
			continue
		}
		d.items[0], d.items[i] = d.items[i], d.items[0]
		d.resolve(1, func(s *Stats) { s.Lost[Rejected]++ })
		i = -1 // the items have moved; strikes are not counted twice
	}
}

// resolve removes the first n items, which are stored or lost as count says,
// and drops the segments that have become free.
func (d *deliverer) resolve(n int, count func(*Stats)) {
	w := d.w
	w.mu.Lock()
	count(&w.stats)
	w.stats.Spilled -= uint64(n)
	for _, it := range d.items[:n] {
		it.seg.resolved++
	}
	d.items = slices.Delete(d.items, 0, n) // clears the tail
	d.raiseLowLocked()
	w.mu.Unlock()
	d.drop()
}

// raiseLowLocked tells those who drain how far everything is resolved.
func (d *deliverer) raiseLowLocked() {
	low := d.ord
	for i := range d.items {
		low = min(low, d.items[i].ord)
	}
	d.w.low = low
	if d.w.progress != nil {
		close(d.w.progress)
		d.w.progress = nil
	}
}
