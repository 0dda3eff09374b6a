package sqlitefile_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/sqlitefile"
)

func TestSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	now := time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)
	for n, want := range []string{"a.db.set-aside-20261130T090000Z", "a.db.set-aside-20261130T090000Z-2", "a.db.set-aside-20261130T090000Z-3"} {
		files := map[string]string{"": "database", "-wal": "log"}
		if n == 1 {
			delete(files, "-wal")
		}
		for suffix, text := range files {
			require.NoError(t, os.WriteFile(path+suffix, []byte(text), 0o600))
		}
		aside, err := sqlitefile.SetAside(path, now)
		require.NoError(t, err)
		require.Equal(t, filepath.Join(dir, want), aside)
		for suffix, text := range files {
			require.NoFileExists(t, path+suffix)
			got, err := os.ReadFile(aside + suffix)
			require.NoError(t, err)
			require.Equal(t, text, string(got))
		}
	}
}
