package manage

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/ipallow/ipallow/cmd/internal/sqlitefile"
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
	if err = sqlitefile.Private(path); err != nil {
		return nil, err
	}
	if db.writer, err = sqlitefile.Writer(path, "foreign_keys(1)"); err != nil {
		return nil, err
	}
	if err = migrate(ctx, db.writer); err != nil {
		return nil, err
	}
	db.reader, err = sqlitefile.Reader(path, max(4, runtime.GOMAXPROCS(0)), "foreign_keys(1)")
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

// lockDatabase locks a file of its own, by a transaction that is never ended:
// SQLite knows how to lock on every system, and the system gives the lock
// back with the process, however that ends.
func lockDatabase(ctx context.Context, path string) (*sql.DB, error) {
	if err := sqlitefile.Private(path); err != nil {
		return nil, err
	}
	db, err := sqlitefile.Connect(path, 1, "busy_timeout(0)", "journal_mode(OFF)")
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

// InUse returns ErrLocked if a process has the database at path open.
func InUse(ctx context.Context, path string) error {
	if _, err := os.Stat(path + "-lock"); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := lockDatabase(ctx, path+"-lock")
	if err != nil {
		return err
	}
	return db.Close()
}

// migrate brings the database to the program's schema.
func migrate(ctx context.Context, db *sql.DB) error {
	if err := recognise(ctx, db); err != nil {
		return err
	}
	return sqlitefile.Migrate(ctx, db, migrations, ErrNewer)
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
