package api

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

// exportRows is more than all buffers between a server and a client hold.
const exportRows = 40_000

// fillLarge puts exportRows records into the log.
func (w *world) fillLarge() {
	w.t.Helper()
	const batch = 4000
	records := make([]usagelog.Record, batch)
	for n := 0; n < exportRows; n += batch {
		for i := range records {
			records[i] = usagelog.Record{
				Time: day.Add(time.Duration(n+i) * time.Millisecond), RequestID: fmt.Sprint("req-", n+i), KeyID: keyA, Method: "GET",
				Path: "/v1/items/" + strings.Repeat("x", 900), Status: 200, ClientAddr: netip.MustParseAddr("203.0.113.5"), Verdict: ipallow.Allowed,
			}
		}
		w.record(records...)
	}
}

// export begins an export and returns the answer with its body unread.
func (w *world) export(ctx context.Context, client *http.Client) *http.Response {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", w.server.URL+exportPath, nil)
	require.NoError(w.t, err)
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := client.Do(req)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { resp.Body.Close() })
	require.Equal(w.t, 200, resp.StatusCode)
	return resp
}

// TestLargeExport streams: the server never holds the file.
func TestLargeExport(t *testing.T) {
	w := newWorld(t, settings{writeTimeout: 100 * time.Millisecond})
	w.fillLarge()
	resp := w.export(t.Context(), w.client)
	rows, bytes := 0, 0
	var mem runtime.MemStats
	var most uint64
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if rows == 1 {
			// Longer than the server would let an answer take. The client is
			// slow on purpose; nothing waits for this.
			time.Sleep(150 * time.Millisecond)
		}
		rows++
		bytes += len(lines.Bytes())
		if rows%10_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&mem)
			most = max(most, mem.HeapAlloc)
		}
	}
	require.NoError(t, lines.Err())
	require.Equal(t, exportRows+1, rows)
	require.Greater(t, bytes, 30<<20)
	require.Less(t, most, uint64(30<<20), "bytes held while exporting")
}

// TestExportThatBreaksOff takes the store away on the way. The client must not
// take the part for the whole.
func TestExportThatBreaksOff(t *testing.T) {
	w := newWorld(t)
	w.fillLarge()
	resp := w.export(t.Context(), w.client)
	lines := bufio.NewReader(resp.Body)
	_, err := lines.ReadString('\n')
	require.NoError(t, err)

	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "usage.db")+"?_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	_, err = db.Exec("DROP TABLE blocks")
	require.NoError(t, err)
	require.NoError(t, db.Close())

	n, err := io.Copy(io.Discard, lines)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Positive(t, n)
	eventually(t, func() bool { return strings.Contains(w.output.String(), "broke off") })
	require.Contains(t, w.output.String(), resp.Header.Get("X-Request-Id"))
	require.NotContains(t, w.output.String(), "panic serving")
}

// TestExportToNobody stops to read, and then goes away. Neither keeps the
// server busy.
func TestExportToNobody(t *testing.T) {
	w := newWorld(t, settings{stall: 200 * time.Millisecond})
	w.fillLarge()
	resp := w.export(t.Context(), w.client)
	gone := func(n int) func() bool {
		return func() bool { return strings.Count(w.output.String(), "did not take it to its end") == n }
	}
	eventually(t, gone(1))
	_, err := io.Copy(io.Discard, resp.Body)
	require.Error(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp = w.export(ctx, w.client)
	cancel()
	_, err = io.Copy(io.Discard, resp.Body)
	require.ErrorIs(t, err, context.Canceled)
	eventually(t, gone(2))
	require.NotContains(t, w.output.String(), "broke off")
}

// TestConnectionAfterExport is used again, long after the export's limit.
func TestConnectionAfterExport(t *testing.T) {
	w := newWorld(t, settings{stall: 50 * time.Millisecond})
	w.served(keyA, "203.0.113.5", time.Minute)
	text, err := io.ReadAll(w.export(t.Context(), w.client).Body)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(text), "\r\n"))
	time.Sleep(100 * time.Millisecond) // twice the limit; nothing waits for this

	reused := false
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused },
	}), "GET", w.server.URL+"/api/v1/keys", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := w.client.Do(req)
	require.NoError(t, err)
	w.read(req, nil, resp).ok(200, nil)
	require.True(t, reused)
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, 5*time.Millisecond, "it never came")
}

// A plainWriter is a ResponseWriter without deadlines or Flush, as middleware
// makes them.
type plainWriter struct {
	http.ResponseWriter
}

// TestExportThroughMiddleware writes to one of those.
func TestExportThroughMiddleware(t *testing.T) {
	w := newWorld(t)
	w.served(keyA, "203.0.113.5", time.Minute)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.handler.ServeHTTP(plainWriter{rw}, r)
		}),
		ReadHeaderTimeout: time.Minute,
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { server.Close() })
	w.server.URL = "http://" + listener.Addr().String()
	require.Len(t, readCSV(t, w.get(exportPath).ok(200, nil)), 2)
}

// TestExportHead asks for the header alone. The log, which is closed, is not
// read for it.
func TestExportHead(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.logs.Close())
	a := w.do(call{method: "HEAD", path: exportPath}).ok(200, nil)
	require.Equal(t, "text/csv; charset=utf-8; header=present", a.Header.Get("Content-Type"))
	w.do(call{method: "HEAD", path: exportPath + "?limit=5"}).ok(400, nil)
}
