package logstore

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/usagelog"
	"github.com/ipallow/ipallow/usagelog/storetest"
)

// mustOpen opens a store in a new file that the end of the test closes.
func mustOpen(t testing.TB, opt Options) *Store {
	t.Helper()
	if opt.Path == "" {
		opt.Path = filepath.Join(t.TempDir(), "usage.db")
	}
	s, err := Open(t.Context(), opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) usagelog.Store { return mustOpen(t, Options{}) })
}
