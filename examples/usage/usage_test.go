package usage_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/examples/internal/auth"
	"github.com/ipallow/ipallow/examples/internal/check"
	"github.com/ipallow/ipallow/examples/usage"
	"github.com/ipallow/ipallow/httpallow"
	"github.com/ipallow/ipallow/usagelog"
)

// logged is the text of a logger that many goroutines write.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

const slow = 30 * time.Millisecond

func api(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/slow":
		time.Sleep(slow)
		w.WriteHeader(http.StatusAccepted)
	case "/early":
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
	case "/flush":
		w.(http.Flusher).Flush()
	case "/nothing":
	case "/panic":
		panic(http.ErrAbortHandler)
	case "/hijack":
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\n\r\n")
		_ = rw.Flush()
		conn.Close()
	default:
		_, _ = io.WriteString(w, "hello")
	}
}

// setKey is the part of authentication that tells the log.
func setKey(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := httpallow.KeyFromContext(r)
		usage.SetKey(r.Context(), id)
		next.ServeHTTP(w, r)
	})
}

func TestEveryRequestIsRecorded(t *testing.T) {
	check.NeedLoopback(t)
	store := usagelog.NewMemoryStore(0)
	writer, err := usagelog.Open(t.TempDir(), store, nil)
	require.NoError(t, err)
	var lines logged
	source, err := clientip.New(nil)
	require.NoError(t, err)
	log := usage.New(writer, source, slog.New(slog.NewTextHandler(&lines, nil)))
	allow, err := httpallow.New(check.Engine(t), &httpallow.Options{Key: httpallow.KeyFromContext, Source: source, Explain: true, Observe: log.Observe})
	require.NoError(t, err)
	handler := log.Handler(auth.Authenticate(setKey(auth.RequireScope(allow.Handler(http.HandlerFunc(api))))))
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()

	tests := []struct {
		reason, ip, auth, method, path string
		want                           usagelog.Record
	}{
		{"an unknown key", check.Outside, "Bearer wrong", "GET", "/v1/items", usagelog.Record{Status: 401}},
		{"no scope", check.Outside, "Bearer secret-1", "POST", "/v1/items", usagelog.Record{Status: 403, KeyID: "key_1"}},
		{"refused", check.Outside, "Bearer secret-1", "GET", "/v1/refused", usagelog.Record{Status: 403, KeyID: "key_1"}},
		{"served", check.Inside, "Bearer secret-1", "GET", "/v1/items", usagelog.Record{Status: 200, KeyID: "key_1", Verdict: ipallow.Allowed}},
		{"no list", check.Outside, "Bearer secret-2", "GET", "/v1/items", usagelog.Record{Status: 200, KeyID: "key_2", Verdict: ipallow.Unrestricted}},
		{"the duration is that of the handler", check.Inside, "Bearer secret-1", "GET", "/slow", usagelog.Record{Status: 202, KeyID: "key_1", Verdict: ipallow.Allowed, Duration: slow}},
		{"early hints are no status", check.Inside, "Bearer secret-1", "GET", "/early", usagelog.Record{Status: 418, KeyID: "key_1", Verdict: ipallow.Allowed}},
		{"flushed", check.Inside, "Bearer secret-1", "GET", "/flush", usagelog.Record{Status: 200, KeyID: "key_1", Verdict: ipallow.Allowed}},
		{"nothing written", check.Inside, "Bearer secret-1", "GET", "/nothing", usagelog.Record{Status: 200, KeyID: "key_1", Verdict: ipallow.Allowed}},
		{"aborted without an answer", check.Inside, "Bearer secret-1", "GET", "/panic", usagelog.Record{Status: 0, KeyID: "key_1", Verdict: ipallow.Allowed}},
		{"taken over", check.Inside, "Bearer secret-1", "GET", "/hijack", usagelog.Record{Status: 101, KeyID: "key_1", Verdict: ipallow.Allowed}},
	}
	for _, test := range tests {
		conn, err := check.Dialer(test.ip).Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err, test.reason)
		require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = io.WriteString(conn, test.method+" "+test.path+"?secret=1 HTTP/1.1\r\nHost: a\r\nAuthorization: "+test.auth+"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		require.NoError(t, err)
		_, _ = io.ReadAll(conn)
		require.NoError(t, conn.(*net.TCPConn).Close())
	}
	server.Close() // does not wait for a connection that was taken over
	require.Eventually(t, func() bool { return writer.Stats().Accepted == uint64(len(tests)) }, time.Minute, time.Millisecond, "all are recorded")
	require.NoError(t, writer.Close(context.Background()))
	require.Zero(t, writer.Stats().Lost.Total())

	page, err := store.Query(t.Context(), usagelog.Query{})
	require.NoError(t, err)
	require.Len(t, page.Records, len(tests))
	ids := map[string]bool{}
	for i, test := range tests {
		got := page.Records[len(tests)-1-i] // newest first
		require.Equal(t, test.want.Status, got.Status, test.reason)
		require.Equal(t, test.want.KeyID, got.KeyID, test.reason)
		require.Equal(t, test.want.Verdict, got.Verdict, test.reason)
		require.Equal(t, test.ip, got.ClientAddr.String(), test.reason)
		require.Equal(t, test.want.Verdict == ipallow.Allowed, got.Entry.IsValid() && got.Entry.Contains(got.ClientAddr), test.reason)
		require.Equal(t, test.method, got.Method, test.reason)
		require.Equal(t, test.path, got.Path, test.reason)
		require.GreaterOrEqual(t, got.Duration, test.want.Duration, test.reason)
		ids[got.RequestID] = true
	}
	require.Len(t, ids, len(tests), "request IDs are not unique")
	require.Equal(t, 1, strings.Count(lines.String(), "outcome=refused"), lines.String())
	require.Contains(t, lines.String(), "client=127.0.0.3 method=GET path=/v1/refused")
	require.NotContains(t, lines.String(), "secret")
}

// A request that came before the first load is recorded as such, and not as one
// that its list refused.
func TestNotReadyIsRecorded(t *testing.T) {
	store := usagelog.NewMemoryStore(0)
	writer, err := usagelog.Open(t.TempDir(), store, nil)
	require.NoError(t, err)
	var lines logged
	log := usage.New(writer, nil, slog.New(slog.NewTextHandler(&lines, nil)))
	allow, err := httpallow.New(ipallow.New(&ipallow.Options{DenyUntilLoaded: true}),
		&httpallow.Options{Key: httpallow.KeyFromContext, Observe: log.Observe})
	require.NoError(t, err)
	handler := log.Handler(auth.Authenticate(allow.Handler(http.HandlerFunc(api))))
	r := httptest.NewRequest("GET", "/v1/items", nil)
	r.Header.Set("Authorization", "Bearer secret-2")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, writer.Close(ctx))
	page, err := store.Query(ctx, usagelog.Query{Limit: 2})
	require.NoError(t, err)
	require.Len(t, page.Records, 1)
	require.Equal(t, 503, page.Records[0].Status)
	require.Equal(t, "key_2", page.Records[0].KeyID)
	require.Contains(t, lines.String(), "outcome=not_ready")
}
