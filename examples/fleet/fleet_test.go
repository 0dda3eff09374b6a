package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFlags(t *testing.T) {
	for _, test := range []struct {
		args string
		want int
		says string
	}{
		{"--help", 0, "go run ./examples/fleet --short"},
		{"--keys 49", 2, "50 to 100000 keys"},
		{"--keys 100001", 2, "50 to 100000 keys"},
		{"--keys many", 2, "invalid value"},
		{"something", 2, "no arguments"},
	} {
		var out, errOut bytes.Buffer
		require.Equal(t, test.want, run(context.Background(), strings.Fields(test.args), &out, &errOut), test.args)
		require.Contains(t, errOut.String(), test.says)
		require.Empty(t, out.String())
	}
}

// Records that are missing or there twice are noticed.
func TestCompare(t *testing.T) {
	due := map[string]bool{"a": true, "b": true, "excused": false}
	require.Equal(t, reckoning{records: 4, due: 2, excused: 1}, compare(due, map[string]int{"a": 1, "b": 1, "excused": 1, "without an answer": 1}))
	require.Equal(t, reckoning{records: 2, due: 2, excused: 1, lost: 1}, compare(due, map[string]int{"a": 1, "b": 1}))
	require.Equal(t, reckoning{records: 3, due: 2, missing: 1, twice: 1, excused: 1}, compare(due, map[string]int{"a": 2, "excused": 1}))
	require.NoError(t, reckoning{excused: 1, lost: 1}.err())
	require.Error(t, reckoning{missing: 1}.err())
	require.Error(t, reckoning{twice: 1}.err())
}

// The lines of the fault tests do what is said of them.
func TestLine(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	l, err := newLine(server.Addr().String())
	require.NoError(t, err)
	all := lines{l}
	defer all.close()
	// dial and echo report whether bytes come back.
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	echo := func(c net.Conn, n int, limit time.Duration) error {
		_ = c.SetDeadline(time.Now().Add(limit))
		if _, err := c.Write(make([]byte, n)); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, n))
		return err
	}
	c := dial()
	require.NoError(t, echo(c, 1000, 10*time.Second))
	all.cut()
	require.ErrorIs(t, echo(c, 1, 10*time.Second), io.EOF)
	require.Error(t, echo(dial(), 1, 10*time.Second))
	all.heal()
	c = dial()
	require.NoError(t, echo(c, 1, 10*time.Second))
	all.freeze()
	require.ErrorIs(t, echo(c, 1, 100*time.Millisecond), os.ErrDeadlineExceeded, "dead, and not closed")
	require.ErrorIs(t, echo(dial(), 1, 100*time.Millisecond), os.ErrDeadlineExceeded)
	all.heal()
	c = dial()
	all.slow(10_000)
	began := time.Now()
	require.NoError(t, echo(c, 2000, 10*time.Second))
	require.Greater(t, time.Since(began), 150*time.Millisecond)
}

// A writer that tells when a text was written.
type watcher struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	text string
	then func()
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if w.then != nil && strings.Contains(w.buf.String(), w.text) {
		w.then()
		w.then = nil
	}
	return len(p), nil
}

// The whole program, with less time for each rate.
func TestShow(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	var out bytes.Buffer
	require.NoError(t, runIn(context.Background(), parent, config{keys: 300, lasting: time.Second / 2}, &out), "%s", &out)
	t.Log(out.String())
	require.Contains(t, out.String(), "requests by refused addresses that were served: 0\n")
	require.Regexp(t, `answers due, 0 missing, 0 twice\n`, out.String())
	require.Regexp(t, `(?m)^  gateway-3 +gateway +yes`, out.String())
	require.Empty(t, left(t, parent))
}

// Ctrl-C in the middle leaves no process and no directory behind.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := &watcher{text: "Changes under load", then: func() { require.NotEmpty(t, left(t, parent)); cancel() }}
	require.ErrorContains(t, runIn(ctx, parent, config{keys: 50, lasting: time.Minute}, out), "stopped", "%s", &out.buf)
	require.Empty(t, left(t, parent))
}
