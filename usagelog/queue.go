package usagelog

import (
	"context"
	"fmt"
	"time"
)

// A batch is a run of encoded records on its way to the write-ahead file.
// Records are encoded by the goroutine that brings them: the queue is then
// bounded in bytes, holds no pointer for the garbage collector, keeps no
// request's memory alive, and is written as it stands.
type batch struct {
	buf []byte
	n   uint64
	ack *ack // nil while nobody waits
}

// An ack is the outcome that all who wait for one batch share.
type ack struct {
	done chan struct{}
	err  error // set before done is closed
}

// ackLocked returns the batch's ack. Writer.mu is held.
func (b *batch) ackLocked() *ack {
	if b.ack == nil {
		b.ack = &ack{done: make(chan struct{})}
	}
	return b.ack
}

func (a *ack) wait(ctx context.Context) error {
	select {
	case <-a.done:
		return a.err
	default:
	}
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return fmt.Errorf("usagelog: not acknowledged yet, still being recorded: %w", ctx.Err())
	}
}

// signal raises c, a channel with room for one, without waiting.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// enqueue normalises r, numbers it and adds it to the queue. With wait it
// returns the ack of its batch and hurries the batch along.
func (w *Writer) enqueue(r *Record, wait bool) (*ack, error) {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	*r = r.Normalize()
	size := frameLen(r)

	w.mu.Lock()
	w.stats.Accepted++
	cause := w.blocked
	if w.closed {
		cause = Closed
	}
	b := w.front
	if w.closed || len(b.buf)+size > w.opt.QueueBytes {
		w.stats.Lost[cause]++
		w.mu.Unlock()
		return nil, &LostError{Cause: cause}
	}
	w.seq++
	r.ID = newRecordID(w.epoch, w.seq)
	was := len(b.buf)
	b.buf = appendFrame(b.buf, r)
	b.n++
	w.stats.Queued++
	var a *ack
	if wait {
		a = b.ackLocked()
	}
	half := w.opt.QueueBytes / 2
	hurry := wait || (was < half && len(b.buf) >= half)
	w.mu.Unlock()

	if was == 0 {
		signal(w.wake)
	}
	if hurry {
		signal(w.urgent)
	}
	return a, nil
}

// takeBatch takes what is queued, leaving an empty queue. It returns nil when
// nothing is queued.
func (w *Writer) takeBatch() *batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.front
	if b.n == 0 {
		return nil
	}
	w.front, w.spare, w.inflight = w.spare, nil, b
	return b
}

// finishBatch answers those who wait for b and takes it back. Writer.mu is held.
func (w *Writer) finishBatchLocked(b *batch, err error) {
	if b.ack != nil {
		b.ack.err = err
		close(b.ack.done)
		b.ack = nil
	}
	w.stats.Queued -= b.n
	b.buf, b.n = b.buf[:0], 0
	w.spare, w.inflight = b, nil
}
