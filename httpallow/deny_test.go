package httpallow_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/httpallow"
)

// serve starts a server whose requests are all of the restricted key, and
// nothing on loopback is on its list.
func serve(t *testing.T, opts httpallow.Options, next http.Handler) *httptest.Server {
	opts.Key = func(r *http.Request) (string, bool) { return restricted, r.Header.Get("No-Key") == "" }
	server := httptest.NewServer(newMiddleware(t, newEngine(t, nil), opts).Handler(next))
	t.Cleanup(server.Close)
	return server
}

// exchange writes a request as it stands and returns the response as it came,
// until the server closes.
func exchange(t *testing.T, server *httptest.Server, request string) string {
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	response, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(response)
}

func TestDeniedToTheByte(t *testing.T) {
	server := serve(t, httpallow.Options{}, &counter{})
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "PURGE", "HEAD"} {
		response := exchange(t, server, method+" /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		head, body, found := strings.Cut(response, "\r\n\r\n")
		require.True(t, found, "%q", response)
		lines := strings.Split(head, "\r\n")
		require.Equal(t, "HTTP/1.1 403 Forbidden", lines[0], method)
		for i, line := range lines {
			if strings.HasPrefix(line, "Date: ") {
				lines[i] = "Date: -"
			}
		}
		require.ElementsMatch(t, []string{
			"HTTP/1.1 403 Forbidden",
			"Cache-Control: no-store",
			"Content-Type: application/json; charset=utf-8",
			"Date: -",
			fmt.Sprintf("Content-Length: %d", len(deniedBody)),
			"Connection: close",
		}, lines, method)
		if method == "HEAD" {
			require.Empty(t, body)
		} else {
			require.Equal(t, deniedBody, body, method)
			require.True(t, json.Valid([]byte(body)))
		}
	}
}

func TestUnauthorizedToTheByte(t *testing.T) {
	server := serve(t, httpallow.Options{}, &counter{})
	response := exchange(t, server, "GET /x HTTP/1.1\r\nHost: a\r\nNo-Key: 1\r\nConnection: close\r\n\r\n")
	require.Contains(t, response, "HTTP/1.1 401 Unauthorized\r\n")
	require.Contains(t, response, "\r\nWww-Authenticate: Bearer\r\n")
	require.Contains(t, response, "\r\nCache-Control: no-store\r\n")
	require.True(t, strings.HasSuffix(response, "\r\n\r\n"+`{"error":{"code":"UNAUTHENTICATED","message":"Request has no valid API key"}}`), response)
}

// Before the first load the answer says nothing of the client's address, and the
// next request after it is decided by the lists.
func TestUnavailableToTheByte(t *testing.T) {
	engine := newEngine(t, &ipallow.Options{DenyUntilLoaded: true})
	next := &counter{}
	server := httptest.NewServer(newMiddleware(t, engine, httpallow.Options{ReportOnly: true,
		Key:  func(*http.Request) (string, bool) { return unrestricted, true },
		Deny: func(http.ResponseWriter, *http.Request, httpallow.Decision) { panic("Deny was called") },
	}).Handler(next))
	defer server.Close()
	const get = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	response := exchange(t, server, get)
	require.True(t, strings.HasPrefix(response, "HTTP/1.1 503 Service Unavailable\r\n"), response)
	for _, line := range []string{"Retry-After: 1", "Cache-Control: no-store", "Content-Type: application/json; charset=utf-8"} {
		require.Contains(t, response, "\r\n"+line+"\r\n")
	}
	require.True(t, strings.HasSuffix(response, "\r\n\r\n"+notReadyBody), response)
	require.NoError(t, engine.Replace(func(func(string, []ipallow.Entry) bool) {}))
	require.True(t, strings.HasPrefix(exchange(t, server, get), "HTTP/1.1 204 "))
	require.Equal(t, 1, next.calls)
}

// The body of a refused request is not asked for.
func TestRefusedBeforeTheBody(t *testing.T) {
	server := serve(t, httpallow.Options{}, &counter{})
	response := exchange(t, server, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
	require.True(t, strings.HasPrefix(response, "HTTP/1.1 403 Forbidden\r\n"), response)
}

// A connection goes on being used after a refusal, with nothing left over.
func TestRefusalsOnOneConnection(t *testing.T) {
	server := serve(t, httpallow.Options{}, &counter{})
	one := "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n" + "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
	response := exchange(t, server, one+one+"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	require.Equal(t, 5, strings.Count(response, "HTTP/1.1 403 Forbidden\r\n"))
	require.Equal(t, 3, strings.Count(response, deniedBody))
}

func TestOtherHandlers(t *testing.T) {
	var got httpallow.Decision
	next := &counter{}
	server := serve(t, httpallow.Options{
		Deny: func(w http.ResponseWriter, r *http.Request, d httpallow.Decision) {
			got = d
			http.Error(w, "go away", http.StatusTeapot)
		},
		Unauthenticated: http.RedirectHandler("/login", http.StatusSeeOther),
	}, next)
	response := exchange(t, server, "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	require.True(t, strings.HasPrefix(response, "HTTP/1.1 418 "), response)
	require.True(t, strings.HasSuffix(response, "\r\n\r\ngo away\n"), response)
	require.NotContains(t, response, "IP_NOT_ALLOWED")
	require.Equal(t, restricted, got.Key)
	require.Equal(t, "127.0.0.1", got.Client.Addr.String())
	response = exchange(t, server, "GET /x HTTP/1.1\r\nHost: a\r\nNo-Key: 1\r\nConnection: close\r\n\r\n")
	require.True(t, strings.HasPrefix(response, "HTTP/1.1 303 "), response)
	require.Zero(t, next.calls)

	w := httptest.NewRecorder()
	waiting := newMiddleware(t, newEngine(t, &ipallow.Options{DenyUntilLoaded: true}),
		httpallow.Options{Unavailable: http.RedirectHandler("/status", http.StatusFound)})
	require.Equal(t, httpallow.NotReady, waiting.Enforce(w, request("GET", inside, restricted)).Outcome)
	require.Equal(t, 302, w.Code)
}

// A length that an outer handler set for another body does not cut this one.
func TestWrongContentLength(t *testing.T) {
	m := newMiddleware(t, newEngine(t, nil), httpallow.Options{Key: func(*http.Request) (string, bool) { return restricted, true }})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "3")
		w.Header().Set("Cache-Control", "public")
		m.Handler(&counter{}).ServeHTTP(w, r)
	}))
	defer server.Close()
	response := exchange(t, server, "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	require.True(t, strings.HasSuffix(response, "\r\n\r\n"+deniedBody), response)
	require.Equal(t, 1, strings.Count(response, "Cache-Control:"), response)
}

// The ResponseWriter comes through as it is: flushing and hijacking work.
func TestResponseWriterIsNotWrapped(t *testing.T) {
	server := serve(t, httpallow.Options{ReportOnly: true}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(io.ReaderFrom); !ok {
			panic("io.ReaderFrom is hidden")
		}
		if r.URL.Path == "/flush" {
			_, _ = io.WriteString(w, "first\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done() // the client has read the first line
			return
		}
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\n\r\nraw")
		_ = rw.Flush()
	}))
	require.Equal(t, "HTTP/1.1 101 Switching Protocols\r\n\r\nraw", exchange(t, server, "GET /hijack HTTP/1.1\r\nHost: a\r\n\r\n"))
	response, err := http.Get(server.URL + "/flush")
	require.NoError(t, err)
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "first\n", line)
	require.NoError(t, response.Body.Close())

	recorder := httptest.NewRecorder()
	m := newMiddleware(t, newEngine(t, nil), httpallow.Options{})
	m.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		require.Same(t, recorder, w)
	})).ServeHTTP(recorder, request("GET", inside, restricted))
}

func TestLogTo(t *testing.T) {
	for _, test := range []struct {
		reason    string
		level     slog.Level
		peer, key string
		opts      httpallow.Options
		want      string
	}{
		{"a refusal", slog.LevelInfo, outside, restricted, httpallow.Options{}, "level=WARN msg=\"allowlist decision\" outcome=refused verdict=denied key=key_restricted client=198.51.100.7 method=GET path=/v1/items\n"},
		{"no address", slog.LevelInfo, "@", restricted, httpallow.Options{}, "level=WARN msg=\"allowlist decision\" outcome=refused verdict=denied key=key_restricted client=\"none (peer_without_address)\" method=GET path=/v1/items\n"},
		{"report-only", slog.LevelInfo, outside, restricted, httpallow.Options{ReportOnly: true}, "level=WARN msg=\"allowlist decision\" outcome=reported verdict=denied key=key_restricted client=198.51.100.7 method=GET path=/v1/items\n"},
		{"served is not worth a line", slog.LevelInfo, inside, restricted, httpallow.Options{}, ""},
		{"served, when asked for", slog.LevelDebug, inside, restricted, httpallow.Options{}, "level=DEBUG msg=\"allowlist decision\" outcome=served verdict=allowed key=key_restricted client=203.0.113.5 method=GET path=/v1/items\n"},
		{"no key", slog.LevelDebug, inside, "", httpallow.Options{}, "level=DEBUG msg=\"allowlist decision\" outcome=no_key verdict=denied key=\"\" client=203.0.113.5 method=GET path=/v1/items\n"},
		{"before the first load", slog.LevelInfo, inside, unrestricted, httpallow.Options{}, "level=WARN msg=\"allowlist decision\" outcome=not_ready verdict=denied key=key_unrestricted client=203.0.113.5 method=GET path=/v1/items\n"},
	} {
		var out bytes.Buffer
		engine := newEngine(t, &ipallow.Options{DenyUntilLoaded: strings.Contains(test.want, "not_ready")})
		test.opts.Observe = httpallow.LogTo(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
			Level: test.level,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})))
		newMiddleware(t, engine, test.opts).Enforce(httptest.NewRecorder(), request("GET", test.peer, test.key))
		require.Equal(t, test.want, out.String(), test.reason)
	}
}

func TestLogToDefault(t *testing.T) {
	var out bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	observe := httpallow.LogTo(nil)
	slog.SetDefault(before)
	observe(request("GET", outside, restricted), httpallow.Decision{Key: restricted})
	require.Contains(t, out.String(), "outcome=refused")
}
