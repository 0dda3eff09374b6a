package sqlitefile_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMigrationsAreNotEdited compares every migration with its hash in
// testdata/migrations.sha256. A program that ran a migration never runs it again,
// so one that is edited leaves databases that no later version expects.
func TestMigrationsAreNotEdited(t *testing.T) {
	list, err := os.ReadFile(filepath.Join("testdata", "migrations.sha256"))
	require.NoError(t, err)
	hashes := make(map[string]string)
	for line := range strings.Lines(string(list)) {
		hash, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		require.True(t, ok, line)
		hashes[name] = hash
	}
	files, err := filepath.Glob(filepath.Join("..", "*", "migrations", "*"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 4)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		name := strings.TrimPrefix(filepath.ToSlash(file), "../")
		hash := fmt.Sprintf("%x", sha256.Sum256(text))
		if want, known := hashes[name]; known {
			require.Equal(t, want, hash, "%s was edited after it was committed: take the edit back and add a new migration", name)
		} else {
			t.Errorf("%s is new: append this line to testdata/migrations.sha256, and a data directory of the schema before it to cmd/ipallowd/testdata/upgrades:\n%s  %s", name, hash, name)
		}
		delete(hashes, name)
	}
	require.Empty(t, hashes, "migrations that were deleted")
}
