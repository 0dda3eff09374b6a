//go:build unix

package proxies

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// CONNECT opens no way past the question, though the API answers it as it does any
// method: a proxy that takes 200 for the beginning of a tunnel passes on whatever follows.
func TestTunnel(t *testing.T) {
	for _, s := range setups {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, s.upstream)
			addr := s.start(t, w)
			for _, target := range []string{"api.example:80", w.api, "/", "http://api.example/"} {
				for _, method := range []string{"CONNECT", "TRACE"} {
					got := exchange(t, addr, inside, method+" "+target+" HTTP/1.1\r\nHost: api.example:80\r\n"+authorization(w)+"\r\n"+
						"GET /tunnelled HTTP/1.1\r\nHost: api.example\r\nX-Ipallow-Key-Id: forged\r\nConnection: close\r\n\r\n")
					require.Contains(t, []int{400, 404, 405, 501}, got.status, "%s %s: %s", method, target, got.body)
				}
			}
			if strings.HasPrefix(s.name, "haproxy") { // the others take HTTP/2 with TLS alone
				require.Equal(t, 405, connectHTTP2(t, addr, authorization(w)))
			}
			// The API reads what comes on a connection in order, and this comes last.
			got := exchange(t, addr, inside, "GET /after HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n"+authorization(w)+"\r\n")
			require.Equal(t, 200, got.status)
			require.NotContains(t, w.sent.String(), "/tunnelled")
			require.NotContains(t, w.sent.String(), "CONNECT")
		})
	}
}

// connectHTTP2 asks for a tunnel over HTTP/2 and sends a forged request into it.
func connectHTTP2(t *testing.T, addr, credentials string) int {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(inside)}, Timeout: 10 * time.Second}
	transport := &http.Transport{DialContext: dialer.DialContext, Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	body, end := io.Pipe()
	defer end.Close()
	go func() { _, _ = io.WriteString(end, "GET /tunnelled HTTP/1.1\r\nHost: a\r\n\r\n") }()
	request, err := http.NewRequestWithContext(ctx, "CONNECT", "http://"+addr, body)
	require.NoError(t, err)
	name, value, _ := strings.Cut(strings.TrimSpace(credentials), ": ")
	request.Header.Set(name, value)
	res, err := transport.RoundTrip(request)
	require.NoError(t, err)
	res.Body.Close()
	return res.StatusCode
}

// A header of many lines ends no proxy, and takes nothing out of the question.
func TestManyHeaders(t *testing.T) {
	for _, s := range setups {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, s.upstream)
			addr := s.start(t, w)
			for _, line := range []string{"X-A%d: b\r\n", "X-A: b%d\r\n", "Authorization: Bearer %d\r\n", "X-HTTP-Method-Override: DELETE%d\r\n"} {
				for n := 80; n <= 130; n++ {
					var lines strings.Builder
					for i := range n {
						fmt.Fprintf(&lines, line, i)
					}
					path := fmt.Sprintf("/many/%d", n)
					got := exchange(t, addr, inside, "GET "+path+" HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nX-API-Key: "+w.readerKey+
						"\r\nX-Method-Override: DELETE\r\n"+lines.String()+"\r\n")
					require.Contains(t, []int{400, 401, 403, 431}, got.status, "%d of %q: %s", n, line, got.body)
					require.Empty(t, w.at(path))
				}
			}
			got := exchange(t, addr, inside, "GET /after HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n"+authorization(w)+"\r\n")
			require.Equal(t, 200, got.status)
		})
	}
}

// HAProxy goes on with a request for which a script failed. The configuration does not.
func TestScriptThatFails(t *testing.T) {
	for name, words := range map[string][]string{
		"before the question": {"local headers, sent =", "error('before')\n\tlocal headers, sent ="},
		"the question":        {"timeout = timeout })", "timeout = timeout, no = 1 })"},
		"after the answer":    {"if answer.status ~= 204 then", "error('after')\n\tif answer.status ~= 204 then"},
		"in the middle":       {"for _, name in ipairs({ \"x-ipallow-key-id\"", "error('middle')\n\tfor _, name in ipairs({ \"x-ipallow-key-id\""},
		"no room for the key": {"txn.http:req_set_header(name, answered[name][0])", "if name ~= 'x-ipallow-key-id' then txn.http:req_set_header(name, answered[name][0]) end"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, false)
			addr := startHAProxy(t, w, words, nil)
			for _, from := range []string{inside, outside} {
				for _, key := range []string{authorization(w), ""} {
					got := exchange(t, addr, from, "GET /failed HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nX-Ipallow-Key-Id: forged\r\n"+key+"\r\n")
					require.GreaterOrEqual(t, got.status, 401)
				}
			}
			require.Empty(t, w.at("/failed"))
		})
	}
}

// A question that would not fit into HAProxy's buffer, because a header that the operator
// added takes its reserve, is answered all the same, or refused.
func TestLargeQuestion(t *testing.T) {
	w := newWorld(t, false)
	addr := startHAProxy(t, w, nil, []string{
		"\thttp-request lua.ipallow", "\thttp-request set-header X-Note " + strings.Repeat("n", 820) + "\n\thttp-request lua.ipallow",
	})
	for _, line := range []string{"X-A: ", "Authorization: Bearer ", "X-API-Key: ", "Cookie: a="} {
		for n := 14900; n < 15260; n += 10 {
			got := exchange(t, addr, outside, "GET /large HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n"+line+strings.Repeat("b", n)+"\r\n\r\n")
			require.Contains(t, []int{400, 401, 503}, got.status, "%s%d", line, n)
		}
	}
	require.Empty(t, w.at("/large"))
}
