// Package sqlitefile opens the SQLite files of the server: private to their
// owner, with one connection that writes and some that read, and a schema that
// migrations bring up to date.
package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // registers the driver
	sqlite3 "modernc.org/sqlite/lib"
)

// Private makes the file, if there is none, and lets nobody but its owner
// read it; SQLite gives its -wal and -shm files the same mode. A file that
// exists is not opened: closing it again would release the locks that this
// process holds on it.
func Private(path string) error {
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

// Connect returns a pool of n connections, each with the pragmas. Nothing is
// opened until the pool is used.
func Connect(path string, n int, pragmas ...string) (*sql.DB, error) {
	return connect(path, n, url.Values{"_pragma": pragmas})
}

// Writer returns a pool of the one connection that writes, durably, with more
// pragmas, which come first: some must be there before the first page is. Its
// transactions begin as writing ones.
func Writer(path string, pragmas ...string) (*sql.DB, error) {
	return connect(path, 1, url.Values{
		"_txlock": {"immediate"},
		"_pragma": slices.Concat([]string{"busy_timeout(10000)"}, pragmas, []string{
			"trusted_schema(0)", "cell_size_check(1)",
			"journal_mode(WAL)", "synchronous(FULL)", "journal_size_limit(67108864)",
		}),
	})
}

// Reader returns a pool of n connections that cannot write.
func Reader(path string, n int, pragmas ...string) (*sql.DB, error) {
	return Connect(path, n, append([]string{
		"busy_timeout(10000)", "trusted_schema(0)", "cell_size_check(1)", "query_only(1)",
	}, pragmas...)...)
}

// ReadOnly returns a pool of one connection that leaves the file and its
// write-ahead log as they are.
func ReadOnly(path string) (*sql.DB, error) {
	return connect(path, 1, url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)", "trusted_schema(0)"}})
}

func connect(path string, n int, query url.Values) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if abs = filepath.ToSlash(abs); abs[0] != '/' {
		abs = "/" + abs // C:/data
	}
	name := url.URL{Scheme: "file", Path: abs, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// ErrSchema is wrapped by the error of Migrate for a database whose schema these
// migrations cannot bring up to date, however often it is tried: the file was
// changed by hand, is damaged, or comes from a version that they do not know.
var ErrSchema = errors.New("the schema of the database cannot be brought up to date")

// Migrate brings the database to the schema of the migrations, SQL files in
// the folder of that name. A database whose schema is newer is left as it is,
// and the error wraps newer and ErrSchema.
func Migrate(ctx context.Context, db *sql.DB, migrations fs.FS, newer error) error {
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
		return fmt.Errorf("read the schema's version: %w", SchemaFault(err))
	}
	if has > want {
		return &schemaError{fmt.Errorf("%w (its schema is %d, this program knows up to %d)", newer, has, want)}
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the database from schema %d to %d: %w", has, want, SchemaFault(err))
	}
	return nil
}

// A schemaError is an ErrSchema whose text is that of the error in it.
type schemaError struct{ error }

func (e *schemaError) Unwrap() []error { return []error{e.error, ErrSchema} }

// SchemaFault returns err as one of ErrSchema, unless it may be gone the next time:
// the file is locked, the disk is full, or a context has ended.
func SchemaFault(err error) error {
	var fault *sqlite.Error
	if !errors.As(err, &fault) {
		return err
	}
	switch fault.Code() & 0xff {
	case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return &schemaError{err}
	}
	return err
}

// IsFull reports whether err says that the disk has no room.
func IsFull(err error) bool {
	if errors.Is(err, syscall.ENOSPC) {
		return true
	}
	var fault *sqlite.Error
	return errors.As(err, &fault) && fault.Code()&0xff == sqlite3.SQLITE_FULL
}

// Unusable reports whether the path has something that is no file, or that cannot
// be read.
func Unusable(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false // there is nothing to set aside
	}
	if !info.Mode().IsRegular() {
		return true
	}
	f, err := os.Open(path)
	if err == nil {
		var b [16]byte
		_, err = f.Read(b[:])
		f.Close()
	}
	return err != nil && !errors.Is(err, io.EOF)
}

// SetAside renames the database at path, with what SQLite keeps beside it, to a
// name that ends in the time, and returns that name. No process may have it open.
func SetAside(path string, now time.Time) (string, error) {
	aside := path + now.UTC().Format(".set-aside-20060102T150405Z")
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s%s-%d", path, now.UTC().Format(".set-aside-20060102T150405Z"), n)
	}
	// The write-ahead log first: a database without its own is older, but one with
	// that of another is damaged.
	for _, suffix := range []string{"-wal", "-shm", ""} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return aside, nil
}
