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

// readers bounds the queries that read at once; others wait.
const readers = 4

// openFile opens the database twice: for the one writer and for the readers.
func openFile(ctx context.Context, path string) (write, read *sql.DB, err error) {
	if path == "" {
		return nil, nil, errors.New("the path is empty: name the database file")
	}
	// What is in there is personal data: nobody else reads it.
	if err := sqlitefile.Private(path); err != nil {
		return nil, nil, err
	}
	write, err = sqlitefile.Writer(path)
	if err != nil {
		return nil, nil, err
	}
	read, err = sqlitefile.Reader(path, readers)
	if err == nil {
		err = sqlitefile.Migrate(ctx, write, migrations, ErrNewer)
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
