package logstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"

	"github.com/ipallow/ipallow/cmd/internal/sqlitefile"
)

// ErrNewer is wrapped by the error of Open for a database that a newer version
// of this program has written.
var ErrNewer = errors.New("the database was written by a newer version: use that version, or another data directory")

//go:embed migrations/*.sql
var migrations embed.FS

// readers bounds the queries that read at once, and seenReaders those that a change
// of keys waits for; others wait.
const (
	readers     = 4
	seenReaders = 2
)

// openFile opens the database for the one writer and for the readers.
func openFile(ctx context.Context, path string) (_ *files, err error) {
	if path == "" {
		return nil, errors.New("the path is empty: name the database file")
	}
	// What is in there is personal data: nobody else reads it.
	if err := sqlitefile.Private(path); err != nil {
		return nil, err
	}
	f := new(files)
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.write, err = sqlitefile.Writer(path, "auto_vacuum(INCREMENTAL)"); err != nil {
		return nil, err
	}
	if f.read, err = sqlitefile.Reader(path, readers); err != nil {
		return nil, err
	}
	if f.seen, err = sqlitefile.Reader(path, seenReaders); err != nil {
		return nil, err
	}
	return f, sqlitefile.Migrate(ctx, f.write, migrations, ErrNewer)
}

// files are the pools of connections to the database: of the writer, of those who
// look at the log, and of the question that is asked before a change of keys, which
// must not wait for them.
type files struct{ write, read, seen *sql.DB }

func (f *files) close() error {
	var errs []error
	for _, db := range []*sql.DB{f.seen, f.read, f.write} { // the last one empties the write-ahead log
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}
