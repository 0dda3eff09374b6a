package logstore

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/binrec"
	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

// raw opens the database of a store beside it.
func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func execute(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

func TestOpenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c=d#e%20ü.db") // what a URI would take apart
	recs := logtraffic.NewGenerator(10).Batch(3000)
	s, err := Open(t.Context(), Options{Path: path})
	require.NoError(t, err)
	require.NoError(t, s.Append(t.Context(), recs))
	was := s.Stats()
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "a second time")
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	require.NoError(t, err)
	require.Equal(t, []string{path}, names, "Close has brought the write-ahead log into the database")

	s = mustOpen(t, Options{Path: path})
	require.Equal(t, was, s.Stats())
	require.NoError(t, s.Append(t.Context(), recs))
	require.Equal(t, was, s.Stats(), "records that are known")
	require.Len(t, all(t, s, usagelog.Filter{}), 3000)
}

func TestPrivateFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	require.NoError(t, os.WriteFile(path, nil, 0o644), "somebody has made it readable")
	s := mustOpen(t, Options{Path: path})
	require.NoError(t, s.Append(t.Context(), logtraffic.NewGenerator(1).Batch(1)))
	names, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	require.Len(t, names, 3, "the database, its write-ahead log and the index of that")
	for _, name := range names {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
}

func TestSettings(t *testing.T) {
	s := mustOpen(t, Options{})
	w, err := s.take(t.Context())
	require.NoError(t, err)
	defer func() { s.turn <- w }()
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
		var got string
		require.NoError(t, w.conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
		require.Equal(t, want, got, pragma)
	}
	_, err = s.read.ExecContext(t.Context(), "DELETE FROM blocks")
	require.ErrorContains(t, err, "readonly")
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "usage.db")
	s, err := Open(t.Context(), Options{Path: path})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	db := raw(t, path)
	execute(t, db, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, 1)")
	_, err = Open(t.Context(), Options{Path: path})
	require.ErrorIs(t, err, ErrNewer)

	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte("this is no database, but quite long a text for one, so that it has a header"), 0o600))
	for name, opt := range map[string]Options{
		"no path":            {},
		"a directory":        {Path: dir},
		"no such directory":  {Path: filepath.Join(dir, "none", "usage.db")},
		"no database":        {Path: text},
		"negative retention": {Path: filepath.Join(dir, "other.db"), Retention: -1},
	} {
		_, err := Open(t.Context(), opt)
		require.ErrorContains(t, err, "usage log: ", name)
	}
	require.NoFileExists(t, filepath.Join(dir, "other.db"))
}

func TestClosed(t *testing.T) {
	s, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "usage.db"), Retention: time.Hour})
	require.NoError(t, err)
	recs := logtraffic.NewGenerator(1).Batch(10)
	for i := range recs {
		recs[i].Time = time.Now().UTC()
	}
	require.NoError(t, s.Append(t.Context(), recs))
	for _, err := range s.Stream(t.Context(), usagelog.Filter{}) {
		require.NoError(t, err)
		require.NoError(t, s.Close(), "while a stream is read")
	}
	require.ErrorIs(t, s.Append(t.Context(), recs), ErrClosed)
	_, err = s.Query(t.Context(), usagelog.Query{})
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Seen(t.Context(), "k", time.Time{})
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Blocked(t.Context(), []string{"k"}, time.Time{})
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Summary(t.Context(), usagelog.Filter{From: begin, To: begin.Add(1)}, 1)
	require.ErrorIs(t, err, ErrClosed)
	for _, err := range s.Stream(t.Context(), usagelog.Filter{}) {
		require.ErrorIs(t, err, ErrClosed)
	}
}

// Another process that writes is waited for, as long as the context says.
func TestAppendWaitsForALock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	s := mustOpen(t, Options{Path: path})
	recs := logtraffic.NewGenerator(1).Batch(10)
	other, err := raw(t, path).Conn(t.Context())
	require.NoError(t, err)
	defer other.Close()
	_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Append(ctx, recs), context.DeadlineExceeded)
	require.Empty(t, all(t, s, usagelog.Filter{}), "readers wait for nobody")

	done := make(chan error)
	go func() { done <- s.Append(context.Background(), recs) }()
	_, err = other.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.Len(t, all(t, s, usagelog.Filter{}), 10)
}

// A full disk loses nothing: what was confirmed stays, what was not can be given again.
func TestFullDisk(t *testing.T) {
	s := mustOpen(t, Options{})
	g := logtraffic.NewGenerator(100)
	first, second := g.Batch(500), g.Batch(4000)
	require.NoError(t, s.Append(t.Context(), first))
	was := s.Stats()
	limit := func(pages int) {
		w := <-s.turn
		defer func() { s.turn <- w }()
		_, err := w.conn.ExecContext(t.Context(), "PRAGMA max_page_count = "+[]string{"4294967294", "60"}[pages])
		require.NoError(t, err)
	}
	limit(1)
	for range 3 {
		require.ErrorContains(t, s.Append(t.Context(), second), "full")
	}
	require.Equal(t, was, s.Stats())
	require.Len(t, all(t, s, usagelog.Filter{}), 500)
	limit(0)
	require.NoError(t, s.Append(t.Context(), second))
	require.Len(t, all(t, s, usagelog.Filter{}), 4500)
	checkBlocks(t, s)
}

// A transaction that is given up leaves no trace, and the next one is as the first.
func TestTransactionGivenUp(t *testing.T) {
	s := mustOpen(t, Options{})
	recs := logtraffic.NewGenerator(5).Batch(100)
	w, err := s.take(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	err = w.transaction(ctx, func() error {
		defer cancel()
		var entries []entry
		for i := range recs {
			rec := binrec.Read(binrec.Append(nil, &recs[i]))
			entries = append(entries, entry{rec.UnixNano(), rec})
		}
		entries, err := w.fresh(entries)
		require.NoError(t, err)
		return w.put(entries, 0)
	})
	require.ErrorIs(t, err, context.Canceled)
	s.turn <- w
	require.Equal(t, Stats{}, s.Stats())
	require.Empty(t, all(t, s, usagelog.Filter{}))
	require.NoError(t, s.Append(t.Context(), recs))
	require.Equal(t, newest(recs), all(t, s, usagelog.Filter{}))
}
