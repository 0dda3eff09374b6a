package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/gateway"
)

// prompt is what an answer that waits for nothing takes, on a busy machine. What it
// would wait for otherwise is five seconds or more.
const prompt = 3 * time.Second

// halfway sends a request whose body it holds back, and returns the answer, how long it
// took, and how long after it the connection ended.
func halfway(t *testing.T, addr, from, head string, sent int) (a answer, took, ended time.Duration) {
	t.Helper()
	conn, err := dialer(from).Dial("tcp", addr)
	if !assert.NoError(t, err) {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, head+strings.Repeat("x", sent))
	start := time.Now()
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if !assert.NoError(t, err, head) {
		return
	}
	body, err := io.ReadAll(res.Body)
	assert.NoError(t, err, head)
	took = time.Since(start)
	assert.True(t, res.Close, "the client is told that the connection ends: %s", head)
	_, err = io.Copy(io.Discard, r)
	if netErr, ok := err.(net.Error); ok {
		assert.False(t, netErr.Timeout(), "the connection stays open: %s", head)
	}
	return answer{res.StatusCode, res.Header, string(body)}, took, time.Since(start) - took
}

// The gateway's own answers do not wait for a body that the client holds back.
func TestAnswersWithoutBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, trusting(t))
	question := "GET " + gateway.AuthzPath + " HTTP/1.1\r\nHost: a\r\nX-Forwarded-Method: GET\r\nX-Forwarded-For: " + inside + "\r\n"
	var all sync.WaitGroup
	for _, test := range []struct {
		reason, from, head string
		status             int
	}{
		{"no key", inside, "POST /v1/ping HTTP/1.1\r\nHost: a\r\n", 401},
		{"a wrong key", inside, "POST /v1/ping HTTP/1.1\r\nHost: a\r\nX-API-Key: x\r\n", 401},
		{"scope", inside, "POST /v1/ping HTTP/1.1\r\nHost: a\r\nX-API-Key: " + w.reader.token + "\r\n", 403},
		{"the allowlist", outside, "POST /v1/ping HTTP/1.1\r\nHost: a\r\nX-API-Key: " + w.full.token + "\r\n", 403},
		{"ping", inside, "GET /v1/ping HTTP/1.1\r\nHost: a\r\nX-API-Key: " + w.full.token + "\r\n", 200},
		{"nothing there", inside, "POST /x HTTP/1.1\r\nHost: a\r\nX-API-Key: " + w.full.token + "\r\n", 404},
		{"forward auth lets through", trusted, question + "X-API-Key: " + w.full.token + "\r\n", 204},
		{"forward auth refuses", trusted, question, 401},
		{"forward auth is not for strangers", outside, question, 404},
		{"not a path", inside, "OPTIONS * HTTP/1.1\r\nHost: a\r\nX-API-Key: " + w.full.token + "\r\n", 400},
	} {
		for length, most := range map[string]int{"Content-Length: 77": 5, "Content-Length: 100000000": 5, "Transfer-Encoding: chunked": 0} {
			for _, sent := range []int{0, most} {
				all.Go(func() {
					a, took, ended := halfway(t, w.addr, test.from, test.head+length+"\r\n\r\n", sent)
					what := fmt.Sprint(test.reason, ", ", length, ", sent ", sent)
					assert.Equal(t, test.status, a.status, what)
					assert.Less(t, took, prompt, what)
					assert.Less(t, ended, prompt, what)
				})
			}
		}
	}
	all.Wait()
}

// A client that sends its whole body first, and reads then, still gets its answer, and
// one that drips is cut off.
func TestBodyThatNobodyReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	conn, err := dialer(outside).Dial("tcp", w.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\nContent-Length: 20000\r\n\r\n", w.full.token)
	require.NoError(t, err)
	for range 20 {
		time.Sleep(20 * time.Millisecond)
		_, err = io.WriteString(conn, strings.Repeat("x", 1000))
		require.NoError(t, err, "the connection lives while the body comes")
	}
	a := readAnswers(t, conn)
	require.Len(t, a, 1)
	require.Equal(t, deniedBody, a[0].body)
	require.Less(t, w.record(a[0].header.Get("X-Request-Id")).Duration, time.Second, "the record says how long the answer took")
}

// An upstream that answers before it has the body: what it says comes at once, however
// much of the body the client holds back.
func TestUpstreamAnswersEarly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ answer, body string }{
		{"HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large", "too large"},
		{"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnone\r\n0\r\n\r\n", "none"},
		{"HTTP/1.1 204 No Content\r\n\r\n", ""},
		{"HTTP/1.0 401 Unauthorized\r\n\r\nwho", "who"},
	} {
		up := rawUpstream(t, func(conn net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err == nil {
				_, _ = io.WriteString(conn, test.answer)
				if strings.HasPrefix(test.answer, "HTTP/1.0") {
					_ = conn.(*net.TCPConn).CloseWrite() // the end of the answer
				}
				_, _ = io.Copy(io.Discard, r)
			}
		})
		w := up.behind(t, nil)
		var all sync.WaitGroup
		for _, length := range []int{77, 100_000, 100_000_000} {
			for _, sent := range []int{0, 50, 1000, 99_999} {
				if sent >= length {
					continue
				}
				all.Go(func() {
					a, took, ended := halfway(t, w.addr, inside, fmt.Sprintf(
						"PUT / HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\nContent-Length: %d\r\n\r\n", w.full.token, length), sent)
					what := fmt.Sprintf("%.12q, %d bytes, sent %d", test.answer, length, sent)
					assert.Contains(t, test.answer, fmt.Sprint(a.status), what)
					assert.Equal(t, test.body, a.body, what)
					assert.Less(t, took, prompt, what)
					assert.Less(t, ended, prompt, what)
					assert.Equal(t, a.status, w.record(a.header.Get("X-Request-Id")).Status, what)
				})
			}
		}
		all.Wait()
	}
}

// An upstream may answer while the body comes; neither direction waits for the other,
// and no byte of the body is lost.
func TestBothDirectionsAtOnce(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		w.WriteHeader(200)
		_ = control.Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			_ = control.Flush()
			if err != nil {
				return
			}
		}
	})
	w := up.behind(t, nil)
	conn, err := dialer(inside).Dial("tcp", w.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\nTransfer-Encoding: chunked\r\n\r\n", w.full.token)
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	for i := range 20 {
		_, err = fmt.Fprintf(conn, "5\r\n%05d\r\n", i)
		require.NoError(t, err)
		got := make([]byte, 5)
		_, err = io.ReadFull(res.Body, got)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%05d", i), string(got))
	}
	_, err = io.WriteString(conn, "0\r\n\r\n")
	require.NoError(t, err)
	rest, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Empty(t, rest)
}

// Answers with a length come as the upstream makes them: the header before the body,
// and each part before the next.
func TestSlowAnswerIsFlushed(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	up := rawUpstream(t, func(conn net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		for _, part := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", "one", "two"} {
			_, _ = io.WriteString(conn, part)
			<-next
		}
	})
	w := up.behind(t, nil)
	defer close(next)
	conn, err := dialer(inside).Dial("tcp", w.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\n\r\n", w.full.token)
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, "the header comes before the body")
	require.EqualValues(t, 6, res.ContentLength)
	for _, want := range []string{"one", "two"} {
		next <- struct{}{}
		got := make([]byte, 3)
		_, err = io.ReadFull(res.Body, got)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

// Announcements lose what is meant for the connection between gateway and upstream.
func TestInformationalHeaders(t *testing.T) {
	t.Parallel()
	up := rawUpstream(t, func(conn net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		for _, status := range []string{"102 Processing", "103 Early Hints", "199 Mine"} {
			_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\nConnection: X-Hop, keep-alive\r\nX-Hop: leaked\r\nKeep-Alive: leaked\r\nProxy-Connection: leaked\r\n"+
				"Proxy-Authenticate: leaked\r\nTe: leaked\r\nTrailer: leaked\r\nUpgrade: leaked\r\nTransfer-Encoding: chunked\r\nLink: </a>; rel=preload\r\n\r\n")
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: leaked\r\nContent-Length: 2\r\n\r\nok")
	})
	w := up.behind(t, nil)
	conn, err := dialer(inside).Dial("tcp", w.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: %s\r\n\r\n", w.full.token)
	require.NoError(t, err)
	all, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.NotContains(t, string(all), "leaked")
	require.Equal(t, 3, strings.Count(string(all), "Link: </a>; rel=preload"), "%s", all)
	require.Equal(t, 1, strings.Count(string(all), "Connection:"), "%s", all)
	require.NotContains(t, strings.ToLower(string(all)), "transfer-encoding")
	require.True(t, strings.HasSuffix(string(all), "ok"))
}
