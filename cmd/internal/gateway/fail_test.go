package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/gateway"
)

func TestUpstreamDown(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	up := &upstream{url: "http://" + listener.Addr().String()}
	listener.Close()
	w := up.behind(t, nil)
	a := w.do(inside, "GET", "/v1/things?key="+w.full.token, "X-API-Key", w.full.token)
	require.Equal(t, 502, a.status)
	require.Equal(t, "UPSTREAM_FAILED", code(a.body))
	require.NotContains(t, a.body, "127.0.0.1", "clients are not told where the upstream is")
	require.Equal(t, 502, w.record(a.header.Get("X-Request-Id")).Status)
	require.Contains(t, w.said.String(), a.header.Get("X-Request-Id"), "the operator is told")
}

func TestUpstreamTimeout(t *testing.T) {
	done := make(chan struct{})
	up := newUpstream(t, func(http.ResponseWriter, *http.Request) { <-done })
	w := up.behind(t, func(o *gateway.Options) { o.UpstreamTimeout = 50 * time.Millisecond })
	defer close(done)
	a := w.do(inside, "GET", "/", "X-API-Key", w.full.token)
	require.Equal(t, 504, a.status)
	require.Equal(t, "UPSTREAM_TIMEOUT", code(a.body))
	require.Equal(t, 504, w.record(a.header.Get("X-Request-Id")).Status)
}

// An upstream that takes a request and says nothing, or nonsense, gets it once.
func TestNoRetry(t *testing.T) {
	for _, answer := range []string{"", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"} {
		var taken atomic.Int64
		up := rawUpstream(t, func(conn net.Conn, r *bufio.Reader) {
			if req, err := http.ReadRequest(r); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
				taken.Add(1)
				_, _ = io.WriteString(conn, answer)
			}
		})
		w := up.behind(t, nil)
		for _, body := range []string{"", "a body"} {
			before := taken.Load()
			req, err := http.NewRequest("POST", "http://"+w.addr+"/", strings.NewReader(body))
			require.NoError(t, err)
			req.Header.Set("X-API-Key", w.full.token)
			a := send(t, inside, req)
			require.Equal(t, 502, a.status, "%q", answer)
			require.EqualValues(t, 1, taken.Load()-before, "%q", answer)
		}
	}
}

// A connection that was used before and closes under a POST is not tried again
// either, as the upstream may have carried it out.
func TestNoRetryOnUsedConnection(t *testing.T) {
	var posts atomic.Int64
	up := rawUpstream(t, func(conn net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			if req.Method == "POST" {
				posts.Add(1)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	w := up.behind(t, nil)
	require.Equal(t, 200, w.do(inside, "GET", "/", "X-API-Key", w.full.token).status)
	require.Equal(t, 502, w.do(inside, "POST", "/", "X-API-Key", w.full.token).status)
	require.EqualValues(t, 1, posts.Load())
}

// A response that breaks off is broken off for the client too, and recorded with
// the status that was sent.
func TestUpstreamBreaksOff(t *testing.T) {
	up := rawUpstream(t, func(conn net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
		}
	})
	w := up.behind(t, nil)
	req, err := http.NewRequest("GET", "http://"+w.addr+"/broken", nil)
	require.NoError(t, err)
	req.Header.Set("X-API-Key", w.full.token)
	transport := &http.Transport{DialContext: dialer(inside).DialContext, DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	require.Error(t, err)
	require.Equal(t, 200, w.recordOf("/broken").Status)
}

// A client that leaves ends its request at the upstream, and is recorded without
// a status where none had been sent.
func TestClientLeaves(t *testing.T) {
	arrived, left := make(chan struct{}, 1), make(chan struct{}, 1)
	up := newUpstream(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	})
	w := up.behind(t, nil)
	conn, err := dialer(inside).Dial("tcp", w.addr)
	require.NoError(t, err)
	_, err = fmt.Fprintf(conn, "GET /leaves HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\n\r\n", w.full.token)
	require.NoError(t, err)
	await(t, arrived)
	conn.Close()
	await(t, left)
	r := w.recordOf("/leaves")
	require.Zero(t, r.Status)
	require.Equal(t, w.full.ID, r.KeyID)
	require.NotContains(t, w.said.String(), "no answer from the upstream", "the upstream is not to blame")
}

// A body that the client breaks off, or sends wrongly, is the client's fault.
func TestClientBreaksBodyOff(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, nil)
	for i, body := range []string{
		"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nnonsense\r\n",
		"Content-Length: 100\r\n\r\nhalf of it",
	} {
		conn, err := dialer(inside).Dial("tcp", w.addr)
		require.NoError(t, err)
		path := fmt.Sprint("/body", i)
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\n%s", path, w.full.token, body)
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		got := readAnswers(t, conn)
		conn.Close()
		r := w.recordOf(path)
		require.Contains(t, []int{0, 400}, r.Status)
		if len(got) > 0 {
			require.Equal(t, 400, got[0].status)
		}
	}
	require.NotContains(t, w.said.String(), "no answer from the upstream")
}

// Expect: 100-continue lets a client keep a body that is refused to itself.
func TestExpectContinue(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, nil)
	for from, want := range map[string]int{inside: 200, outside: 403} {
		conn, err := dialer(from).Dial("tcp", w.addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n", w.full.token)
		require.NoError(t, err)
		answers := bufio.NewReader(conn)
		res, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		if want == 200 {
			require.Equal(t, 100, res.StatusCode)
			_, err = io.WriteString(conn, "body")
			require.NoError(t, err)
			res, err = http.ReadResponse(answers, nil)
			require.NoError(t, err)
		}
		require.Equal(t, want, res.StatusCode)
	}
}

func await(t testing.TB, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		require.FailNow(t, "waited for a minute")
	}
}
