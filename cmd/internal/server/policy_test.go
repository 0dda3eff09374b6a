package server

import (
	"bytes"
	"fmt"
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
	var said bytes.Buffer
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
		s, err := Start(t.Context(), cfg, slog.New(slog.NewTextHandler(&said, nil)))
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
	save := func(n int, entry string) error {
		list := []manage.ListEntry{{Entry: entry}}
		for i := 1; i < n; i++ {
			list = append(list, manage.ListEntry{Entry: fmt.Sprintf("203.0.113.%d", i)})
		}
		_, err := s.Manager.Create(t.Context(), manage.Actor{}, manage.NewKey{Name: "b", Scopes: []string{"read"}, Allowlist: list})
		return err
	}
	for _, given := range [][]string{nil, {"min-bits4"}} {
		s, err = start(nil, given...)
		require.NoError(t, err)
		require.NoError(t, save(30, "127.0.0.1"))
		require.Error(t, save(31, "127.0.0.1"))
		require.Zero(t, s.Manager.StoredFaults().Total)
		require.NoError(t, s.Close(t.Context()))
	}
	s, err = start(nil)
	require.NoError(t, err)
	for range 9 {
		require.NoError(t, save(1, "127.0.0.1"))
	}
	require.NoError(t, s.Close(t.Context()))

	// Narrowed on purpose, what is stored is enforced and not saved again, and the flags
	// are named.
	said.Reset()
	s, err = start(nil, "allow-non-public", "max-entries")
	require.NoError(t, err)
	require.Equal(t, 12, s.Manager.StoredFaults().Total)
	require.Contains(t, said.String(), "keys=2", "ten are named, the others counted")
	require.Contains(t, said.String(), "flag=--allow-non-public")
	require.Contains(t, said.String(), "--max-entries")
	require.Equal(t, 12, s.Engine.Snapshot().Len())
	require.Error(t, save(1, "127.0.0.1"))
	require.Error(t, save(21, "203.0.113.77"))
	require.NoError(t, save(20, "203.0.113.77"))
	require.NoError(t, s.Close(t.Context()))

	require.NoError(t, os.WriteFile(filepath.Join(dir, PolicyFile), []byte("{"), 0o600))
	_, err = start(nil)
	require.ErrorContains(t, err, PolicyFile)
}
