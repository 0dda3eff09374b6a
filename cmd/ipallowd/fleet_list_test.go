package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleetconf"
)

// Lists of names may have line ends, as scripts write them, and none is lost.
func TestFleetInitLists(t *testing.T) {
	t.Parallel()
	for _, names := range []string{"a,b,c", "a\nb\nc\n", " a, b ,c ", "a\r\nb\r\nc", ",a,,b\t c,"} {
		dir := filepath.Join(t.TempDir(), "fleet")
		code, _, said := call(t, "fleet", "init", dir, "--gateways", names, "--servers", "10.0.0.1\n10.0.0.2\n10.0.0.3\n")
		require.Zero(t, code, said)
		f, err := fleetconf.Open(dir)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b", "c"}, f.Names(), "%q", names)
		require.Len(t, f.Servers, 3)
	}
	for _, flag := range []string{"--gateways", "--servers"} {
		for _, names := range []string{"", ",", " \n", ",\n,"} {
			dir := filepath.Join(t.TempDir(), "fleet")
			code, _, said := call(t, "fleet", "init", dir, flag, names)
			require.NotZero(t, code, "%s %q", flag, names)
			require.Contains(t, said, "the list is empty")
			require.NoDirExists(t, dir)
		}
	}
}
