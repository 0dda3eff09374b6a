package diskspace

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGuard(t *testing.T) {
	dir := t.TempDir()
	free, total := int64(50<<20), int64(64<<20)
	g, err := open(dir, func(string) (int64, int64, error) { return free, total, nil })
	require.NoError(t, err)
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, "reserve"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		return info.Size()
	}
	require.EqualValues(t, 1<<20, size())
	require.NoError(t, g.Room(0))
	require.NoError(t, g.Room(46<<20))
	require.ErrorIs(t, g.Room(46<<20+1), ErrLow)
	free = 4<<20 - 1
	require.ErrorIs(t, g.Room(0), ErrLow)
	require.True(t, g.Release())
	require.Zero(t, size())
	require.False(t, g.Release(), "it is gone")
	require.NoError(t, g.Restore())
	require.Zero(t, size(), "no room for it")
	free = 5 << 20
	require.NoError(t, g.Restore())
	require.EqualValues(t, 1<<20, size())
	require.False(t, g.Full())
	g.Note(true)
	require.False(t, g.Full(), "there is room again")
	free = 1 << 20
	g.Note(true)
	require.True(t, g.Full())
	g.Note(false)
	require.False(t, g.Full())

	total, free = 0, 0 // a system that does not tell
	g, err = open(t.TempDir(), g.space)
	require.NoError(t, err)
	require.NoError(t, g.Room(0))
}

func TestSpace(t *testing.T) {
	free, total, err := space(t.TempDir())
	require.NoError(t, err)
	require.Positive(t, free)
	require.Greater(t, total, free)
	_, _, err = space(filepath.Join(t.TempDir(), "none"))
	require.Error(t, err)
}
