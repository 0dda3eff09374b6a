package proxyproto_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	proxy "github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/examples/internal/auth"
	"github.com/ipallow/ipallow/examples/internal/check"
	example "github.com/ipallow/ipallow/examples/proxyproto"
	"github.com/ipallow/ipallow/httpallow"
)

const trustedProxy = "127.0.0.9"

// header returns a PROXY header that names a client.
func header(t *testing.T, version byte, ip string) string {
	h := proxy.HeaderProxyFromAddrs(version,
		&net.TCPAddr{IP: net.ParseIP(ip), Port: 41000}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80})
	var out bytes.Buffer
	_, err := h.WriteTo(&out)
	require.NoError(t, err)
	return out.String()
}

func TestListen(t *testing.T) {
	check.NeedLoopback(t)
	allow, err := httpallow.New(check.Engine(t), &httpallow.Options{Key: httpallow.KeyFromContext})
	require.NoError(t, err)
	inner := check.Listen(t)
	listener, err := example.Listen(inner, []string{trustedProxy})
	require.NoError(t, err)
	check.Serve(t, listener, auth.Authenticate(allow.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	}))))
	// v2 returns a header of version 2 that names the allowed client, or whatever body.
	const client, behind = "\x7f\x00\x00\x02", "\x7f\x00\x00\x01\xa0\x28\x00\x50"
	v2 := func(command, family byte, body string) string {
		h := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20|command, family)
		return string(binary.BigEndian.AppendUint16(h, uint16(len(body)))) + body
	}
	for _, test := range []struct {
		reason, from, header, status string
	}{
		{"version 1", trustedProxy, header(t, 1, check.Inside), "200 OK"},
		{"version 2", trustedProxy, header(t, 2, check.Inside), "200 OK"},
		{"version 1, a foreign client", trustedProxy, header(t, 1, check.Outside), "403 Forbidden"},
		{"version 2, a foreign client", trustedProxy, header(t, 2, check.Outside), "403 Forbidden"},
		{"version 2, IPv6", trustedProxy, header(t, 2, "2001:db8::1"), "403 Forbidden"},
		{"UNKNOWN is the proxy itself", trustedProxy, "PROXY UNKNOWN\r\n", "403 Forbidden"},
		{"UNKNOWN with addresses is the proxy itself", trustedProxy, "PROXY UNKNOWN 127.0.0.2 127.0.0.1 1 2\r\n", "403 Forbidden"},
		{"LOCAL is the proxy itself", trustedProxy, v2(0, 0, ""), "403 Forbidden"},
		{"LOCAL with addresses is the proxy itself", trustedProxy, v2(0, 0x11, client+behind), "403 Forbidden"},
		{"no family is the proxy itself", trustedProxy, v2(1, 0, ""), "403 Forbidden"},
		{"an unknown family is the proxy itself", trustedProxy, v2(1, 0x41, client+behind), "403 Forbidden"},
		{"an unknown transport is the proxy itself", trustedProxy, v2(1, 0x13, client+behind), "403 Forbidden"},
		{"UDP is the proxy itself", trustedProxy, v2(1, 0x12, client+behind), "403 Forbidden"},
		{"a unix socket is the proxy itself", trustedProxy, v2(1, 0x31, strings.Repeat("\x00", 216)), "403 Forbidden"},
		{"an unknown family of an untrusted peer", check.Inside, v2(1, 0x41, client+behind), ""},
		{"a TLV", trustedProxy, v2(1, 0x11, client+behind+"\x04\x00\x01x"), "200 OK"},
		{"a TLV longer than the header", trustedProxy, v2(1, 0x11, client+behind+"\x04\x00\xc8x"), ""},
		{"a TLV without its length", trustedProxy, v2(1, 0x11, client+behind+"\x04"), ""},
		{"an unknown command", trustedProxy, v2(2, 0x11, client+behind), ""},
		{"a second header is no header", trustedProxy, header(t, 1, check.Outside) + header(t, 1, check.Inside), "400 Bad Request"},
		{"a proxy without header", trustedProxy, "", ""},
		{"a broken header", trustedProxy, "PROXY TCP4 127.0.0.2 oops\r\n", ""},
		{"a header of an untrusted peer", check.Outside, header(t, 1, check.Inside), ""},
		{"a header of version 2 of an untrusted peer", check.Outside, header(t, 2, check.Inside), ""},
		{"an untrusted peer without header", check.Outside, "", ""},
		{"an allowed address that is no proxy", check.Inside, "", ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			conn, err := check.Dialer(test.from).Dial("tcp", inner.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
			_, _ = io.WriteString(conn, test.header+"GET /v1/hello HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret-1\r\nX-Forwarded-For: "+check.Inside+"\r\nConnection: close\r\n\r\n")
			response, err := io.ReadAll(conn)
			if test.status == "" { // closed, whether by FIN or by RST; never answered with more than 400
				require.NotContains(t, string(response), "HTTP/1.1 200")
				require.NotContains(t, string(response), "hello")
				return
			}
			require.NoError(t, err)
			require.Contains(t, string(response), "HTTP/1.1 "+test.status)
		})
	}
}

func TestListenRefusesFaultyNetworks(t *testing.T) {
	_, err := example.Listen(check.Listen(t), []string{"127.0.0.9/33"})
	require.Error(t, err)
}
