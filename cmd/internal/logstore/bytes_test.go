package logstore

import (
	"archive/zip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

// fileSize returns the size of the database when its write-ahead log is in it.
func fileSize(t testing.TB, s *Store) int64 {
	t.Helper()
	require.NoError(t, s.alone(t.Context(), func(w *writer) error { return w.exec("PRAGMA wal_checkpoint(TRUNCATE)") }))
	info, err := os.Stat(s.opt.Path)
	require.NoError(t, err)
	return info.Size()
}

// The file never grows beyond its bound, whatever comes: the oldest records go, the
// newest stay, and what is counted is what is there.
func TestMaxBytes(t *testing.T) {
	for _, batch := range []int{90, 4096} {
		s := mustOpen(t, Options{MaxBytes: MinMaxBytes})
		g := logtraffic.NewGenerator(1000)
		var last []usagelog.Record
		total := 0
		for total < 30_000 {
			last = g.Batch(batch)
			for i := range last { // what cannot be compressed needs fewer records
				last[i].Path = "/" + g.Hex(100)
			}
			total += len(last)
			require.NoError(t, s.Append(t.Context(), last))
			if total%(16*batch) == 0 {
				require.LessOrEqual(t, fileSize(t, s), int64(MinMaxBytes))
			}
		}
		require.LessOrEqual(t, fileSize(t, s), int64(MinMaxBytes))
		require.Greater(t, fileSize(t, s), int64(MinMaxBytes/2), "the bound is used")
		st := s.Stats()
		require.Less(t, st.Records, int64(total))
		require.Greater(t, st.Records, int64(8_000), "the bound is used")
		kept := all(t, s, usagelog.Filter{})
		require.Len(t, kept, int(st.Records))
		require.Equal(t, newest(last)[0], kept[0])
		require.Equal(t, kept[len(kept)-1].Time, st.Oldest)
		require.Equal(t, int(st.Blocks), count(t, s, "SELECT count(*) FROM blocks"))
		require.Equal(t, int(st.Blocks), count(t, s, "SELECT count(*) FROM frames"))
		require.Equal(t, count(t, s, "SELECT count(*) FROM columns"), count(t, s, "SELECT count(*) FROM columns JOIN blocks ON columns.id / 8 = blocks.id"))
		require.NoError(t, s.Append(t.Context(), last), "given again")
		require.Equal(t, st.Records, s.Stats().Records)

		// What went is not taken again.
		first := logtraffic.NewGenerator(1000).Batch(batch) // by their IDs
		require.NoError(t, s.Append(t.Context(), first))
		require.Equal(t, st.Records, s.Stats().Records)
	}
}

// What was deleted is given back to the disk: by a smaller bound, and by age.
func TestFileShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	s, err := Open(t.Context(), Options{Path: path})
	require.NoError(t, err)
	g := logtraffic.NewGenerator(1000)
	for range 50 {
		require.NoError(t, s.Append(t.Context(), g.Batch(4096)))
	}
	large := fileSize(t, s)
	require.Greater(t, large, int64(2*MinMaxBytes))
	require.NoError(t, s.Close())

	s, err = Open(t.Context(), Options{Path: path, MaxBytes: MinMaxBytes})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return fileSize(t, s) <= MinMaxBytes }, time.Minute, 10*time.Millisecond, "a smaller bound")
	require.NotEmpty(t, all(t, s, usagelog.Filter{}))
	require.NoError(t, s.Close())

	var c clock
	c.set(g.Now.Add(24 * time.Hour))
	s = mustOpen(t, Options{Path: path, Retention: time.Hour, now: c.now})
	require.Eventually(t, func() bool { return fileSize(t, s) < large/8 }, time.Minute, 10*time.Millisecond, "all are too old")
	require.Zero(t, s.Stats().Records)
}

// A file of an earlier version cannot shrink until it was written anew.
func TestEarlierFileShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	r, err := zip.OpenReader(filepath.Join("..", "..", "ipallowd", "testdata", "upgrades", "b5682e2.zip"))
	require.NoError(t, err)
	defer r.Close()
	src, err := r.Open("usage.db")
	require.NoError(t, err)
	b, err := io.ReadAll(src)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, b, 0o600))

	room := errors.New("no room")
	s, err := Open(t.Context(), Options{Path: path, Room: func(bytes int64) error {
		if bytes > 0 {
			return room
		}
		return nil
	}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !s.upgrading.Load() }, time.Minute, 10*time.Millisecond, "upgraded")
	require.NoError(t, s.shrink(t.Context()))
	require.Zero(t, count(t, s, "SELECT auto_vacuum FROM pragma_auto_vacuum"), "not without room")
	kept := all(t, s, usagelog.Filter{})
	g := logtraffic.NewGenerator(1000)
	for range 10 {
		require.NoError(t, s.Append(t.Context(), g.Batch(4096)))
	}
	s.opt.Room = nil
	require.NoError(t, s.shrink(t.Context()))
	require.Equal(t, 2, count(t, s, "SELECT auto_vacuum FROM pragma_auto_vacuum"), "written anew")
	require.NoError(t, s.Append(t.Context(), g.Batch(10)))
	require.Len(t, all(t, s, usagelog.Filter{}), len(kept)+10*4096+10)
	large := fileSize(t, s)
	require.NoError(t, s.Close())

	var c clock
	c.set(begin.AddDate(20, 0, 0))
	s = mustOpen(t, Options{Path: path, Retention: time.Hour, now: c.now})
	require.Eventually(t, func() bool { return fileSize(t, s) < large/3 }, time.Minute, 10*time.Millisecond, "it shrinks")
}

// While there is no room, Append says that it is for now, and keeps nothing.
func TestRoom(t *testing.T) {
	var full error
	s := mustOpen(t, Options{Room: func(int64) error { return full }})
	g := logtraffic.NewGenerator(5)
	full = errors.New("the disk is nearly full")
	recs := g.Batch(10)
	err := s.Append(t.Context(), recs)
	require.ErrorIs(t, err, usagelog.ErrUnavailable)
	require.ErrorIs(t, err, full)
	require.Zero(t, s.Stats().Records)
	full = nil
	require.NoError(t, s.Append(t.Context(), recs))
	require.EqualValues(t, 10, s.Stats().Records)
}
