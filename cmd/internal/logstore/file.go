package logstore

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

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // registers the driver
)

// ErrNewer is wrapped by the error of Open for a database that a newer version
// of this program has written.
var ErrNewer = errors.New("the database was written by a newer version: use that version, or another data directory")

//go:embed migrations/*.sql
var migrations embed.FS

// readers bounds the queries that read at once; others wait.
const readers = 4

// openFile opens the database twice: for the one writer and for the readers.
func openFile(ctx context.Context, path string) (write, read *sql.DB, err error) {
	if path == "" {
		return nil, nil, errors.New("the path is empty: name the database file")
	}
	// What is in there is personal data: nobody else reads it. SQLite gives its
	// other files the mode of this one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, nil, err
	}
	write, err = openDB(path, 1, url.Values{"_txlock": {"immediate"}})
	if err != nil {
		return nil, nil, err
	}
	read, err = openDB(path, readers, url.Values{"_query_only": {"1"}})
	if err == nil {
		err = migrate(ctx, write)
	}
	if err != nil {
		if read != nil {
			read.Close()
		}
		write.Close()
		return nil, nil, err
	}
	return write, read, nil
}

func openDB(path string, conns int, query url.Values) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	query["_pragma"] = []string{
		"busy_timeout(10000)",
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"trusted_schema(0)",
		"cell_size_check(1)",
		"journal_size_limit(67108864)",
	}
	if abs = filepath.ToSlash(abs); abs[0] != '/' {
		abs = "/" + abs // C:/data
	}
	name := url.URL{Scheme: "file", Path: abs, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// migrate brings the schema up to date.
func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > target {
		return fmt.Errorf("%w (its schema is %d, this version knows %d)", ErrNewer, current, target)
	}
	_, err = p.Up(ctx)
	return err
}
