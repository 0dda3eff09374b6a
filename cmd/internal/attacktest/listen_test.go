//go:build unix

package attacktest

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/server"
)

// proxyV2 returns a PROXY header of version 2.
func proxyV2(command, family byte, body ...byte) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20|command, family)
	return string(append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...))
}

// tcp4 is the body of a header that names 127.0.0.LAST as the client.
func tcp4(last byte, tlvs ...byte) []byte {
	return append([]byte{127, 0, 0, last, 127, 0, 0, 1, 0xa0, 0x28, 0, 80}, tlvs...)
}

// pingStatus writes a request behind a prefix and returns the answer's status; 0: none.
func pingStatus(t *testing.T, from, addr, prefix, token string) int {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, _ = io.WriteString(c, prefix+"GET /v1/ping HTTP/1.1\r\nHost: localhost\r\nX-API-Key: "+token+"\r\nX-Forwarded-For: "+inside+"\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// TestProxyProtocol: the client is whom a trusted proxy's PROXY header names, and
// nobody else can name one, by that protocol or by HTTP.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	const proxy = "127.0.0.9"
	s := start(t, func(c *server.Config) { c.TrustedProxies, c.ProxyProtocol = []string{proxy}, true })
	k := s.key("a") // for 127.0.0.2
	v1 := "PROXY TCP4 " + inside + " 127.0.0.1 41000 80\r\n"
	for _, test := range []struct {
		reason, from, header string
		status               int
	}{
		{"version 1", proxy, v1, 200},
		{"version 1, a foreign client", proxy, "PROXY TCP4 " + outside + " 127.0.0.1 41000 80\r\n", 403},
		{"version 2", proxy, proxyV2(1, 0x11, tcp4(2)...), 200},
		{"version 2, a foreign client", proxy, proxyV2(1, 0x11, tcp4(3)...), 403},
		{"version 2 with a TLV", proxy, proxyV2(1, 0x11, tcp4(2, 0x04, 0, 1, 'x')...), 200},
		{"a TLV longer than the header", proxy, proxyV2(1, 0x11, tcp4(2, 0x04, 0, 200, 'x')...), 0},
		{"a TLV without its length", proxy, proxyV2(1, 0x11, tcp4(2, 0x04)...), 0},
		{"UNKNOWN is the proxy, whatever HTTP says", proxy, "PROXY UNKNOWN\r\n", 403},
		{"LOCAL is the proxy", proxy, proxyV2(0, 0), 403},
		{"LOCAL with addresses is the proxy", proxy, proxyV2(0, 0x11, tcp4(2)...), 403},
		{"no family is the proxy", proxy, proxyV2(1, 0), 403},
		{"an unknown family is the proxy", proxy, proxyV2(1, 0x41, tcp4(2)...), 403},
		{"UDP is the proxy", proxy, proxyV2(1, 0x12, tcp4(2)...), 403},
		{"a unix socket is the proxy", proxy, proxyV2(1, 0x31, make([]byte, 216)...), 403},
		{"an unknown command", proxy, proxyV2(2, 0x11, tcp4(2)...), 0},
		{"no header from a proxy", proxy, "", 0},
		{"a header of a stranger's is no request", outside, v1, 400},
		{"a stranger's of version 2", outside, proxyV2(1, 0x11, tcp4(2)...), 400},
		{"a stranger is the client", outside, "", 403},
		{"a client that comes directly", inside, "", 200},
		{"a second header", proxy, "PROXY TCP4 " + outside + " 127.0.0.1 1 2\r\n" + v1, 400},
	} {
		require.Equal(t, test.status, pingStatus(t, test.from, s.gateway, test.header, k.Secret), test.reason)
	}
	require.Equal(t, 303, s.do(proxy, "GET", "http://"+s.manage+"/keys", "").StatusCode, "management takes no header")
}

// TestUnixSockets: the listeners as sockets, with the mode that was asked for; what a
// kill left behind is replaced, what somebody else has is not.
func TestUnixSockets(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "sock")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path, admin := filepath.Join(dir, "g"), filepath.Join(dir, "m")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	old.SetUnlinkOnClose(false) // as a kill leaves it
	old.Close()
	with := func(c *server.Config) {
		c.Listen, c.AdminListen, c.SocketMode = "unix:"+path, "unix:"+admin, 0o600
		c.TrustedProxies = []string{"unix"}
	}
	s := start(t, with)
	for _, p := range []string{path, admin} {
		info, err := os.Stat(p)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	ask := func(socket, url string, header ...string) int {
		tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}
		defer tr.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		require.NoError(t, err)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := tr.RoundTrip(req)
		require.NoError(t, err)
		res.Body.Close()
		return res.StatusCode
	}
	require.Equal(t, 200, ask(admin, "http://localhost/api/v1/keys", "Authorization", "Bearer "+adminToken))
	require.Equal(t, 401, ask(path, "http://localhost/v1/ping"))
	require.Contains(t, s.Banner(), "--unix-socket "+path)

	cfg := server.Defaults()
	cfg.Data, cfg.AdminToken, cfg.AdminListen = filepath.Join(t.TempDir(), "other"), adminToken, "127.0.0.1:0"
	for listen, want := range map[string]string{
		"unix:" + path:       "another program listens there",
		"unix:" + dir:        "is not a socket",
		"unix:relative.sock": "absolute path",
		"unix:" + filepath.Join(dir, strings.Repeat("x", 200)): "at most 103 bytes",
	} {
		cfg.Listen = listen
		_, err := server.Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, want, listen)
	}
	require.Equal(t, 401, ask(path, "http://localhost/v1/ping"), "it goes on")
	s.close()
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist, "a stop takes the socket away")
}

// TestProxyProtocolOverUnix: a balancer on the same machine.
func TestProxyProtocolOverUnix(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "sock")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := start(t, func(c *server.Config) {
		c.Listen, c.TrustedProxies, c.ProxyProtocol = "unix:"+filepath.Join(dir, "g"), []string{"unix"}, true
	})
	k := s.key("a")
	for header, want := range map[string]int{
		proxyV2(1, 0x11, tcp4(2)...): 200, proxyV2(1, 0x11, tcp4(3)...): 403, proxyV2(0, 0): 403, "": 0,
	} {
		c, err := net.Dial("unix", filepath.Join(dir, "g"))
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		_, _ = io.WriteString(c, header+"GET /v1/ping HTTP/1.1\r\nHost: localhost\r\nX-API-Key: "+k.Secret+"\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if want == 0 {
			require.Error(t, err)
		} else {
			require.NoError(t, err)
			require.Equal(t, want, res.StatusCode, "%q", header)
		}
		c.Close()
	}
}
