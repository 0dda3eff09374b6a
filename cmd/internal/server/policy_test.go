package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// TestPolicyIsKept starts on the same data with and without the flags.
func TestPolicyIsKept(t *testing.T) {
	dir := t.TempDir()
	start := func(change func(*Config), given ...string) (*Server, error) {
		cfg := Defaults()
		cfg.Data, cfg.Listen, cfg.AdminListen = dir, "127.0.0.1:0", "127.0.0.1:0"
		cfg.Given = func(flag string) bool {
			for _, g := range given {
				if g == flag {
					return true
				}
			}
			return false
		}
		if change != nil {
			change(&cfg)
		}
		s, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Cleanup(func() { s.Close(t.Context()) })
		}
		return s, err
	}
	s, err := start(func(c *Config) { c.AllowNonPublic, c.MaxEntries = true, 30 }, "allow-non-public", "max-entries")
	require.NoError(t, err)
	_, err = s.Manager.Create(t.Context(), manage.Actor{}, manage.NewKey{
		Name: "a", Scopes: []string{"read"}, Allowlist: []manage.ListEntry{{Entry: "127.0.0.1"}},
	})
	require.NoError(t, err)
	require.NoError(t, s.Close(t.Context()))

	// Without flags as it was, and with one of them the others as they were.
	for _, given := range [][]string{nil, {"min-bits4"}} {
		s, err = start(nil, given...)
		require.NoError(t, err)
		require.True(t, s.Engine.Policy().AllowNonPublic)
		require.Equal(t, 30, s.Engine.Policy().MaxEntries)
		require.NoError(t, s.Close(t.Context()))
	}

	// Narrowed on purpose, what is stored stands against it, and the flag is named.
	_, err = start(nil, "allow-non-public")
	require.ErrorContains(t, err, "start with --allow-non-public")
	s, err = start(nil)
	require.NoError(t, err, "a start that failed kept nothing")
	require.NoError(t, s.Close(t.Context()))

	require.NoError(t, os.WriteFile(filepath.Join(dir, PolicyFile), []byte("{"), 0o600))
	_, err = start(nil)
	require.ErrorContains(t, err, PolicyFile)
}
