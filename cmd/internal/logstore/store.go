// Package logstore keeps the usage log of the server in a SQLite file.
//
//	store, err := logstore.Open(ctx, logstore.Options{Path: "data/usage.db", Retention: 90 * 24 * time.Hour})
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//	w, err := usagelog.Open("data/usage", store, nil)
//
// # Blocks
//
// A row a record, with the indexes that queries need, costs about 10 us of
// processor time a record, which at 40,000 requests a second is half of a
// machine of two cores. So a row is a block: a batch of records in their binary
// form, compressed, newest first, with what a query asks beforehand beside it:
// the time it covers and a Bloom filter of what its records can be filtered by.
//
// Small blocks are merged as more come, in the same transaction, up to 1024
// records and more: a record is written 4 times at most while few come, and
// once or twice when many do. Larger batches make larger blocks, of up to 4096
// records.
//
// Blocks hold records of one node of a fleet each. Where the file has a bound, the
// oldest go of the node that has most bytes in it.
//
// # Durability
//
// Append returns when the records are on the disk (WAL mode, synchronous=FULL).
// A block is never changed: merging and retention put a new one in its place in
// one transaction.
//
// Each record has a checksum. What can be read of a damaged block is shown; what
// cannot is counted in Stats and logged once. Such a block is left as it is.
//
// # Concurrency
//
// All methods may be called from any number of goroutines. Append, and
// retention, take turns; readers wait for nobody and see the blocks of one moment.
package logstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/sqlitefile"
	"github.com/ipallow/ipallow/usagelog"
)

var _ usagelog.Store = (*Store)(nil)

// ErrClosed is returned by the methods of a Store that was closed.
var ErrClosed = errors.New("usage log: the store is closed")

// Options say where a Store keeps its records and for how long.
type Options struct {
	// Path names the database file, which is created with mode 0600, in a
	// directory that exists.
	Path string

	// Retention is how long a record is kept, counted from its Time. Older
	// ones are not shown, and are deleted in the background. 0 keeps all.
	Retention time.Duration

	// MaxBytes bounds the database file. When it is reached, the oldest records go of
	// the node that has most in it ([Part]; Append's are of one node), and the space
	// that they leave is given back to the disk. SQLite's write-ahead
	// log comes on top: some megabytes, and at most 64 MiB for long. 0 means no bound.
	MaxBytes int64

	// Room, if it is not nil, is asked before the file may grow by so many bytes; 0:
	// by a batch. Its error is that of Append, which wraps usagelog.ErrUnavailable.
	Room func(bytes int64) error

	// Logger is told of damage and of what goes wrong in the background. Nil
	// means slog.Default.
	Logger *slog.Logger

	now func() time.Time // tests set it
}

// A Store is a usagelog.Store in a SQLite file. Open makes one.
type Store struct {
	opt  Options
	read *sql.DB            // of pages, charts and exports
	seen *sql.DB            // of what a change of keys waits for
	stop context.CancelFunc // of what runs in the background
	done sync.WaitGroup

	heavy   *gate // of charts, exports and pages with a filter
	exports *gate // of exports, however slowly they are taken

	turn   chan *writer // holds it while nobody writes
	closed chan struct{}
	once   sync.Once

	upgrading atomic.Bool // blocks of an earlier version are there, or may be

	mu      sync.Mutex
	stats   Stats
	damaged map[int64]int // records that could not be read, by block
}

// Open opens the database, and creates it if need be. The error wraps
// sqlitefile.ErrSchema if it will be the same whenever Open is tried.
func Open(ctx context.Context, opt Options) (*Store, error) {
	if opt.MaxBytes != 0 && opt.MaxBytes < MinMaxBytes {
		return nil, fmt.Errorf("usage log: a bound of %d bytes: want at least %d, or 0 for none", opt.MaxBytes, MinMaxBytes)
	}
	if opt.Retention < 0 {
		return nil, fmt.Errorf("usage log: retention of %v: want a positive duration, or 0 to keep records for ever", opt.Retention)
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	if opt.now == nil {
		opt.now = time.Now
	}
	f, err := openFile(ctx, opt.Path)
	if err != nil {
		return nil, fmt.Errorf("usage log: %s: %w", opt.Path, err)
	}
	s := &Store{
		opt: opt, read: f.read, seen: f.seen, heavy: newGate(max(1, runtime.GOMAXPROCS(0)/2), maxWaiting),
		exports: newGate(maxExports, 0), turn: make(chan *writer, 1), closed: make(chan struct{}),
		damaged: make(map[int64]int),
	}
	w, err := newWriter(ctx, s, f.write)
	if err == nil {
		err = s.count(ctx, w)
	}
	if err != nil {
		err = fmt.Errorf("usage log: %s: %w", opt.Path, sqlitefile.SchemaFault(err))
		return nil, errors.Join(err, f.close())
	}
	s.upgrading.Store(true)
	s.turn <- w
	var life context.Context
	life, s.stop = context.WithCancel(context.Background())
	s.done.Go(func() { s.retain(life) })
	s.done.Go(func() { s.upgrade(life) })
	return s, nil
}

// Close ends what runs in the background, waits for an Append that runs, and closes the file.
// What comes later gets ErrClosed.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		close(s.closed)
		s.stop()
		s.done.Wait()
		err = errors.Join(s.seen.Close(), s.read.Close(), (<-s.turn).close())
	})
	return err
}

// take waits for the writer, which the caller gives back into s.turn.
func (s *Store) take(ctx context.Context) (*writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-s.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case w := <-s.turn:
		return w, nil
	case <-s.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// explain returns err as a caller should see it.
func (s *Store) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-s.closed:
		return ErrClosed
	default:
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrBusy) {
		return err
	}
	return fmt.Errorf("usage log: %w", err)
}
