package attacktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

// TestSlowClients: who sends or takes byte by byte, or nothing, loses the
// connection, whether it has a key or not, and keeps nobody waiting. All of them
// are tried at once, since each takes as long as its limit.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	var all sync.WaitGroup
	for name, slow := range map[string]struct{ addr, from, head, want string }{
		// 10 seconds for a header.
		"header, gateway":    {s.gateway, outside, "GET /v1/ping HTTP/1.1\r\nHost: localhost\r\nX-A: ", ""},
		"header, management": {s.manage, outside, "GET /login HTTP/1.1\r\nHost: localhost\r\nX-A: ", ""},
		"nothing, TLS":       {s.gateway, outside, "\x16", ""},
		// 5 seconds for a body that the gateway does not pass on.
		"body, no key":     {s.gateway, outside, "POST /v1/ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", " 401 "},
		"body, chunked":    {s.gateway, outside, "POST /v1/ping HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n186A0\r\n", " 401 "},
		"body, refused":    {s.gateway, outside, "POST /v1/ping HTTP/1.1\r\nHost: localhost\r\nX-API-Key: " + k.Secret + "\r\nContent-Length: 100000\r\n\r\n", " 403 "},
		"body, ping":       {s.gateway, inside, "GET /v1/ping HTTP/1.1\r\nHost: localhost\r\nX-API-Key: " + k.Secret + "\r\nContent-Length: 100000\r\n\r\n", " 200 "},
		"body, reserved":   {s.gateway, outside, "POST /_ipallow/authz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", " 404 "},
		"body, not a path": {s.gateway, inside, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nX-API-Key: " + k.Secret + "\r\nContent-Length: 100000\r\n\r\n", " 400 "},
		// 30 seconds for a whole request to the management listener.
		"API, no token": {s.manage, outside, "POST /api/v1/keys HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", " 401 "},
		"API": {s.manage, home, "POST /api/v1/keys HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken +
			"\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n", " 408 "},
		"login": {s.manage, outside, "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10000\r\n\r\n", " 400 "},
	} {
		c := dial(t, slow.addr, slow.from)
		all.Go(func() {
			got, err := dripped(c, slow.head)
			if err != nil || !strings.Contains(got, slow.want) || slow.want == "" && strings.Contains(got, " 200 ") {
				t.Errorf("%s: %v, answer %q", name, err, got)
			}
		})
	}
	for addr, path := range map[string]string{s.gateway: "/v1/ping", s.manage: "/login"} {
		c := dial(t, addr, outside)
		all.Go(func() {
			if err := neverRead(c, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				t.Errorf("client that never reads %s: %v", path, err)
			}
		})
	}
	for range 20 {
		require.Equal(t, 200, s.ping(inside, k.Secret).StatusCode)
		require.Equal(t, 200, s.api("GET", "/api/v1/keys", "").StatusCode)
	}
	all.Wait()
}

// dripped sends head, and then a byte now and then until the server closes the
// connection. It returns what the server answered.
func dripped(c net.Conn, head string) (string, error) {
	if _, err := io.WriteString(c, head); err != nil {
		return "", err
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				_, _ = io.WriteString(c, "a")
			}
		}
	}()
	if err := c.SetReadDeadline(time.Now().Add(2 * patience)); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil // a reset is as good as an end
	}
	return string(b), err
}

// neverRead sends requests and reads no answer until the server closes the
// connection.
func neverRead(c *net.TCPConn, request string) error {
	if err := c.SetReadBuffer(128 << 10); err != nil {
		return err
	}
	requests := []byte(strings.Repeat(request, 1000))
	blocked := false
	for end := time.Now().Add(2 * patience); time.Now().Before(end); {
		if err := c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			return err
		}
		switch _, err := c.Write(requests); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			blocked = true // the server does not read on, since it waits for us
		case err != nil && !blocked:
			return fmt.Errorf("the attack was none: %w", err)
		case err != nil:
			return nil // it has closed the connection
		}
	}
	return errors.New("the server holds the connection")
}

// TestIdleConnections: connections that say nothing keep nobody waiting. Their
// number is bounded by the limit on open files alone, as docs/security.md says.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	for i := range 400 {
		dial(t, []string{s.gateway, s.manage, s.authz}[i%3], outside)
	}
	require.Equal(t, 200, s.ping(inside, k.Secret).StatusCode)
	require.Equal(t, 200, s.api("GET", "/api/v1/keys", "").StatusCode)
}

// TestExportToNobody: the client of a large export that is killed leaves nothing
// running behind.
func TestExportToNobody(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	records := make([]usagelog.Record, 50_000)
	for i := range records {
		id := usagelog.RecordID{1, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}
		records[i] = usagelog.Record{ID: id, Time: time.Now().Add(-time.Hour), KeyID: k.ID, Method: "GET",
			Path: "/" + strings.Repeat("x", 200) + fmt.Sprint(i), Status: 200, ClientAddr: netip.MustParseAddr(inside), Verdict: ipallow.Allowed}
	}
	require.NoError(t, s.Logs.Append(t.Context(), records))
	cookie := s.login(home)
	running := func(function string) bool {
		buf := make([]byte, 8<<20)
		return strings.Contains(string(buf[:runtime.Stack(buf, true)]), function)
	}
	for function, head := range map[string]string{
		"api.(*handler).exportLogs": "GET /api/v1/logs.csv HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n",
		"page.(*Page).logsCSV":      "GET /logs.csv HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie + "\r\n\r\n",
	} {
		for range 5 {
			c := dial(t, s.manage, home)
			require.NoError(t, c.SetReadBuffer(4096))
			_, err := io.WriteString(c, head)
			require.NoError(t, err)
			_, err = io.ReadFull(c, make([]byte, 2000))
			require.NoError(t, err)
			require.True(t, running(function), "it was over before the attack began")
			require.NoError(t, c.SetLinger(0)) // a reset, as of a process that is gone
			require.NoError(t, c.Close())
		}
		require.Eventually(t, func() bool { return !running(function) }, patience, 10*time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Close(ctx))
}

// TestChartsWithoutEnd: twelve clients who ask for charts of filters that choose a part of
// every block hold back neither a save, which asks the log whom it would lock out, nor a
// revocation, nor a request.
func TestChartsWithoutEnd(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a") // for 127.0.0.2
	traffic := logtraffic.New(40_000)
	traffic.Keys[0], traffic.Now = k.ID, time.Now().Add(-logtraffic.Month)
	for range 20 {
		require.NoError(t, s.Logs.Append(t.Context(), traffic.Batch(2000)))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var drawn, refused atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range 12 {
		wg.Go(func() {
			q := url.Values{"path": {"/v1/users/" + strconv.Itoa(i)}, "address": {"203.0.0.0/16"}, "method": {"PATCH"}, "width": {"1d"},
				"from": {traffic.Now.Add(-logtraffic.Month).UTC().Format(time.RFC3339)}}
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.manage+"/api/v1/logs/summary?"+q.Encode(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+adminToken)
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					continue
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				switch res.StatusCode {
				case 200:
					drawn.Add(1)
				case 503:
					refused.Add(1)
				default:
					t.Errorf("a chart: %s", res.Status)
					return
				}
			}
		})
	}
	require.Eventually(t, func() bool { return drawn.Load() >= 12 }, patience, time.Millisecond, "charts are drawn")
	list := func(entries, more string) string { return `{"entries":[` + entries + `]` + more + `}` }
	for i := range 20 {
		a := s.api("PUT", "/api/v1/keys/"+k.ID+"/allowlist", list(`{"entry":"127.0.0.2"},{"entry":"203.0.0.0/16"},{"entry":"192.0.2.`+strconv.Itoa(i)+`"}`, `,"confirm_lockout":true`))
		require.Equal(t, 200, a.StatusCode, a.text)
		a = s.api("PUT", "/api/v1/keys/"+k.ID+"/allowlist", list(`{"entry":"127.0.0.2"}`, ""))
		require.Equal(t, 409, a.StatusCode, "it locks out 203.0.0.0/16: %s", a.text)
		require.Equal(t, 200, s.ping(inside, k.Secret).StatusCode)
	}
	n := drawn.Load()
	require.Eventually(t, func() bool { return drawn.Load() > n }, patience, time.Millisecond, "charts are drawn still")
	require.Equal(t, 200, s.api("DELETE", "/api/v1/keys/"+k.ID, "").StatusCode)
	require.Equal(t, 401, s.ping(inside, k.Secret).StatusCode)
	t.Logf("%d charts, %d refused", drawn.Load(), refused.Load())
}
