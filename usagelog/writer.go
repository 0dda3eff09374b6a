package usagelog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ipallow/ipallow/internal/filelock"
)

var (
	// ErrClosed is returned by the methods of a Writer that was closed.
	ErrClosed = errors.New("usagelog: the Writer is closed")

	// ErrLocked is wrapped by the error of Open for a directory that another
	// Writer uses.
	ErrLocked = errors.New("usagelog: directory in use by another Writer: give each its own, or stop the other")
)

// A Writer takes records and brings them to a Store through a write-ahead
// file. Open makes one; the zero Writer is not usable. All methods may be
// called from any number of goroutines, also during and after Close.
type Writer struct {
	dir    string
	store  Store
	opt    Options
	epoch  uint64
	create func(name string) (segmentFile, error)
	lock   *os.File

	wake    chan struct{} // the queue is no longer empty
	urgent  chan struct{} // somebody waits, or the queue is half full
	ready   chan struct{} // there is something new for the store
	freed   chan struct{} // a segment was removed
	hurry   chan struct{} // somebody waits for the store
	closing chan struct{} // closed by Close
	spilled chan struct{} // closed when the spilling goroutine is done
	done    chan struct{} // closed when both goroutines are done

	// storeCtx ends when Close stops waiting.
	storeCtx context.Context
	abort    context.CancelFunc

	mu       sync.Mutex
	closed   bool   // guards closing
	seq      uint64 // records numbered in this epoch
	front    *batch // being filled
	inflight *batch // being written, or nil
	spare    *batch // empty, kept for its buffer
	blocked  Cause  // why the queue would be full at this moment
	segments []*segment
	ord      uint64        // records ever published in segments
	low      uint64        // all records before this one are stored or lost
	progress chan struct{} // closed when low rises; nil when nobody waits
	draining int           // calls of Drain that wait for the store
	givenUp  uint64        // records that Close found in memory and could not write
	stats    Stats         // but Pending and WALFiles
}

// Open starts a Writer that keeps its write-ahead files in dir, which it
// creates if need be, and stores its records in store. Records that an earlier
// Writer left in dir are stored too. One Writer at a time uses a directory,
// and a directory belongs to one Store.
//
// A nil opts means defaults. Open reads what was left, at about 1 GB/s, before
// it returns; storing it goes on behind.
func Open(dir string, store Store, opts *Options) (*Writer, error) {
	return open(dir, store, opts, createSegment)
}

func open(dir string, store Store, opts *Options, create func(string) (segmentFile, error)) (*Writer, error) {
	opt, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	// What is in there is personal data: nobody else reads it.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("usagelog: write-ahead directory: %w", err)
	}
	lock, err := filelock.Open(filepath.Join(dir, "lock"), ErrLocked)
	if err != nil {
		return nil, fmt.Errorf("usagelog: lock of %s: %w", dir, err)
	}
	if opt.Fsync {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			lock.Close()
			return nil, fmt.Errorf("usagelog: write-ahead directory: %w", err)
		}
	}
	rp, err := scanSegments(dir, opt.OnError)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("usagelog: replay: %w", err)
	}
	var epoch [8]byte
	rand.Read(epoch[:]) // never fails since Go 1.24
	w := &Writer{
		dir: dir, store: store, opt: opt, create: create, lock: lock,
		epoch:   binary.BigEndian.Uint64(epoch[:]),
		wake:    make(chan struct{}, 1),
		urgent:  make(chan struct{}, 1),
		ready:   make(chan struct{}, 1),
		freed:   make(chan struct{}, 1),
		hurry:   make(chan struct{}, 1),
		closing: make(chan struct{}),
		spilled: make(chan struct{}),
		done:    make(chan struct{}),
		// At their full size from the beginning: growing would copy megabytes
		// under the mutex. The system gives memory when it is first written.
		front: &batch{buf: make([]byte, 0, opt.QueueBytes)},
		spare: &batch{buf: make([]byte, 0, opt.QueueBytes)},

		segments: rp.segments,
		ord:      rp.records,
	}
	w.stats = Stats{
		Accepted: rp.records, Spilled: rp.records, Replayed: rp.records,
		DamagedBytes: rp.damaged, DamagedStretches: rp.stretch, TornBytes: rp.torn,
	}
	for _, s := range rp.segments {
		w.stats.WALBytes += s.size
	}
	w.storeCtx, w.abort = context.WithCancel(context.Background())
	go w.spill(&spiller{w: w, next: rp.next})
	go w.deliver(&deliverer{w: w, window: opt.BatchRecords})
	return w, nil
}

// Record queues r for recording and returns at once. It waits for no disk and
// no store. False means that r was lost, and has been counted in Stats.Lost.
//
// True is not an acknowledgement: r is in memory, for Options.Linger as a rule,
// and is lost with the process until it is in the write-ahead file. Append and
// Flush acknowledge.
func (w *Writer) Record(r Record) bool {
	_, err := w.enqueue(&r, false)
	return err == nil
}

// Append records r and waits for its acknowledgement: a nil error means that r
// is in the write-ahead file and will be in the store exactly once, also after
// a kill -9 (and after a power loss, with Options.Fsync). Goroutines that
// Append at the same time share the writing.
//
// The error is a *LostError if r is lost. If ctx ends first, the error wraps
// that of ctx, and r is still being recorded. While the write-ahead file cannot
// be written Append waits, so ctx should have a deadline.
func (w *Writer) Append(ctx context.Context, r Record) error {
	a, err := w.enqueue(&r, true)
	if err != nil {
		return err
	}
	return a.wait(ctx)
}

// Flush waits until every record that Record took before is acknowledged: in
// the write-ahead file, as Append defines it. The errors are those of Append,
// or ErrClosed after Close.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	var a *ack
	switch {
	case w.front.n > 0: // written after inflight
		a = w.front.ackLocked()
	case w.inflight != nil:
		a = w.inflight.ackLocked()
	}
	w.mu.Unlock()
	select {
	case <-w.done:
		return ErrClosed
	default:
	}
	if a == nil {
		return nil
	}
	signal(w.urgent)
	return a.wait(ctx)
}

// Drain waits until every record that Record or Append took before is in the
// store, or counted as lost, and can be queried. It returns the error of ctx,
// or ErrClosed if the Writer was closed before that happened.
func (w *Writer) Drain(ctx context.Context) error {
	if err := w.Flush(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	w.draining++
	defer func() {
		w.mu.Lock()
		w.draining--
		w.mu.Unlock()
	}()
	signal(w.hurry)
	target := w.ord
	for w.low < target {
		if w.progress == nil {
			w.progress = make(chan struct{})
		}
		progress := w.progress
		w.mu.Unlock()
		select {
		case <-progress:
		case <-w.done:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("usagelog: waiting for the store: %w", ctx.Err())
		}
		w.mu.Lock()
	}
	w.mu.Unlock()
	return nil
}

// Close takes no more records, writes those in memory to the write-ahead file,
// waits until all of them are stored, and ends the Writer's goroutines. It does
// not close the Store.
//
// If ctx ends first, Close stops trying: records in the write-ahead files stay
// there for the next Open, records in memory that could not be written are
// counted as lost, and the *CloseError says how many of each there are. A Store or a
// disk that does not return then is left behind after a second, and its
// goroutine and the lock of the directory stay until it does.
//
// Every call waits for the same end; the first ctx that ends decides.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.closing)
	}
	w.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
		w.abort()
		select {
		case <-w.done:
		case <-time.After(time.Second):
		}
	}
	w.mu.Lock()
	waiting, queued, lost := w.stats.Spilled, w.stats.Queued, w.givenUp
	w.mu.Unlock()
	if waiting+queued+lost == 0 {
		return nil
	}
	return &CloseError{Dir: w.dir, Waiting: waiting, Queued: queued, Lost: lost}
}

// A CloseError says what Close left undone.
type CloseError struct {
	Dir     string
	Waiting uint64 // records in write-ahead files in Dir, for the next Open
	Queued  uint64 // records in memory, while the disk does not answer
	Lost    uint64 // records in memory that could not be written
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("usagelog: closed before everything was stored: %d records wait in %s for the next Open, %d in memory wait for the disk, %d in memory are lost",
		e.Waiting, e.Dir, e.Queued, e.Lost)
}

// Stats returns the counts of this moment. It takes the lock that Record takes,
// for a moment.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Pending = s.Queued + s.Spilled
	s.WALFiles = len(w.segments)
	return s
}
