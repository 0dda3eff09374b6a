//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// smallDisk mounts a disk of so many MiB, which needs root: CI has it.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", mib))
	if err != nil && os.Getenv("CI") == "" {
		t.Skipf("a small disk cannot be mounted: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

// fill leaves nothing of the disk.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "others"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer f.Close()
	for b := make([]byte, 1<<20); len(b) >= 1; {
		if _, err := f.Write(b); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			b = b[:len(b)/2]
		}
	}
}

// used returns the size of all files of the server.
func usedBytes(t *testing.T, data string) (n int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "others" {
			return nil // what is gone meanwhile
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	}))
	return n
}

// readiness returns the status that /readyz has, and what it says.
func (p *process) readiness() (code int, status, reason string) {
	p.t.Helper()
	resp, err := p.client.Get(p.management + "/readyz")
	require.NoError(p.t, err)
	defer resp.Body.Close()
	var v struct{ Status, Reason string }
	require.NoError(p.t, json.NewDecoder(resp.Body).Decode(&v))
	return resp.StatusCode, v.Status, v.Reason
}

// flood sends requests without a key as fast as they are taken.
func (p *process) flood(requests int, path string) {
	p.t.Helper()
	const conns = 8
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			p.pipeline(requests/conns, 401, func(int) string { return "GET " + path + " HTTP/1.1\r\nHost: api\r\n\r\n" })
		})
	}
	wg.Wait()
}

// pipeline sends requests on one connection, 50 at a time, and demands that each answer
// has the status. It only counts status lines: to read answers well would cost more than
// to give them.
func (p *process) pipeline(requests, status int, request func(i int) string) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.gateway, "http://"))
	if err != nil {
		p.t.Error(err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	const at = 50
	begins, wanted := []byte("\nX-Request-Id: "), fmt.Appendf(nil, "HTTP/1.1 %d ", status)
	var got []byte
	buf := make([]byte, 64<<10)
	for sent := 0; sent < requests; sent += at {
		var some strings.Builder
		for i := range at {
			some.WriteString(request(sent + i))
		}
		if _, err := io.WriteString(conn, some.String()); err != nil {
			p.t.Error(err)
			return
		}
		for got = got[:0]; bytes.Count(got, begins) < at || !bytes.HasSuffix(got, []byte("}\n")) && !bytes.HasSuffix(got, []byte("}")); {
			n, err := conn.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				p.t.Errorf("after %d answers: %v", sent+bytes.Count(got, begins), err)
				return
			}
		}
		if n := bytes.Count(got, wanted); n != at {
			p.t.Errorf("%d of %d answers have the status %d: %.2000s", n, at, status, got)
			return
		}
	}
}

// TestFlood sends 40,000 requests without a key. They take a few records a second,
// none is missing in the counts, and the log stays within its bound.
func TestFlood(t *testing.T) {
	data := smallDisk(t, 64)
	p := start(t, data)
	before := usedBytes(t, data)
	const requests = 40_000
	p.flood(requests, "/v1/"+strings.Repeat("x", 300))
	var sum struct {
		Total struct{ Served, Blocked, Other int }
	}
	require.Eventually(t, func() bool {
		status, err := p.api("GET", "/logs/summary?width=1h", nil, &sum)
		return err == nil && status == http.StatusOK && sum.Total.Other == requests
	}, time.Minute, 50*time.Millisecond, "%d requests are counted", requests)
	require.Less(t, usedBytes(t, data)-before, int64(8<<20))
	code, status, _ := p.readiness()
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "ready", status)
}

// TestFullDisk fills the disk of a running server. A key that was stolen is revoked
// all the same, the server says what is wrong, and all is well when there is room.
func TestFullDisk(t *testing.T) {
	data := smallDisk(t, 48)
	p := start(t, data)
	stolen, other := p.create("stolen"), p.create("other", entry{"127.0.0.1", ""})
	for range 200 {
		status, _, err := p.ping(stolen.Secret)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	fill(t, data)
	code, status, reason := p.readiness()
	require.Equal(t, http.StatusOK, code, "it enforces as it should")
	require.Equal(t, "degraded", status)
	require.Contains(t, reason, "the disk is nearly full")
	require.Equal(t, "1", p.metric("ipallowd_disk_low"))
	require.Equal(t, "0", p.metric("ipallowd_disk_full"))
	p.flood(8000, "/v1/ping") // nothing of the room that is given next may go to the log
	var long []entry
	for i := range 20 {
		long = append(long, entry{fmt.Sprintf("203.0.113.%d", i), strings.Repeat("x", 100)})
	}
	made := 0
	for ; made < 5000; made++ { // what SQLite has already
		var answer struct {
			Error struct{ Code, Message string }
		}
		status, err := p.api("POST", "/keys", map[string]any{"name": "new", "scopes": []string{"read"}, "allowlist": long}, &answer)
		require.NoError(t, err)
		if status != http.StatusCreated {
			require.Equal(t, http.StatusInsufficientStorage, status)
			require.Equal(t, "DISK_FULL", answer.Error.Code)
			require.Contains(t, answer.Error.Message, "the disk is full")
			break
		}
	}
	require.Less(t, made, 5000, "the disk is never full: the test shows nothing")

	status2, err := p.api("DELETE", "/keys/"+stolen.ID, nil, nil)
	require.NoError(t, err)
	require.Less(t, status2, 300)
	status2, _, err = p.ping(stolen.Secret)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, status2, "it is revoked at once")
	status2, _, err = p.ping(other.Secret)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status2, "others are served")
	status2, err = p.api("PUT", "/keys/"+other.ID+"/allowlist", map[string]any{"entries": []entry{{"203.0.113.9", ""}}, "confirm_lockout": true}, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status2, "a list can be made narrower")

	// Nothing is left, not even of the reserve.
	for n := 0; ; n++ {
		fill(t, data)
		require.Less(t, n, 2000, "the reserve never ends")
		status, err := p.api("PUT", "/keys/"+other.ID+"/allowlist", map[string]any{
			"entries": append([]entry{{fmt.Sprintf("198.51.%d.%d", n/256, n%256), ""}}, long[1:]...), "confirm_lockout": true,
		}, nil)
		require.NoError(t, err)
		if status == http.StatusInsufficientStorage {
			break
		}
		require.Equal(t, http.StatusOK, status)
	}
	code, status, reason = p.readiness()
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "not ready", status)
	require.Contains(t, reason, "the disk is full")
	require.Equal(t, "1", p.metric("ipallowd_disk_full"))

	require.NoError(t, os.Remove(filepath.Join(data, "others")))
	code, status, _ = p.readiness()
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "ready", status)
	status2, err = p.api("DELETE", "/keys/"+other.ID, nil, nil)
	require.NoError(t, err)
	require.Less(t, status2, 300)
	again := p.create("new again")
	_, id, err := p.ping(again.Secret)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		req, err := http.NewRequest("GET", p.management+"/api/v1/logs.csv?request_id="+id, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+testToken)
		resp, err := p.client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return err == nil && bytes.Contains(b, []byte(id))
	}, time.Minute, 50*time.Millisecond, "the log records again:\n%s", p.stderr)
}

// TestLogFillsItsBound has more records than the log may take: it goes on with the
// newest, and the key database has room.
func TestLogFillsItsBound(t *testing.T) {
	data := smallDisk(t, 128)
	p := start(t, data, "--log-max-bytes", "32MiB")
	keys := []createdKey{p.create("a"), p.create("b")}
	const conns, each = 8, 5000
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			random := make([]byte, 450) // what cannot be compressed needs fewer requests
			source := rand.NewChaCha8([32]byte{byte(i)})
			p.pipeline(each, 404, func(int) string {
				_, _ = source.Read(random)
				return fmt.Sprintf("GET /v1/%x HTTP/1.1\r\nHost: api\r\nX-API-Key: %s\r\n\r\n", random, keys[i%2].Secret)
			})
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool { return p.metric("ipallowd_log_records_pending") == "0" }, time.Minute, 50*time.Millisecond, "all are stored")
	require.LessOrEqual(t, usedBytes(t, data), int64(32<<20+8<<20), "the log, and the keys")
	var sum struct {
		Total struct{ Served, Blocked, Other int }
	}
	status, err := p.api("GET", "/logs/summary?width=1h", nil, &sum)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Less(t, sum.Total.Served, conns*each, "the oldest records have gone, or the test shows nothing")
	require.Greater(t, sum.Total.Served, conns*each/10, "and no others")
	status, err = p.api("DELETE", "/keys/"+keys[0].ID, nil, nil)
	require.NoError(t, err)
	require.Less(t, status, 300)
	code, state, _ := p.readiness()
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "ready", state)
}
