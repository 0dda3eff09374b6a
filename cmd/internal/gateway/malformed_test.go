package gateway_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/ipallow/ipallow/cmd/internal/gateway"
)

// frames sends one request over HTTP/2 as raw frames, with fields that Go's client
// would refuse to send, and returns the answer's status, its request's ID, and its
// body. A status of 0 is a stream that the server reset.
func frames(t *testing.T, addr, from string, fields ...string) (status, id, body string) {
	t.Helper()
	conn, err := tls.DialWithDialer(dialer(from), "tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(t, framer.WriteSettings())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		require.NoError(t, encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	// A frame takes 16 KiB.
	first := block.Next(16 << 10)
	require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: true, EndHeaders: block.Len() == 0}))
	for block.Len() > 0 {
		next := block.Next(16 << 10)
		require.NoError(t, framer.WriteContinuation(1, block.Len() == 0, next))
	}
	for {
		frame, err := framer.ReadFrame()
		require.NoError(t, err, "%.200q", fields)
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			status = f.PseudoValue("status")
			for _, field := range f.RegularFields() {
				if field.Name == "x-request-id" {
					id = field.Value
				}
			}
			if f.StreamEnded() {
				return status, id, body
			}
		case *http2.DataFrame:
			body += string(f.Data())
			if f.StreamEnded() {
				return status, id, body
			}
		case *http2.RSTStreamFrame:
			return "0", "", ""
		}
	}
}

func overTLS(t *testing.T, w *world) string {
	server := httptest.NewUnstartedServer(w.gate)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// Over HTTP/2 method, host and path are fields, in which net/http takes what no
// request line could have.
func TestMalformedHTTP2(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, nil)
	addr := overTLS(t, w)
	for _, key := range []string{w.full.token, w.reader.token, "nonsense"} {
		for _, method := range []string{
			"GET /x HTTP/1.1", "GET ", " GET", "G\tET", "GET,POST", "GET:", "(GET)", "GÉT", "G/T", strings.Repeat("A ", 10_000), "\"GET\"", "GET@", "{}",
		} {
			status, id, body := frames(t, addr, inside, ":method", method, ":scheme", "https", ":authority", "api.example", ":path", "/method", "x-api-key", key)
			require.Equal(t, "400", status, "%.100q", method)
			require.Equal(t, "BAD_REQUEST", code(body))
			require.Equal(t, "(unknown)", w.record(id).Method, "%.100q", method)
		}
		for _, authority := range []string{
			"api.example/x", "api.example?x", "api.example#x", "api.example/../x", "a b", `a\b`, "a\"b", "a<b>", "a^b", "é.example", "a|b",
		} {
			status, id, body := frames(t, addr, inside, ":method", "GET", ":scheme", "https", ":authority", authority, ":path", "/host", "x-api-key", key)
			require.Equal(t, "400", status, authority)
			require.Equal(t, "BAD_REQUEST", code(body))
			require.Equal(t, 400, w.record(id).Status)
			status, _, _ = frames(t, addr, inside, ":method", "GET", ":scheme", "https", ":path", "/host", "host", authority, "x-api-key", key)
			require.Equal(t, "400", status, authority)
		}
	}
	for _, path := range []string{"/x?a HTTP/1.1", "/x? ", "/x?a b"} {
		status, _, _ := frames(t, addr, inside, ":method", "GET", ":scheme", "https", ":authority", "a", ":path", path, "x-api-key", w.full.token)
		require.Equal(t, "400", status, path)
	}
	status, _, _ := frames(t, addr, inside, ":method", "GET", ":scheme", "https", ":authority", "a@b", ":path", "/", "x-api-key", w.full.token)
	require.Equal(t, "0", status, "net/http does not take a user")
	require.Empty(t, up.requests())
	require.NotContains(t, w.said.String(), "level=WARN", "nobody is woken by it")

	// What is odd and well-formed passes.
	for _, authority := range []string{"api.example:8443", "[2001:db8::1]:443", "a_b.example", "xn--bcher-kva.example"} {
		status, _, _ := frames(t, addr, inside, ":method", "GET", ":scheme", "https", ":authority", authority, ":path", "/", "x-api-key", w.full.token)
		require.Equal(t, "200", status, authority)
		require.Equal(t, authority, up.last(t).Header.Get("X-Forwarded-Host"))
	}
	for _, method := range []string{"GET", "PROPFIND", "M-SEARCH", "get", "X!#$%&'*+.^_`|~"} {
		status, id, _ := frames(t, addr, inside, ":method", method, ":scheme", "https", ":authority", "a", ":path", "/", "x-api-key", w.full.token)
		require.Equal(t, "200", status, method)
		require.Equal(t, method, w.record(id).Method)
	}
	status, _, _ = frames(t, addr, inside, ":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/a b%20c", "x-api-key", w.full.token)
	require.Equal(t, "200", status)
	require.Equal(t, "/a%20b%20c", up.last(t).RequestURI)
}

// A trusted proxy's word on the host is passed on where it is one.
func TestMalformedForwardedHost(t *testing.T) {
	up := newUpstream(t, nil)
	w := newWorld(t, func(o *gateway.Options) { trusting(t)(o); o.Upstream = parse(t, up.url) })
	for _, host := range []string{"a/b", "a?b", "a#b", "user@a", "a b"} {
		require.Equal(t, 200, w.do(trusted, "GET", "/", "X-API-Key", w.open.token, "X-Forwarded-Host", host).status)
		require.Equal(t, w.addr, up.last(t).Header.Get("X-Forwarded-Host"), host)
	}
}

// Whatever the log's level, what a client sends takes little room in it.
func TestLongTextInLog(t *testing.T) {
	w := newWorld(t, nil)
	long := strings.Repeat("x", 30_000)
	raw(t, w.addr, inside, fmt.Sprintf("%s /%s HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\nConnection: close\r\n\r\n", "M"+long[:10_000], long, w.full.token))
	raw(t, w.addr, inside, fmt.Sprintf("GET /%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", long))
	require.Contains(t, w.said.String(), "xxx…")
	for line := range strings.Lines(w.said.String()) {
		require.Less(t, len(line), 4000)
	}
}
