//go:build unix

package attacktest

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// childEnv says that the process is one whose disk fills up.
const childEnv = "ATTACKTEST_FULL_DISK"

// TestFullDisk: a stranger who fills the disk with records of refused requests
// does not stop the gateway, and what cannot be kept is counted. A limit on the
// size of files stands for the disk, so it is tried in a process of its own.
func TestFullDisk(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		fullDisk(t)
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestFullDisk")
}

func fullDisk(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	s := start(t)
	k := s.key("a")
	limit := func(bytes uint64) {
		var old syscall.Rlimit
		require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
		old.Cur = min(bytes, old.Max)
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
	}
	c := client(t, inside)
	asked := uint64(0)
	ask := func() {
		t.Helper()
		req, err := http.NewRequest("GET", "http://"+s.gateway+"/v1/ping", nil)
		require.NoError(t, err)
		req.Header.Set("X-API-Key", k.Secret)
		res, err := c.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 200, res.StatusCode)
		asked++
	}
	ask()
	s.stored()
	limit(1 << 10) // less than any of the files has already
	end := time.Now().Add(patience)
	for s.Log.Stats().WALErrors+s.Log.Stats().StoreErrors == 0 {
		require.True(t, time.Now().Before(end), "the disk is not full")
		ask()
	}
	for range 100 {
		ask() // enforcement goes on
	}
	require.Equal(t, 403, s.ping(outside, k.Secret).StatusCode)
	asked++
	a := s.api("DELETE", "/api/v1/keys/"+k.ID, "")
	require.GreaterOrEqual(t, a.StatusCode, 500, "what is not stored is not acknowledged: %s", a.text)
	require.Contains(t, s.api("GET", "/metrics", "").text, "ipallowd_log_wal_errors_total")
	stats := s.Log.Stats()
	require.Equal(t, asked, stats.Accepted, "%+v", stats)

	limit(^uint64(0)) // somebody made room
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Log.Drain(ctx))
	stats = s.Log.Stats()
	require.Equal(t, asked, stats.Stored+stats.Lost.Total(), "each is in the store or counted: %+v", stats)
	rows := strings.Count(s.api("GET", "/api/v1/logs.csv", "").text, "\r\n") - 1
	require.EqualValues(t, stats.Stored, rows)
	require.Equal(t, 200, s.api("DELETE", "/api/v1/keys/"+k.ID, "").StatusCode)
	require.Equal(t, 401, s.ping(inside, k.Secret).StatusCode)
}
