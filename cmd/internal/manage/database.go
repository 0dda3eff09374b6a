package manage

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// applicationID is set by the first migration.
const applicationID = 0x6970616c

// A database is the SQLite file: one connection that writes, a few that read,
// and a lock that keeps other processes out.
type database struct {
	lock, writer, reader *sql.DB
}

func openDatabase(ctx context.Context, path string) (_ *database, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	db := new(database)
	defer func() {
		if err != nil {
			db.close()
		}
	}()
	if db.lock, err = lockDatabase(ctx, path+"-lock"); err != nil {
		return nil, err
	}
	// SQLite gives its -wal and -shm files the mode of the database.
	if err = private(path); err != nil {
		return nil, err
	}
	const common = "busy_timeout(10000)&_pragma=foreign_keys(1)&_pragma=trusted_schema(0)&_pragma=cell_size_check(1)"
	if db.writer, err = connect(path, 1, common+"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=journal_size_limit(67108864)&_txlock=immediate"); err != nil {
		return nil, err
	}
	if err = migrate(ctx, db.writer); err != nil {
		return nil, err
	}
	db.reader, err = connect(path, max(4, runtime.GOMAXPROCS(0)), common+"&_pragma=query_only(1)")
	return db, err
}

func (db *database) close() error {
	var errs []error
	// The writer after the readers: the last one to close empties the WAL.
	for _, d := range []*sql.DB{db.reader, db.writer, db.lock} {
		if d != nil {
			errs = append(errs, d.Close())
		}
	}
	return errors.Join(errs...)
}

// connect returns a pool of n connections with these pragmas.
func connect(path string, n int, pragmas string) (*sql.DB, error) {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // C:/data
	}
	u := url.URL{Path: slashed}
	db, err := sql.Open("sqlite", "file:"+u.EscapedPath()+"?_pragma="+pragmas)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// lockDatabase locks a file of its own, by a transaction that is never ended:
// SQLite knows how to lock on every system, and the system gives the lock
// back with the process, however that ends.
func lockDatabase(ctx context.Context, path string) (*sql.DB, error) {
	if err := private(path); err != nil {
		return nil, err
	}
	db, err := connect(path, 1, "busy_timeout(0)&_pragma=journal_mode(OFF)")
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		db.Close()
		var e *sqlite.Error
		if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY {
			return nil, fmt.Errorf("%w (%s)", ErrLocked, path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return db, nil
}

// private makes the file, if there is none, and lets nobody but its owner
// read it. A file that exists is not opened: closing it again would release
// the locks that this process holds on it.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file; name another one", path)
	}
	if info.Mode().Perm() == 0o600 {
		return nil
	}
	return os.Chmod(path, 0o600)
}

// migrate brings the database to the program's schema.
func migrate(ctx context.Context, db *sql.DB) error {
	if err := recognise(ctx, db); err != nil {
		return err
	}
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	has, want, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if has > want {
		return fmt.Errorf("%w (its schema is %d, this program knows up to %d)", ErrNewer, has, want)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the database from schema %d to %d: %w", has, want, err)
	}
	return nil
}

// recognise refuses a database that another program made.
func recognise(ctx context.Context, db *sql.DB) error {
	var id, tables int
	err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id)
	if err == nil {
		// The migrations' own table may be there already, if a first start
		// was interrupted.
		err = db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema
			WHERE tbl_name NOT IN ('goose_db_version', 'sqlite_sequence')`).Scan(&tables)
	}
	if err != nil {
		return fmt.Errorf("read the database: %w", err)
	}
	if id != applicationID && (id != 0 || tables > 0) {
		return ErrForeign
	}
	return nil
}
