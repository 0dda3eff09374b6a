package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEveryBodyIsBounded(t *testing.T) {
	w := newWorld(t)
	id := w.create("a").ID
	for _, o := range operations(t, with("413")) {
		c := o.call(t, id)
		body, err := json.Marshal(c.body)
		require.NoError(t, err)

		c.body = string(body) + strings.Repeat(" ", MaxBody-len(body))
		require.Less(t, w.do(c).StatusCode, 300, "a body of just the size must pass")

		c.body = c.body.(string) + " "
		e := w.do(c).fails(413, "BODY_TOO_LARGE")
		require.Contains(t, e.Message, "256 KiB")
	}
}

func TestEveryBodyIsJSON(t *testing.T) {
	w := newWorld(t)
	id := w.create("a").ID
	for _, o := range operations(t, with("415")) {
		for _, header := range []http.Header{
			{"Content-Type": nil},
			{"Content-Type": {""}},
			{"Content-Type": {"text/plain"}},
			{"Content-Type": {"application/x-www-form-urlencoded"}},
			{"Content-Type": {"multipart/form-data; boundary=x"}},
			{"Content-Type": {"application/json; charset=latin-1"}},
			{"Content-Type": {"application/jsonp"}},
			{"Content-Type": {"application/json;;"}},
			{"Content-Encoding": {"gzip"}},
		} {
			c := o.call(t, id)
			c.header = header
			w.do(c).fails(415, "UNSUPPORTED_MEDIA_TYPE")
		}
		for _, header := range []http.Header{
			{"Content-Type": {"application/json; charset=UTF-8"}},
			{"Content-Type": {"Application/JSON"}},
			{"Content-Encoding": {"identity"}},
		} {
			c := o.call(t, id)
			c.header = header
			require.Less(t, w.do(c).StatusCode, 300)
		}
	}
}

// TestEveryBodyMayBeSlow sends half a body and then nothing. The limit on the
// time is the server's.
func TestEveryBodyMayBeSlow(t *testing.T) {
	w := newWorld(t, settings{readTimeout: 300 * time.Millisecond})
	id := w.create("a").ID
	var all sync.WaitGroup
	for _, o := range operations(t, with("408")) {
		c := o.call(t, id)
		all.Go(func() {
			conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
			if !noError(t, err) {
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"na",
				c.method, c.path, adminToken)
			if !noError(t, err) {
				return
			}
			req, err := http.NewRequest(c.method, w.server.URL+c.path, nil)
			if !noError(t, err) {
				return
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), req)
			if !noError(t, err) {
				return
			}
			w.read(req, nil, resp).fails(408, "BODY_TOO_SLOW")
		})
	}
	all.Wait()
}

// noError is require.NoError for goroutines other than the test's.
func noError(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

func TestBodyThatBreaksOff(t *testing.T) {
	w := newWorld(t)
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /api/v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"na", adminToken)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	req, err := http.NewRequest("POST", w.server.URL+"/api/v1/keys", nil)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	require.NoError(t, err)
	w.read(req, nil, resp).fails(400, "INVALID_JSON")
	require.Empty(t, w.list("").Keys)
}
