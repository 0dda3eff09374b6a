package logstore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

// killEnv holds the directory for the child process of TestKill.
const killEnv = "IPALLOW_LOGSTORE_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		if err := killChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// killChild records from several goroutines, singly and in bursts, and prints
// what was acknowledged, until it is killed.
func killChild(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, Options{Path: filepath.Join(dir, "usage.db")})
	if err != nil {
		return err
	}
	w, err := usagelog.Open(filepath.Join(dir, "wal"), s, &usagelog.Options{
		Linger: time.Millisecond, BatchRecords: []int{1, 30, 512, 4096}[rand.IntN(4)],
		OnError: func(err error) { fmt.Fprintln(os.Stderr, err) },
	})
	if err != nil {
		return err
	}
	run := rand.Uint64()
	record := func(g, n int) usagelog.Record {
		return usagelog.Record{
			RequestID: fmt.Sprintf("%x-%d-%d", run, g, n), KeyID: fmt.Sprintf("key_%d", n%7), Method: "GET", Path: "/v1/items",
			Status: 200, Verdict: ipallow.Allowed,
		}
	}
	for g := range 4 {
		go func() {
			for n := 0; ; n++ {
				if r := record(g, n); w.Append(ctx, r) == nil {
					fmt.Println("ack " + r.RequestID)
				}
			}
		}()
	}
	for n := 0; ; n += 500 {
		var ids strings.Builder
		for i := range 500 {
			if r := record(4, n+i); w.Record(r) {
				ids.WriteString("ack " + r.RequestID + "\n")
			}
		}
		if err := w.Flush(ctx); err != nil {
			return err
		}
		os.Stdout.WriteString(ids.String())
	}
}

// TestKill kills a process that records into a Store through a Writer, with
// SIGKILL at random moments: what it had acknowledged is stored, once.
func TestKill(t *testing.T) {
	rounds := 5
	if text := os.Getenv("IPALLOW_KILL_ROUNDS"); text != "" {
		var err error
		rounds, err = strconv.Atoi(text)
		require.NoError(t, err, "IPALLOW_KILL_ROUNDS")
	}
	dir := ""
	var acked []string
	total, stored, replayed := 0, 0, uint64(0)
	for round := range rounds {
		if round%5 == 0 { // begin anew, or looking takes longer and longer
			dir, acked = t.TempDir(), nil
		}
		ids := runAndKill(t, dir)
		acked = append(acked, ids...)
		total += len(ids)

		path := filepath.Join(dir, "usage.db")
		s, err := Open(t.Context(), Options{Path: path})
		require.NoError(t, err)
		stored += int(s.Stats().Records)
		w, err := usagelog.Open(filepath.Join(dir, "wal"), s, nil)
		require.NoError(t, err)
		replayed += w.Stats().Replayed
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		require.NoError(t, w.Close(ctx))
		cancel()
		require.Zero(t, w.Stats().Lost.Total())

		have := make(map[string]int)
		for _, r := range all(t, s, usagelog.Filter{}) {
			have[r.RequestID]++
		}
		for id, n := range have {
			require.Equal(t, 1, n, "round %d: %s is stored more than once", round, id)
		}
		for _, id := range acked {
			require.Equal(t, 1, have[id], "round %d: %s was acknowledged", round, id)
		}
		require.EqualValues(t, len(have), s.Stats().Records)
		require.Zero(t, s.Stats().DamagedBlocks)
		checkBlocks(t, s)
		require.Equal(t, "ok", check(t, s))
		require.NoError(t, s.Close())
	}
	t.Logf("%d rounds: %d records acknowledged, %d stored when killed, %d replayed; none lost, none twice", rounds, total, stored, replayed)
	require.Positive(t, total, "nothing was acknowledged: the test shows nothing")
	require.Positive(t, replayed, "nothing was ever replayed: the test shows nothing")
}

// check returns what SQLite says of the whole file.
func check(t testing.TB, s *Store) (verdict string) {
	t.Helper()
	require.NoError(t, s.read.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict))
	return verdict
}

// runAndKill runs the child until a random moment and returns what it had
// acknowledged.
func runAndKill(t *testing.T, dir string) (acked []string) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	r := bufio.NewReader(out)
	var kill *time.Timer
	for {
		line, err := r.ReadString('\n')
		if err != nil { // a line cut short by the kill was not said
			require.ErrorIs(t, err, io.EOF)
			break
		}
		acked = append(acked, strings.TrimSpace(strings.TrimPrefix(line, "ack ")))
		if kill == nil {
			kill = time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, func() { cmd.Process.Kill() })
			defer kill.Stop()
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.False(t, exit.Exited(), "the child ended by itself: %v", err)
	return acked
}
