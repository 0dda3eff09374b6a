package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// switching answers by another protocol, which sends back each line.
func switching(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		_, _ = io.WriteString(w, "not switched")
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := io.WriteString(conn, "you said "+line); err != nil {
			return
		}
	}
}

// A WebSocket passes, is decided on when it is opened, and is recorded when it
// ends.
func TestUpgrade(t *testing.T) {
	up := newUpstream(t, switching)
	w := up.behind(t, nil)
	conn, err := dialer(inside).Dial("tcp", w.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-API-Key: %s\r\n\r\n", w.full.token)
	require.NoError(t, err)
	answers := bufio.NewReader(conn)
	res, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	require.Equal(t, 101, res.StatusCode)
	require.Equal(t, "websocket", res.Header.Get("Upgrade"))
	id := res.Header.Get("X-Request-Id")
	for _, line := range []string{"hello\n", "there\n"} {
		_, err = io.WriteString(conn, line)
		require.NoError(t, err)
		got, err := answers.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "you said "+line, got)
	}
	require.Empty(t, w.records())
	conn.Close()
	r := w.record(id)
	require.Equal(t, 101, r.Status)
	require.Equal(t, "/socket", r.Path)
	require.Positive(t, r.Duration)

	for _, k := range []testKey{w.revoked, w.writer} {
		a := w.do(inside, "GET", "/socket", "X-API-Key", k.token, "Connection", "Upgrade", "Upgrade", "websocket")
		require.GreaterOrEqual(t, a.status, 401)
	}
	a := w.do(outside, "GET", "/socket", "X-API-Key", w.full.token, "Connection", "Upgrade", "Upgrade", "websocket")
	require.Equal(t, deniedBody, a.body)
	require.Len(t, up.requests(), 1)
}

// No other protocol passes: a tunnel of HTTP/2 would carry further requests past
// the gateway.
func TestOtherUpgrades(t *testing.T) {
	up := newUpstream(t, switching)
	w := up.behind(t, nil)
	for _, lines := range []string{
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
		"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
		"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
		"Upgrade: websocket\r\n",
	} {
		conn, err := dialer(inside).Dial("tcp", w.addr)
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: "+w.full.token+"\r\n"+lines+"\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		conn.Close()
		if res.StatusCode == 101 {
			require.Equal(t, []string{"websocket"}, up.last(t).Header["Upgrade"], lines)
			continue
		}
		require.Equal(t, 200, res.StatusCode, lines)
		require.NotContains(t, up.last(t).Header, "Upgrade", lines)
	}
	require.NotContains(t, up.bytes.String(), "h2c")
}
