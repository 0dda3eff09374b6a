package usagelog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

	items  []item   // read and not resolved, about BatchRecords, without suspects
	batch  []Record // scratch
	window int      // how many items the next Append gets

	// suspects failed alone, and are tried alone beside the items.
	suspects []item

	failing time.Time // since when every call fails; zero after a success
	called  time.Time // when Append was called last
}

// An item is a record that has been read and is neither stored nor lost.
type item struct {
	rec Record
	seg *segment
	ord uint64

	failed  bool // in this round, alone
	strikes int  // of a suspect
}

const (
	// maxStrikes is how often a suspect must fail while the items of the same
	// round are taken. Whether it is tried before or after them is drawn, so for
	// a store that is as likely to fail with either, each strike is at best an
	// even chance, and a record that is not at fault is lost once in 2^32.
	maxStrikes = 32

	// maxSuspects bounds the calls of a round. A quarter of all records may be
	// of a kind that the store never takes before the others have to wait.
	maxSuspects = 32
)

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
			d.pause(nil)
		case d.linger(): // more may have come
		case len(d.items)+len(d.suspects) > 0:
			d.round()
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

// pause waits before the next attempt: a tenth of the time for which
// everything has failed, so that a store that takes one call in ten is not
// treated as one that is down. It ends early when wake says so.
func (d *deliverer) pause(wake <-chan struct{}) {
	if d.failing.IsZero() {
		d.failing = time.Now()
	}
	t := time.NewTimer(min(max(time.Since(d.failing)/10, 10*time.Millisecond), 5*time.Second))
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-d.w.storeCtx.Done():
	}
}

// linger waits for more records, as Options.StoreLinger says, and reports
// whether it did. A store that fails has its own pauses.
func (d *deliverer) linger() bool {
	w := d.w
	wait := time.Until(d.called.Add(w.opt.StoreLinger))
	full := len(d.items) >= w.opt.BatchRecords || d.window < w.opt.BatchRecords
	if wait <= 0 || full || len(d.items) == 0 {
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

// round gives the store the first items, and each suspect alone, before or
// after them. A suspect that fails while the items are taken gets a strike; one
// that fails with them says nothing, and neither does one that fails without.
func (d *deliverer) round() {
	w := d.w
	if len(d.items) == 0 {
		d.try(len(d.suspects))
		if len(d.suspects) > 0 {
			d.pause(w.ready) // for items to compare them with
		}
		return
	}
	before := 0
	for i := range d.suspects {
		d.suspects[i].failed = false
		before += rand.IntN(2)
	}
	after := len(d.suspects) - before
	d.try(before)
	err := d.append()
	d.try(min(after, len(d.suspects)))
	switch {
	case w.storeCtx.Err() != nil:
	case err == nil:
		d.strike()
	case !errors.Is(err, ErrRejected):
		d.pause(nil)
	}
}

// call gives the store the first n of the items, and resolves them if it takes
// them. An error has been reported, unless Close gave up.
func (d *deliverer) call(items *[]item, n int) error {
	w := d.w
	d.batch = d.batch[:0]
	for i := range n {
		d.batch = append(d.batch, (*items)[i].rec)
	}
	d.called = time.Now()
	ctx, cancel := context.WithTimeout(w.storeCtx, w.opt.StoreTimeout)
	err := w.store.Append(ctx, d.batch)
	cancel()
	clear(d.batch) // hold no texts of stored records
	if err == nil {
		d.failing = time.Time{}
		d.resolve(items, n, func(s *Stats) { s.Stored += uint64(n) })
		return nil
	}
	if w.storeCtx.Err() != nil {
		return err // Close gave up: no fault of the store's
	}
	err = fmt.Errorf("usagelog: store: %w", err)
	w.opt.OnError(err)
	w.mu.Lock()
	w.stats.StoreErrors++
	w.stats.LastStoreError = err
	w.mu.Unlock()
	if n == 1 && errors.Is(err, ErrRejected) {
		d.resolve(items, 1, func(s *Stats) { s.Lost[Rejected]++ })
	}
	return err
}

// append gives the store as many items as the window says. A smaller batch
// tells a record at fault from a store that is down, and is kinder to a store
// that is overloaded. How much smaller is drawn, and so is when to try a whole
// batch again after an item that failed alone: otherwise a store that fails in
// some rhythm could be asked for one record at each of its good moments.
func (d *deliverer) append() error {
	n := min(d.window, len(d.items))
	err := d.call(&d.items, n)
	switch {
	case err == nil || n == 1 && errors.Is(err, ErrRejected):
		d.window = min(4*d.window, d.w.opt.BatchRecords)
	case errors.Is(err, ErrUnavailable) || d.w.storeCtx.Err() != nil:
	case n > 1:
		d.window = 1 + rand.IntN(n/2)
	default:
		it := d.items[0]
		d.items = slices.Delete(d.items, 0, 1)
		if len(d.suspects) < maxSuspects {
			d.suspects = append(d.suspects, it)
		} else {
			d.items = append(d.items, it)
		}
		d.window = 1
		if rand.IntN(4) == 0 {
			d.window = d.w.opt.BatchRecords
		}
	}
	return err
}

// try gives the store the first n suspects, each alone, and marks those that
// fail, which are the last ones then.
func (d *deliverer) try(n int) {
	for range n {
		err := d.call(&d.suspects, 1)
		switch {
		case err == nil:
			// Not the record was at fault, but the store: nobody is suspected.
			d.items = append(d.items, d.suspects...)
			d.suspects = slices.Delete(d.suspects, 0, len(d.suspects))
			d.window = d.w.opt.BatchRecords
			return
		case errors.Is(err, ErrRejected):
			continue
		case errors.Is(err, ErrUnavailable) || d.w.storeCtx.Err() != nil:
			return
		}
		it := d.suspects[0]
		it.failed = true
		d.suspects = append(slices.Delete(d.suspects, 0, 1), it)
	}
}

// strike counts a success of the items against the suspects that failed in the
// same round, and gives up those that have failed so too often.
func (d *deliverer) strike() {
	for i := 0; i < len(d.suspects); {
		it := &d.suspects[i]
		if it.failed {
			it.strikes++
		}
		it.failed = false
		if it.strikes < maxStrikes {
			i++
			continue
		}
		d.w.opt.OnError(fmt.Errorf("usagelog: record %s is given up: the store failed %d times with "+
			"it alone and each time took others", it.rec.ID, maxStrikes))
		d.suspects[0], d.suspects[i] = d.suspects[i], d.suspects[0]
		d.resolve(&d.suspects, 1, func(s *Stats) { s.Lost[Rejected]++ })
	}
}

// resolve removes the first n of the items, which are stored or lost as count
// says, and drops the segments that have become free.
func (d *deliverer) resolve(items *[]item, n int, count func(*Stats)) {
	w := d.w
	w.mu.Lock()
	count(&w.stats)
	w.stats.Spilled -= uint64(n)
	for _, it := range (*items)[:n] {
		it.seg.resolved++
	}
	*items = slices.Delete(*items, 0, n) // clears the tail
	d.raiseLowLocked()
	w.mu.Unlock()
	d.drop()
}

// raiseLowLocked tells those who drain how far everything is resolved.
func (d *deliverer) raiseLowLocked() {
	low := d.ord
	for _, items := range [][]item{d.items, d.suspects} {
		for i := range items {
			low = min(low, items[i].ord)
		}
	}
	d.w.low = low
	if d.w.progress != nil {
		close(d.w.progress)
		d.w.progress = nil
	}
}
