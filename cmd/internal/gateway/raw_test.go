package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A smuggling is bytes that try to be two requests to one side and one to the
// other, or to be taken for another request than the gateway decides on. KEY is
// the header with a key, INNER a request that no answer may come to.
var smugglings = []struct {
	reason, text string
	status       int // of the one answer
}{
	{"two lengths that differ", "POST /x HTTP/1.1\r\nHost: a\r\nKEYContent-Length: 5\r\nContent-Length: 50\r\n\r\nabcdeINNER", 400},
	{"two lengths in one line", "POST /x HTTP/1.1\r\nHost: a\r\nKEYContent-Length: 5, 50\r\n\r\nabcdeINNER", 400},
	{"a length with a sign", "POST /x HTTP/1.1\r\nHost: a\r\nKEYContent-Length: +5\r\n\r\nabcdeINNER", 400},
	{"a negative length", "POST /x HTTP/1.1\r\nHost: a\r\nKEYContent-Length: -1\r\n\r\nINNER", 400},
	{"a length in hexadecimal", "POST /x HTTP/1.1\r\nHost: a\r\nKEYContent-Length: 0x5\r\n\r\nabcdeINNER", 400},
	{"a length with an underscore", "POST /x HTTP/1.1\r\nHost: a\r\nKEYContent-Length: 1_0\r\n\r\nabcdeabcdeINNER", 400},
	{"an unknown coding", "POST /x HTTP/1.1\r\nHost: a\r\nKEYTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nINNER", 501},
	{"two codings", "POST /x HTTP/1.1\r\nHost: a\r\nKEYTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nINNER", 501},
	{"two lines of codings", "POST /x HTTP/1.1\r\nHost: a\r\nKEYTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nINNER", 501},
	{"a vertical tab in the coding", "POST /x HTTP/1.1\r\nHost: a\r\nKEYTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\nINNER", 400},
	{"a space before the colon", "POST /x HTTP/1.1\r\nHost: a\r\nKEYTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nINNER", 400},
	{"a space before the first name", "POST /x HTTP/1.1\r\n Host: a\r\nKEY\r\n\r\nINNER", 400},
	{"two hosts", "GET /v1/ping HTTP/1.1\r\nHost: a\r\nHost: b\r\nKEY\r\n", 400},
	{"no host", "GET /v1/ping HTTP/1.1\r\nKEY\r\n", 400},
	{"a host with a path", "GET /v1/ping HTTP/1.1\r\nHost: a/../b\r\nKEY\r\n", 400},
	{"a bare CR in a value", "GET /v1/ping HTTP/1.1\r\nHost: a\r\nX-A: b\rKEYConnection: close\r\n\r\n", 400},
	{"a NUL in a value", "GET /v1/ping HTTP/1.1\r\nHost: a\r\nX-A: b\x00c\r\nKEY\r\n", 400},
	{"a NUL in a name", "GET /v1/ping HTTP/1.1\r\nHost: a\r\nX\x00A: b\r\nKEY\r\n", 400},
	{"a line without a colon", "GET /v1/ping HTTP/1.1\r\nHost: a\r\nAuthorization\r\nKEY\r\n", 400},
	{"a name that is empty", "GET /v1/ping HTTP/1.1\r\nHost: a\r\n: b\r\nKEY\r\n", 400},
	{"a space in the path", "GET /v1/ping /x HTTP/1.1\r\nHost: a\r\nKEY\r\n", 400},
	{"a version of its own", "GET /v1/ping HTTP/3.0\r\nHost: a\r\nKEY\r\n", 505},
	{"HTTP/0.9", "GET /v1/ping\r\n\r\n", 400},
	{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 401}, // net/http hands it on, for handlers that speak it
	{"bytes of TLS", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400},
}

func TestSmuggling(t *testing.T) {
	w := newWorld(t, nil)
	words := strings.NewReplacer("KEY", "X-API-Key: "+w.full.token+"\r\n",
		"INNER", "GET /v1/ping HTTP/1.1\r\nHost: a\r\nX-API-Key: "+w.full.token+"\r\nConnection: close\r\n\r\n")
	for _, test := range smugglings {
		got := raw(t, w.addr, inside, words.Replace(test.text))
		require.Len(t, got, 1, test.reason)
		require.Equal(t, test.status, got[0].status, test.reason)
		require.NotContains(t, got[0].body, "key_id", test.reason)
	}
	require.True(t, w.full.LastUsed().IsZero(), "nothing was served")
}

// Where both a length and a coding are given the coding counts (RFC 9112, section
// 6.1). What follows is a request of its own, decided on and recorded.
func TestLengthAndCoding(t *testing.T) {
	w := newWorld(t, nil)
	got := raw(t, w.addr, inside, "POST /x HTTP/1.1\r\nHost: a\r\nX-API-Key: "+w.full.token+
		"\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/ping HTTP/1.1\r\nHost: a\r\nX-API-Key: "+w.full.token+"\r\n\r\n")
	require.NotEmpty(t, got)
	require.Equal(t, 404, got[0].status)
	for _, r := range w.records() {
		require.Contains(t, []string{"/x", "/v1/ping"}, r.Path)
	}
	require.Len(t, w.records(), len(got), "every answer is of a request that was decided on and recorded")
}

// A second request on a connection is decided on by itself.
func TestPipelining(t *testing.T) {
	w := newWorld(t, nil)
	one := func(key, end string) string {
		return "GET /v1/ping HTTP/1.1\r\nHost: a\r\n" + key + end + "\r\n"
	}
	got := raw(t, w.addr, inside, one("X-API-Key: "+w.full.token+"\r\n", "")+one("", "")+one("X-API-Key: "+w.open.token+"\r\n", "Connection: close\r\n"))
	require.Len(t, got, 3)
	require.Equal(t, []int{200, 401, 200}, []int{got[0].status, got[1].status, got[2].status})
	require.Contains(t, got[2].body, w.open.ID)
	require.Len(t, w.records(), 3)
}

// Targets that are not paths: for proxies, for the server as a whole, for nobody.
func TestTargets(t *testing.T) {
	w := newWorld(t, nil)
	for _, test := range []struct {
		line   string
		status int
	}{
		{"GET http://api.example/v1/ping HTTP/1.1", 400},
		{"GET https://api.example:443/v1/ping HTTP/1.1", 400},
		{"GET http://user@api.example/v1/ping HTTP/1.1", 400},
		{"GET ftp://api.example/v1/ping HTTP/1.1", 400},
		{"OPTIONS * HTTP/1.1", 400},
		{"GET * HTTP/1.1", 400},
		{"CONNECT api.example:443 HTTP/1.1", 405},
		{"TRACE /v1/ping HTTP/1.1", 405},
		{"GET //v1/ping HTTP/1.1", 404},
		{"GET /v1%2Fping HTTP/1.1", 200}, // the decoded path is what is asked for
		{"GET /_ipallow HTTP/1.1", 404},
	} {
		text := test.line + "\r\nHost: api.example\r\nConnection: close\r\n"
		got := raw(t, w.addr, inside, text+"X-API-Key: "+w.full.token+"\r\n\r\n")
		require.Len(t, got, 1, test.line)
		require.Equal(t, test.status, got[0].status, test.line)
		require.Equal(t, test.status, w.record(got[0].header.Get("X-Request-Id")).Status, test.line)
		if test.status == 405 {
			require.NotEmpty(t, got[0].header.Get("Allow"), test.line)
		}
		if !strings.Contains(test.line, "_ipallow") {
			require.Equal(t, 401, raw(t, w.addr, inside, text+"\r\n")[0].status, test.line)
		}
	}
}

// Headers beyond the server's bound do not reach the gateway.
func TestLargeHeaders(t *testing.T) {
	w := newWorld(t, nil)
	for _, lines := range []string{
		"X-A: " + strings.Repeat("a", 128<<10) + "\r\n",
		strings.Repeat("X-A: a\r\n", 20_000),
		"Authorization: Bearer " + strings.Repeat("a", 128<<10) + "\r\n",
	} {
		got := raw(t, w.addr, inside, "GET /v1/ping HTTP/1.1\r\nHost: a\r\n"+lines+"\r\n")
		if len(got) > 0 { // the server may reset the connection while it is still being written to
			require.Equal(t, 431, got[0].status)
		}
	}
	require.Equal(t, 414/100, raw(t, w.addr, inside, "GET /"+strings.Repeat("a", 40<<10)+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")[0].status/100)
	require.Equal(t, 200, w.do(inside, "GET", "/v1/ping", "X-API-Key", w.full.token).status, "the server lives")
}

// A client that does not finish its header is cut off, and keeps nobody waiting.
func TestSlowHeader(t *testing.T) {
	w := newWorld(t, nil)
	addr := serveWith(t, &http.Server{Handler: w.gate, ReadHeaderTimeout: 100 * time.Millisecond}, w.said)
	conn, err := dialer(inside).Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /v1/ping HTTP/1.1\r\nHost: a\r\nX-API-Key: ")
	require.NoError(t, err)
	require.Equal(t, 200, w.do(inside, "GET", "/v1/ping", "X-API-Key", w.full.token).status)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	rest, err := io.ReadAll(conn)
	if netErr, ok := err.(net.Error); ok {
		require.False(t, netErr.Timeout(), "the connection stays open")
	}
	require.NotContains(t, string(rest), " 200 ")
	require.Len(t, w.records(), 1, "what was no request yet has no record")
}

// A body that nobody reads keeps the answer from nobody.
func TestUnreadBody(t *testing.T) {
	w := newWorld(t, nil)
	conn, err := dialer(outside).Dial("tcp", w.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = fmt.Fprintf(conn, "POST /v1/ping HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\nContent-Length: 1000000000\r\n\r\nabc", w.full.token)
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, 403, res.StatusCode)
}
