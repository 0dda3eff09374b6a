package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// left returns what there is of a fleet below a directory: files, and processes
// that have it on their command line. Where there is no /proc, processes are not
// found.
func left(t *testing.T, dir string) (found []string) {
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	if runtime.GOOS != "linux" {
		return found
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	require.NotEmpty(t, lines)
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err == nil && strings.Contains(string(text), dir) {
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}
