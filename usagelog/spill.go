package usagelog

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// A spiller writes batches to segments. It belongs to one goroutine.
type spiller struct {
	w    *Writer
	next uint64 // number of the next segment
	file segmentFile
	seg  *segment // nil when the next batch begins a new one
}

var errWALFull = errors.New("usagelog: write-ahead files full")

// spill is the goroutine that takes the queue to the write-ahead file.
func (w *Writer) spill(sp *spiller) {
	defer func() {
		sp.seal()
		close(w.spilled)
		signal(w.ready)
	}()
	linger := time.NewTimer(time.Hour)
	linger.Stop()
	for closing := false; !closing; {
		select {
		case <-w.wake:
			if w.opt.Linger > 0 {
				linger.Reset(w.opt.Linger)
				select {
				case <-linger.C:
				case <-w.urgent:
				case <-w.closing:
				}
				linger.Stop()
			}
		case <-w.urgent:
		case <-w.closing:
			closing = true // no record is queued after this
		}
		if b := w.takeBatch(); b != nil {
			sp.write(b)
		}
	}
}

// write brings b to the write-ahead file, trying until it succeeds or Close
// gives up.
func (sp *spiller) write(b *batch) {
	w := sp.w
	for failures := 0; ; failures++ {
		err := sp.append(b)
		if err == nil {
			return
		}
		cause, wait := WALFailed, w.freed
		if err == errWALFull {
			cause = SpillFull
		} else {
			wait = nil
			w.opt.OnError(err)
		}
		w.mu.Lock()
		w.blocked = cause
		signal(w.hurry) // the store makes room
		if cause == WALFailed {
			w.stats.WALErrors++
			w.stats.LastWALError = err
		}
		w.mu.Unlock()
		t := time.NewTimer(backoff(failures))
		select {
		case <-wait:
		case <-t.C:
		case <-w.storeCtx.Done():
			w.mu.Lock()
			w.stats.Lost[cause] += b.n
			w.givenUp += b.n
			w.finishBatchLocked(b, &LostError{Cause: cause})
			w.mu.Unlock()
			t.Stop()
			return
		}
		t.Stop()
	}
}

// backoff returns the pause after a number of failures in a row: 10 ms,
// doubled each time, up to 5 s.
func backoff(failures int) time.Duration {
	return min(10*time.Millisecond<<min(failures, 20), 5*time.Second)
}

// append writes b to the current segment in one write, makes it durable if
// that is asked for, and only then publishes it.
func (sp *spiller) append(b *batch) error {
	w := sp.w
	w.mu.Lock()
	full := w.stats.WALBytes+int64(segmentHead+len(b.buf)) > w.opt.WALBytes
	w.mu.Unlock()
	if full {
		// The store can free this segment only when nothing more comes to it.
		sp.seal()
		return errWALFull
	}
	if w.opt.Room != nil {
		if err := w.opt.Room(); err != nil {
			// What is there goes to the store, which may make room.
			sp.seal()
			return fmt.Errorf("usagelog: write-ahead file: %w", err)
		}
	}
	if sp.seg == nil {
		if err := sp.begin(); err != nil {
			return err
		}
	}
	_, err := sp.file.Write(b.buf)
	if err == nil && w.opt.Fsync {
		err = sp.file.Sync()
	}
	if err != nil {
		// After a failed write the end of the file is unknown, and after a
		// failed fsync the kernel may have dropped the pages and call the next
		// fsync a success. So the batch goes to a new file, whole.
		sp.abandon()
		return fmt.Errorf("usagelog: write-ahead file: %w", err)
	}
	w.mu.Lock()
	sp.seg.size += int64(len(b.buf))
	sp.seg.records += b.n
	w.stats.WALBytes += int64(len(b.buf))
	w.stats.Spilled += b.n
	w.ord += b.n
	w.blocked = QueueFull
	size := sp.seg.size
	w.finishBatchLocked(b, nil)
	w.mu.Unlock()
	if size >= w.segmentBytes() {
		sp.seal()
	}
	signal(w.ready)
	return nil
}

// segmentBytes is the size at which a segment is followed by the next. Small
// segments give their space back sooner and leave less to replay.
func (w *Writer) segmentBytes() int64 {
	return min(w.opt.WALBytes/8, 8<<20)
}

// begin creates the next segment.
func (sp *spiller) begin() error {
	w := sp.w
	name := segmentName(w.dir, sp.next)
	sp.next++
	f, err := w.create(name)
	if err != nil {
		return fmt.Errorf("usagelog: write-ahead file: %w", err)
	}
	_, err = f.Write(append([]byte(segmentMagic), segmentVersion))
	if err == nil && w.opt.Fsync {
		err = syncDir(w.dir)
	}
	if err != nil {
		f.Close()
		os.Remove(name)
		return fmt.Errorf("usagelog: write-ahead file: %w", err)
	}
	w.mu.Lock()
	sp.file = f
	sp.seg = &segment{name: name, size: int64(segmentHead)}
	w.segments = append(w.segments, sp.seg)
	w.stats.WALBytes += sp.seg.size
	w.mu.Unlock()
	return nil
}

// seal ends the current segment, if there is one.
func (sp *spiller) seal() {
	if sp.seg == nil {
		return
	}
	// What was acknowledged has been written, and synced if that was promised:
	// an error here takes nothing back.
	sp.file.Close()
	sp.w.mu.Lock()
	sp.seg.sealed = true
	sp.w.mu.Unlock()
	sp.seg, sp.file = nil, nil
	signal(sp.w.ready)
}

// abandon ends the current segment at its last whole batch. If the rest cannot
// be cut off, a later replay finds a torn tail, or records that are also in
// the next segment under the same IDs.
func (sp *spiller) abandon() {
	seg := sp.seg
	sp.file.Truncate(seg.size)
	sp.seal()
	if seg.records > 0 {
		return
	}
	// A disk that fails for long must not fill the directory with empty files
	// while the store is stuck.
	if os.Remove(seg.name) != nil {
		return // the deliverer will try
	}
	sp.w.forget(seg)
}

// forget takes a removed segment off the books, once.
func (w *Writer) forget(seg *segment) {
	w.mu.Lock()
	if i := slices.Index(w.segments, seg); i >= 0 {
		w.segments = slices.Delete(w.segments, i, i+1)
		w.stats.WALBytes -= seg.size
	}
	w.mu.Unlock()
	signal(w.freed)
}
