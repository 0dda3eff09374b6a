package main

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/server"
)

// ipallowd runs the program's command and returns its status and what it says.
func ipallowd(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := run(t.Context(), args, &out, &out)
	return code, out.String()
}

// serveFails runs "ipallowd serve", which must refuse to.
func serveFails(t *testing.T, data string, args ...string) string {
	t.Helper()
	code, text := fails(t, append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--allow-non-public"}, args...)...)
	require.Equal(t, exitFailed, code, text)
	return text
}

// A flipped bit in the first frame of the write-ahead log after a kill -9: the
// server does not start with what SQLite makes of it, and says what is missing.
// It does when it is told to, once.
func TestFlippedBitAfterKill(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	gone, wide := p.create("gone"), p.create("wide", entry{"127.0.0.1", ""})
	p.revoke(gone)
	p.narrow(wide, "203.0.113.7")
	p.kill()
	file := filepath.Join(data, "ipallowd.db-wal")
	wal, err := os.ReadFile(file)
	require.NoError(t, err)
	wal[32+24+1000] ^= 1
	require.NoError(t, os.WriteFile(file, wal, 0o600))

	text := serveFails(t, data)
	for _, want := range []string{"older than what was acknowledged", "number 4", "--accept-older-state", "docs/backup.md", ".refused-"} {
		require.Contains(t, text, want)
	}
	require.Contains(t, serveFails(t, data), "older than what was acknowledged", "also when it is tried again")
	p = start(t, data, "--accept-older-state")
	require.Contains(t, p.said(), "level=WARN")
	require.Contains(t, p.said(), "remove --accept-older-state now")
	k := p.create("new")
	p.kill()
	p = start(t, data)
	status, _, err := p.ping(k.Secret)
	require.NoError(t, err)
	require.Equal(t, 200, status)
}

// An old copy of the database in the place of a newer one is refused, with and
// without what belongs to it.
func TestOldCopyIsRefused(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	gone := p.create("gone")
	p.kill()
	old := copyData(t, data)
	p = start(t, data)
	p.revoke(gone)
	p.kill()
	for _, name := range []string{"ipallowd.db", "ipallowd.db-wal"} {
		b, err := os.ReadFile(filepath.Join(old, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(data, name), b, 0o600))
	}
	require.Contains(t, serveFails(t, data), "older than what was acknowledged")
	require.NoError(t, os.Remove(filepath.Join(data, "ipallowd.db-acked")))
	require.Contains(t, serveFails(t, data), "ipallowd.db-acked is missing")
}

// A backup of a server that is being changed is one moment of it, and a server
// starts with what is restored of it.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	data, where := t.TempDir(), t.TempDir()
	p := start(t, data)
	gone, here := p.create("gone"), p.create("here", entry{"127.0.0.1", ""})
	p.revoke(gone)
	status, id, err := p.ping(here.Secret)
	require.NoError(t, err)
	require.Equal(t, 200, status)
	fleettest.Eventually(t, func() bool { return p.requestIDs()[id] == 1 }, p.said)

	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if status, err := p.api("POST", "/keys", map[string]any{"name": "k", "scopes": []string{"read"}}, nil); err != nil || status != http.StatusCreated {
				t.Errorf("create: %d, %v", status, err)
				return
			}
		}
	})
	dir := filepath.Join(where, "backup")
	code, text := ipallowd(t, "backup", "--data", data, "--log", dir)
	require.Zero(t, code, text)
	for i := range 4 {
		code, text := ipallowd(t, "backup", "--data", data, filepath.Join(where, "backup"+strings.Repeat("x", i+1)))
		require.Zero(t, code, text)
	}
	p.narrow(here, "203.0.113.7")
	close(stop)
	load.Wait()

	require.FileExists(t, filepath.Join(dir, server.PolicyFile))

	// Nothing is overwritten, and nobody else reads it.
	code, text = ipallowd(t, "backup", "--data", data, dir)
	require.Equal(t, exitFailed, code)
	require.Contains(t, text, "is not empty")
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		if d.IsDir() {
			require.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), path)
		} else {
			require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), path)
		}
		return nil
	}))
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 5, "keys, what was acknowledged, usage log, policy, manifest: %v", names)
	code, text = ipallowd(t, "restore", "--data", data, dir)
	require.Equal(t, exitFailed, code)
	require.Contains(t, text, "a server runs on")
	p.kill()
	code, text = ipallowd(t, "restore", "--data", data, dir)
	require.Equal(t, exitFailed, code)
	require.Contains(t, text, "is not empty")

	again := filepath.Join(where, "data")
	code, text = ipallowd(t, "restore", "--data", again, dir)
	require.Zero(t, code, text)
	p = start(t, again)
	for secret, want := range map[string]int{here.Secret: 200, gone.Secret: 401} {
		status, _, err := p.ping(secret)
		require.NoError(t, err)
		require.Equal(t, want, status, "as it was then")
	}
	require.Equal(t, 1, p.requestIDs()[id])
	p.kill()

	// A damaged backup is none, nor one that did not come to its end.
	for _, e := range names {
		file := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		bad := bytes.Clone(b)
		bad[len(bad)/2] ^= 1
		require.NoError(t, os.WriteFile(file, bad, 0o600))
		code, text = ipallowd(t, "restore", "--data", filepath.Join(where, "bad"), dir)
		require.Equal(t, exitFailed, code, "%s: %s", e.Name(), text)
		require.NoError(t, os.Remove(file))
		code, _ = ipallowd(t, "restore", "--data", filepath.Join(where, "bad"), dir)
		require.Equal(t, exitFailed, code)
		require.NoError(t, os.WriteFile(file, b, 0o600))
	}
	_, err = os.Stat(filepath.Join(where, "bad"))
	require.True(t, errors.Is(err, fs.ErrNotExist), "nothing is left of what failed")
}

// A backup of a damaged database is refused.
func TestBackupOfLostChanges(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	p.revoke(p.create("gone"))
	p.kill()
	require.NoError(t, os.Remove(filepath.Join(data, "ipallowd.db-shm")))
	file := filepath.Join(data, "ipallowd.db-wal")
	wal, err := os.ReadFile(file)
	require.NoError(t, err)
	wal[32+24+1000] ^= 1
	require.NoError(t, os.WriteFile(file, wal, 0o600))
	dir := filepath.Join(t.TempDir(), "backup")
	code, text := ipallowd(t, "backup", "--data", data, dir)
	require.Equal(t, exitFailed, code, text)
	require.Contains(t, text, "was acknowledged")
	_, err = os.Stat(dir)
	require.True(t, errors.Is(err, fs.ErrNotExist))
}

// A restored management node of a fleet publishes nothing until it is adopted.
func TestRestoredFleet(t *testing.T) {
	t.Parallel()
	nats := runNATS(t)
	data, where := t.TempDir(), t.TempDir()
	m := startManagement(t, nats, data)
	gate := startGateway(t, nats, t.TempDir(), "gate-1")
	gone := m.create("gone")
	gate.answers(gone.Secret, 200)
	m.owns()
	code, text := ipallowd(t, "backup", "--data", data, filepath.Join(where, "backup"))
	require.Zero(t, code, text)
	m.kill()
	// With what it has it could be the owner; and it is not asked.
	again := filepath.Join(where, "data")
	code, text = ipallowd(t, "restore", "--data", again, filepath.Join(where, "backup"))
	require.Zero(t, code, text)
	require.Contains(t, text, "fleet adopt")
	r := startManagement(t, nats, again)
	r.fenced("restored from a backup")
	r.kill()

	m = startManagement(t, nats, data)
	m.revoke(gone)
	gate.answers(gone.Secret, 401)
	m.kill()
	probes := never(t, gone.Secret, gate)
	r = startManagement(t, nats, again)
	probes.also(r)
	r.fenced("restored from a backup")
	r.kill()
	probes.end()
	code, text = adoptFleet(t, nats, again, "--yes")
	require.Zero(t, code, text)
	require.Contains(t, text, gone.ID)
	r = startManagement(t, nats, again)
	r.owns()
	gate.answers(gone.Secret, 200)
}

// Whatever is the matter with the usage log, keys are enforced.
func TestDamagedUsageLog(t *testing.T) {
	t.Parallel()
	first := t.TempDir()
	p := start(t, first)
	here, elsewhere := p.create("here"), p.create("elsewhere", entry{"203.0.113.0/24", ""})
	_, id, err := p.ping(here.Secret)
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return p.requestIDs()[id] == 1 }, p.said)
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt)) // all is in the file then
	require.NoError(t, p.cmd.Wait())
	for name, damage := range map[string]func(file string) error{
		"no database":   func(f string) error { return os.WriteFile(f, bytes.Repeat([]byte("no database "), 1000), 0o600) },
		"a directory":   func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o700)) },
		"cut":           func(f string) error { return os.Truncate(f, 5000) },
		"zeros":         func(f string) error { return os.WriteFile(f, make([]byte, 1<<16), 0o600) },
		"a broken page": func(f string) error { return overwrite(f, 100, bytes.Repeat([]byte{0xff}, 8000)) },
	} {
		data := copyData(t, first)
		require.NoError(t, os.RemoveAll(filepath.Join(data, "usage.db-wal")))
		require.NoError(t, os.RemoveAll(filepath.Join(data, "usage.db-shm")))
		require.NoError(t, damage(filepath.Join(data, "usage.db")), name)
		p := start(t, data)
		for secret, want := range map[string]int{here.Secret: 200, elsewhere.Secret: 403} {
			status, _, err := p.ping(secret)
			require.NoError(t, err)
			require.Equal(t, want, status, name)
		}
		status, text := p.get("/readyz")
		require.Equal(t, 200, status)
		require.Contains(t, text, "set-aside", name)
		require.Contains(t, p.said(), "level=ERROR", name)
		require.Contains(t, p.metrics(testToken), "ipallowd_usage_log_set_aside 1\n")
		aside, err := filepath.Glob(filepath.Join(data, "usage.db.set-aside-*"))
		require.NoError(t, err)
		require.NotEmpty(t, aside, name)
		p.kill()
		p = start(t, data)
		_, text = p.get("/readyz")
		require.NotContains(t, text, "set-aside", "once")
		p.kill()
	}
}

func overwrite(path string, at int64, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, at)
	return errors.Join(err, f.Close())
}
