package manage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/sqlitefile"
)

// Errors of Open, and of a Service that was closed.
var (
	ErrLocked  = errors.New("another process uses the database; stop it, or give this one a directory of its own")
	ErrNewer   = errors.New("a newer version of the program has written the database; start that version")
	ErrForeign = errors.New("the file is the database of another program; name another file")
	ErrDamaged = errors.New("the database is damaged; restore it from a backup")
	ErrClosed  = errors.New("the service is closed")
	ErrFull    = errors.New("the disk is full: delete something from it, or give it more room, and try again")
)

// Options are what Open needs.
type Options struct {
	// Path is the SQLite file; it is made if there is none. Beside it stand
	// Path-wal, Path-shm and Path-lock.
	Path string
	// Engine and Ring are what requests are measured by. They belong to the
	// Service: nobody else may change them, and what they hold when it opens
	// is replaced.
	Engine *ipallow.Engine
	Ring   *keyring.Ring
	// Policy is what lists must keep that are saved from now on. Lists that are
	// stored were accepted once, and stay in force as long as Engine takes them.
	// Nil: the policy of Engine.
	Policy *ipallow.Policy
	// Seen is where keys were used from. Nil: nobody knows, and only the
	// caller's own address is looked at before a list is saved.
	Seen SeenLog
	// Outbox keeps a row for each change in the table outbox, for those who
	// publish them. Default false: nobody would ever empty it.
	Outbox bool
	// Reserve is room on the disk for changes that take something away from a key.
	// Nil: there is none.
	Reserve Reserve
	// AcceptOlder goes on with a database that lacks changes which were
	// acknowledged, unless the last start had it too. Danger: keys that were
	// revoked by them are served again.
	AcceptOlder bool
	Logger      *slog.Logger     // nil: none
	Now         func() time.Time // nil: time.Now
}

// A Reserve is room on the disk that is kept for what must be possible when the
// disk is full. A *diskspace.Guard is one.
type Reserve interface {
	Release() bool  // gives its room; false: there is none left
	Restore() error // takes it again, if there is room
	Note(full bool) // is told whether a change found room
}

// flushEvery is how often the times of last use are stored.
const flushEvery = 10 * time.Second

// lingering is how long the list of a revoked key stays in the engine.
const lingering = time.Minute

// A Service manages keys and their allowlists in one SQLite file, and keeps an
// Engine and a Ring in step with it. All methods may be called from any number
// of goroutines; changes wait for one another, reading waits for nothing.
//
// A change is checked, then stored in one transaction with its audit record,
// then made in the engine and the ring, all before its method returns. Until
// the transaction begins, a context that ends stops the change; from then on
// it has no influence, so that what is stored and what is in force never
// differ. An error that is none of the package's own comes from the disk: the
// change is not in force, and was in all likelihood not stored.
type Service struct {
	db      *database
	engine  *ipallow.Engine
	ring    *keyring.Ring
	policy  ipallow.Policy // of lists that are saved
	seen    SeenLog
	outbox  bool
	reserve Reserve
	log     *slog.Logger
	now     func() time.Time

	identity string
	acked    *acked // under mu
	refusal  atomic.Pointer[RefusedError]
	rowByID  *sql.Stmt     // selectRow
	lastOne  *sql.Stmt     // selectLastChange
	changed  chan struct{} // holds at most one value

	mu     chan struct{} // holds one token: who has it may write
	closed atomic.Bool   // written under mu

	// Under mu.
	active  int              // keys that are not revoked
	total   uint64           // of their digests
	maxKeys int              // MaxKeys, but in tests
	chunk   int              // importChunk, but in tests
	used    map[string]int64 // the times of last use that are stored, of keys used since Open
	retired []retiredKey     // oldest first

	faulty StoredFaults // never written after Open

	stop chan struct{}
	done sync.WaitGroup
}

// A retiredKey is a revoked key whose list is still in the engine.
type retiredKey struct {
	id string
	at time.Time
}

var _ Manager = (*Service)(nil)

// Open opens or makes the database, and then gives the engine the lists of all
// active keys in one step, and then the ring the keys: no restricted key is
// known before its list is.
//
// Nothing is passed over: a row that cannot be read, or a list that the
// engine's policy does not accept, is an error that names the key. What only the policy
// of the options refuses is in force, and StoredFaults names it. Besides
// ErrLocked, ErrNewer, ErrForeign and ErrDamaged, the error may be one of the
// file system or a *ipallow.KeyError.
//
// Cost: about 5 µs of processor time a key; SQLite reads with one of them.
func Open(ctx context.Context, o Options) (*Service, error) {
	switch {
	case o.Path == "":
		return nil, errors.New("manage: no path; name the database file")
	case o.Engine == nil || o.Ring == nil:
		return nil, errors.New("manage: an engine and a ring are needed")
	}
	s := &Service{
		engine: o.Engine, ring: o.Ring, seen: o.Seen, outbox: o.Outbox, reserve: o.Reserve, log: o.Logger, now: o.Now,
		mu: make(chan struct{}, 1), maxKeys: MaxKeys, chunk: importChunk, used: make(map[string]int64), stop: make(chan struct{}),
		changed: make(chan struct{}, 1),
	}
	if o.Policy != nil {
		s.policy = *o.Policy
	} else {
		s.policy = o.Engine.Policy()
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if err := s.checkPresent(o.Path, o.AcceptOlder); err != nil {
		return nil, err
	}
	var err error
	if s.db, err = openDatabase(ctx, o.Path); err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Path, err)
	}
	if s.identity, err = readIdentity(ctx, s.db.reader); err == nil {
		s.rowByID, err = s.db.reader.PrepareContext(ctx, selectRow)
	}
	if err == nil {
		s.lastOne, err = s.db.reader.PrepareContext(ctx, selectLastChange)
	}
	if err == nil {
		// The last: what is refused is not to be in force.
		err = s.load(ctx, func(total uint64) error { return s.checkAcked(ctx, o.Path, o.AcceptOlder, total) })
	}
	if err != nil {
		var older *OlderStateError
		if errors.As(err, &older) {
			var failed error
			older.Log, failed = keepLog(o.Path, s.now())
			err = errors.Join(err, failed)
		}
		if s.acked != nil {
			s.acked.file.Close()
		}
		s.db.close()
		return nil, fmt.Errorf("load %s: %w", o.Path, err)
	}
	// What a start has found good does not depend on the log any more, unless the
	// disk has no room for it.
	if _, err := s.db.writer.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
		s.log.Warn("the write-ahead log cannot be written into the database yet", "error", err)
	}
	s.mu <- struct{}{}
	s.done.Go(s.housekeeping)
	return s, nil
}

// OpenStored opens a database that exists, for commands that look at it or
// note something in it. What it holds was accepted once: no policy is asked.
func OpenStored(ctx context.Context, path string, acceptOlder bool) (*Service, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	any := ipallow.Policy{MaxEntries: 1 << 20, MaxLabel: 1 << 10, AllowNonPublic: true}
	return Open(ctx, Options{Path: path, Engine: ipallow.New(&ipallow.Options{Policy: &any}), Ring: new(keyring.Ring), AcceptOlder: acceptOlder})
}

// Active returns how many keys are not revoked.
func (s *Service) Active() int {
	<-s.mu
	defer func() { s.mu <- struct{}{} }()
	return s.active
}

// Close stores the times of last use and closes the database. The engine and
// the ring stay as they are. Further calls of Close do nothing; all other
// methods return ErrClosed.
func (s *Service) Close() error {
	<-s.mu
	if s.closed.Load() {
		s.mu <- struct{}{}
		return nil
	}
	err := s.flush(context.Background())
	s.closed.Store(true)
	close(s.stop)
	s.mu <- struct{}{}
	s.done.Wait()
	return errors.Join(err, s.rowByID.Close(), s.lastOne.Close(), s.db.close(), s.acked.file.Close())
}

// A step is a change on its way.
type step struct {
	*sql.Tx
	ctx   context.Context // that of the transaction, which nobody cancels
	now   time.Time
	apply func() error // what follows the commit; may be nil
	undo  func()       // what follows if there is none; may be nil
	// confirmed says that a lock-out was confirmed.
	confirmed bool
	outboxed  bool   // there are new rows in the outbox
	recorded  bool   // keys were changed
	digests   uint64 // of the keys that are active now, less those that were
	change    Change // the row of it

	prepared map[string]*sql.Stmt
}

// exec runs a statement, which is prepared once: an import runs it a thousand
// times. The end of the transaction closes it.
func (st *step) exec(query string, args ...any) error {
	stmt := st.prepared[query]
	if stmt == nil {
		var err error
		if stmt, err = st.PrepareContext(st.ctx, query); err != nil {
			return err
		}
		if st.prepared == nil {
			st.prepared = make(map[string]*sql.Stmt)
		}
		st.prepared[query] = stmt
	}
	_, err := stmt.ExecContext(st.ctx, args...)
	return err
}

// write makes one change, unless changes are refused. Where the disk is full it tries
// again with the room of the reserve, and fn is called once more.
func (s *Service) write(ctx context.Context, fn func(*step) error) error {
	err := s.writeOnce(ctx, fn)
	if err != nil && sqlitefile.IsFull(err) && s.reserve != nil && s.reserve.Release() {
		s.log.Warn("the disk is full: the change is stored in the room of the reserve; give the disk more room")
		err = s.writeOnce(ctx, fn)
	}
	full := err != nil && sqlitefile.IsFull(err)
	if s.reserve != nil && (full || err == nil) {
		s.reserve.Note(full)
	}
	if full {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// writeRoomy is write for changes that make keys: the reserve is not for them.
func (s *Service) writeRoomy(ctx context.Context, fn func(*step) error) error {
	err := s.writeOnce(ctx, fn)
	if err != nil && sqlitefile.IsFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

func (s *Service) writeOnce(ctx context.Context, fn func(*step) error) error {
	return s.transact(ctx, func(st *step) error {
		if err := s.Refused(); err != nil {
			return err
		}
		return fn(st)
	})
}

// transact has fn prepare something in a transaction, and what it leaves in
// apply is done after the commit, all while others wait.
func (s *Service) transact(ctx context.Context, fn func(*step) error) error {
	select {
	case <-s.mu:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { s.mu <- struct{}{} }()
	if s.closed.Load() {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	st := &step{ctx: context.WithoutCancel(ctx), now: s.now()}
	committed := false
	defer func() {
		if !committed && st.undo != nil {
			st.undo()
		}
	}()
	var err error
	if st.Tx, err = s.db.writer.BeginTx(st.ctx, nil); err != nil {
		return err
	}
	defer st.Rollback() // does nothing after a commit
	if err := fn(st); err != nil {
		return err
	}
	if err := s.recordChange(st); err != nil {
		return err
	}
	if err := st.Commit(); err != nil {
		return err
	}
	committed = true
	s.total += st.digests
	if st.recorded {
		s.acknowledge(st.change)
	}
	if st.outboxed {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	if st.apply != nil {
		return st.apply()
	}
	return nil
}

// recordChange adds a row to changes, if there was one.
func (s *Service) recordChange(st *step) error {
	if !st.recorded {
		return nil
	}
	st.change = Change{Mark: newMark(), Time: st.now}
	res, err := st.ExecContext(st.ctx, insertChange, nanos(st.now), st.change.Mark, int64(s.total+st.digests))
	if err == nil {
		st.change.Revision, err = res.LastInsertId()
	}
	return err
}

const insertChange = "INSERT INTO changes (time, mark, total) VALUES (?, ?, ?)"

func newMark() int64 { return int64(rand.Uint64()) } // #nosec G404 -- tells copies apart, no secret

// read returns the connections for reading.
func (s *Service) read() (*sql.DB, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	return s.db.reader, nil
}
