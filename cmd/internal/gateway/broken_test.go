package gateway_test

import (
	"bufio"
	"crypto/x509"
	"fmt"
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

	"github.com/ipallow/ipallow/cmd/internal/gateway"
)

// events keeps what the observer was told.
type events struct {
	mu  sync.Mutex
	all []gateway.Event
}

func (e *events) add(o *gateway.Options) {
	o.Observe = func(event gateway.Event) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.all = append(e.all, event)
	}
}

// nth waits for the event of the nth request.
func (e *events) nth(t *testing.T, n int) gateway.Event {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		e.mu.Lock()
		all := e.all
		e.mu.Unlock()
		if len(all) >= n {
			return all[n-1]
		}
	}
	require.Fail(t, "the observer was not told of a request")
	return gateway.Event{}
}

// What the client got of a broken answer is what is recorded; the operator is told, and
// it is counted by its cause.
func TestBrokenUpstreams(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	for _, test := range []struct {
		reason, answer string
		status         int // of the answer, and in the record
		cause          gateway.UpstreamFailure
	}{
		{"a status below 100", "HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n", 502, gateway.UpstreamInvalidAnswer},
		{"a status of 0", "HTTP/1.1 000 What\r\nContent-Length: 0\r\n\r\n", 502, gateway.UpstreamInvalidAnswer},
		{"a status of two digits", "HTTP/1.1 99 What\r\nContent-Length: 0\r\n\r\n", 502, gateway.UpstreamInvalidAnswer},
		{"a status of four digits", "HTTP/1.1 2000 What\r\nContent-Length: 0\r\n\r\n", 502, gateway.UpstreamInvalidAnswer},
		{"a negative status", "HTTP/1.1 -20 What\r\nContent-Length: 0\r\n\r\n", 502, gateway.UpstreamInvalidAnswer},
		{"a switch that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", 502, gateway.UpstreamInvalidAnswer},
		{"nothing", "", 502, gateway.UpstreamInvalidAnswer},
		{"half a header", "HTTP/1.1 200 OK\r\nContent-Le", 502, gateway.UpstreamInvalidAnswer},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", 502, gateway.UpstreamInvalidAnswer},
		{"a NUL in a name", "HTTP/1.1 200 OK\r\nX\x00: a\r\n\r\n", 502, gateway.UpstreamInvalidAnswer},
		{"only 1xx", "HTTP/1.1 103 Early Hints\r\n\r\n", 502, gateway.UpstreamInvalidAnswer},
		{"a length and no body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", 200, gateway.UpstreamBrokenAnswer},
		{"a length and half the body", "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nhalf of it", 201, gateway.UpstreamBrokenAnswer},
		{"a length and half a long body", "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + long, 200, gateway.UpstreamBrokenAnswer},
		{"chunks that end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", 200, gateway.UpstreamBrokenAnswer},
		{"a chunk cut short", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nabcde", 200, gateway.UpstreamBrokenAnswer},
		{"a chunk of no length", "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabcde\r\n0\r\n\r\n", 404, gateway.UpstreamBrokenAnswer},
		{"a large status", "HTTP/1.1 999 What\r\nContent-Length: 2\r\n\r\nok", 999, gateway.UpstreamOK},
		{"a whole answer", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, gateway.UpstreamOK},
		{"an answer that ends with its connection", "HTTP/1.0 200 OK\r\n\r\nok", 200, gateway.UpstreamOK},
	} {
		t.Run(test.reason, func(t *testing.T) {
			up := rawUpstream(t, func(conn net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err == nil {
					_, _ = io.WriteString(conn, test.answer)
				}
			})
			var told events
			w := up.behind(t, told.add)
			var statuses []int
			conn, err := dialer(inside).Dial("tcp", w.addr)
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
			_, err = fmt.Fprintf(conn, "GET /broken HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: %s\r\n\r\n", w.full.token)
			require.NoError(t, err)
			answers := bufio.NewReader(conn)
			for {
				var res *http.Response
				if res, err = http.ReadResponse(answers, nil); err != nil {
					break
				}
				statuses = append(statuses, res.StatusCode)
				if _, err = io.ReadAll(res.Body); err != nil || res.StatusCode >= 200 {
					break
				}
			}
			require.NotEmpty(t, statuses, "an empty reply")
			require.Equal(t, test.status, statuses[len(statuses)-1])
			require.Equal(t, test.cause == gateway.UpstreamBrokenAnswer, err != nil, "the client sees that it is broken: %v", err)
			require.Equal(t, test.status, w.recordOf("/broken").Status)
			event := told.nth(t, 1)
			require.Equal(t, test.cause, event.Upstream)
			require.Equal(t, test.status, event.Status)
			warned := 0
			if test.cause != gateway.UpstreamOK {
				warned = 1
				require.Contains(t, w.said.String(), "cause="+test.cause.String())
			}
			require.Equal(t, warned, strings.Count(w.said.String(), "level=WARN"), w.said.String())
			require.NotContains(t, w.said.String(), "panic")
		})
	}
}

// What the upstream is not to blame for is not said of it.
func TestUpstreamNotToBlame(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, r.Body)
		if r.URL.Path == "/leave" {
			for {
				if _, err := io.WriteString(w, strings.Repeat("x", 10_000)); err != nil {
					return
				}
			}
		}
	})
	var told events
	w := up.behind(t, told.add)
	for i, text := range []string{
		"GET /leave HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n\r\n",
		"POST /chunk HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nnonsense\r\n",
		"POST /half HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nContent-Length: 100\r\n\r\nhalf of it",
	} {
		conn, err := dialer(inside).Dial("tcp", w.addr)
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = io.WriteString(conn, strings.ReplaceAll(text, "KEY", w.full.token))
		require.NoError(t, err)
		_, _ = io.ReadFull(conn, make([]byte, 50))
		conn.Close()
		require.Equal(t, gateway.UpstreamOK, told.nth(t, i+1).Upstream, text)
	}
	require.NotContains(t, w.said.String(), "level=WARN")
}

// An upstream that speaks HTTP/2 without TLS, as gRPC servers do.
func TestH2CUpstream(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	seen := make(chan *http.Request, 1)
	server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen <- r
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(body)
		_ = http.NewResponseController(w).Flush() // no length, so that HTTP/1.1 has room for the trailer
		w.Header().Set("Grpc-Status", "0")
	})}
	server.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	w := newWorld(t, func(o *gateway.Options) { o.Upstream = parse(t, "h2c://"+listener.Addr().String()+"/base") })
	req, err := http.NewRequest("POST", "http://"+w.addr+"/Service/Method", strings.NewReader("message"))
	require.NoError(t, err)
	req.Header.Set("X-API-Key", w.full.token)
	req.Header.Set("Te", "trailers")
	transport := &http.Transport{DialContext: dialer(inside).DialContext}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "message", string(body))
	require.Equal(t, "0", res.Trailer.Get("Grpc-Status"))
	r := <-seen
	require.Equal(t, 2, r.ProtoMajor)
	require.Equal(t, "/base/Service/Method", r.RequestURI)
	require.Equal(t, "trailers", r.Header.Get("Te"))
	require.Equal(t, w.full.ID, r.Header.Get("X-Ipallow-Key-Id"))

	// One that does not speak it.
	up := newUpstream(t, nil)
	w = newWorld(t, func(o *gateway.Options) { o.Upstream = parse(t, strings.Replace(up.url, "http://", "h2c://", 1)) })
	require.Equal(t, 502, w.do(inside, "GET", "/", "X-API-Key", w.full.token).status)
}

// An upstream's certificate is verified, by the signers that the operator names.
func TestUpstreamCertificate(t *testing.T) {
	t.Parallel()
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	up.EnableHTTP2 = true
	up.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	up.StartTLS()
	defer up.Close()
	named := x509.NewCertPool()
	named.AddCert(up.Certificate())
	for _, test := range []struct {
		pool   *x509.CertPool
		status int
	}{{named, 200}, {nil, 502}, {x509.NewCertPool(), 502}} {
		var told events
		w := newWorld(t, func(o *gateway.Options) {
			told.add(o)
			o.Upstream, o.UpstreamCAs = parse(t, up.URL), test.pool
		})
		a := w.do(inside, "GET", "/", "X-API-Key", w.full.token)
		require.Equal(t, test.status, a.status)
		if test.status == 200 {
			require.Equal(t, "HTTP/2.0", a.body)
			continue
		}
		require.Equal(t, gateway.UpstreamUnreachable, told.nth(t, 1).Upstream)
		require.Contains(t, w.said.String(), "certificate")
	}
}
