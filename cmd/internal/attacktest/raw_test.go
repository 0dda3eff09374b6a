package attacktest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func dial(t testing.TB, addr, from string) *net.TCPConn {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// raw sends bytes and returns every answer until the connection ends. Unless they
// ask for that themselves it says that no more will come, which cancels what is
// being answered.
func raw(t testing.TB, addr, from, text string) []answer {
	t.Helper()
	c := dial(t, addr, from)
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	if _, err := io.WriteString(c, text); err == nil && !strings.Contains(text, "Connection: close") {
		_ = c.CloseWrite()
	}
	var got []answer
	for r := bufio.NewReader(c); ; {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			c.Close()
			return got
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			c.Close()
			return got
		}
		got = append(got, answer{res, string(body)})
	}
}

// smugglings are bytes that one server may take for one request and another for
// two. KEY is the header that opens the listener.
var smugglings = map[string]string{
	"two lengths":              "POST /x HTTP/1.1\r\nHost: localhost\r\nKEYContent-Length: 5\r\nContent-Length: 50\r\n\r\nabcdeINNER",
	"a list of lengths":        "POST /x HTTP/1.1\r\nHost: localhost\r\nKEYContent-Length: 5, 50\r\n\r\nabcdeINNER",
	"a length with a sign":     "POST /x HTTP/1.1\r\nHost: localhost\r\nKEYContent-Length: +5\r\n\r\nabcdeINNER",
	"two codings":              "POST /x HTTP/1.1\r\nHost: localhost\r\nKEYTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nINNER",
	"two lines of codings":     "POST /x HTTP/1.1\r\nHost: localhost\r\nKEYTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\nINNER",
	"a hidden coding":          "POST /x HTTP/1.1\r\nHost: localhost\r\nKEYTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\nINNER",
	"a space before the colon": "POST /x HTTP/1.1\r\nHost: localhost\r\nKEYTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nINNER",
	"a folded header":          "POST /x HTTP/1.1\r\n Host: localhost\r\nKEY\r\n\r\nINNER",
	"two hosts":                "GET /x HTTP/1.1\r\nHost: localhost\r\nHost: 127.0.0.1\r\nKEY\r\nINNER",
	"no host":                  "GET /x HTTP/1.1\r\nKEY\r\nINNER",
	"a NUL in a value":         "GET /x HTTP/1.1\r\nHost: localhost\r\nX-A: b\x00c\r\nKEY\r\nINNER",
	"a bare CR in a value":     "GET /x HTTP/1.1\r\nHost: localhost\r\nX-A: b\rX-B: c\r\nKEY\r\nINNER",
}

func TestSmuggling(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	for name, text := range smugglings {
		for addr, inner := range map[string]string{
			s.gateway: "X-API-Key: " + k.Secret + "\r\n",
			s.manage:  "Authorization: Bearer " + adminToken + "\r\n",
		} {
			target := map[string]string{s.gateway: "/v1/ping", s.manage: "/api/v1/keys"}[addr]
			got := raw(t, addr, inside, strings.NewReplacer("KEY", inner,
				"INNER", "GET "+target+" HTTP/1.1\r\nHost: localhost\r\n"+inner+"Connection: close\r\n\r\n").Replace(text))
			require.LessOrEqual(t, len(got), 1, name)
			for _, a := range got {
				require.Contains(t, []int{400, 501}, a.StatusCode, name)
				require.NotContains(t, a.text, k.ID, name)
			}
		}
	}
}

// TestPipelining: who was let in once is not let in by that.
func TestPipelining(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	get := func(path, header string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + header + "\r\n"
	}
	status := func(got []answer) (codes []int) {
		for _, a := range got {
			codes = append(codes, a.StatusCode)
		}
		return codes
	}
	require.Equal(t, []int{200, 401, 200}, status(raw(t, s.gateway, inside,
		get("/v1/ping", "X-API-Key: "+k.Secret+"\r\n")+get("/v1/ping", "")+get("/v1/ping", "X-API-Key: "+k.Secret+"\r\nConnection: close\r\n"))))
	token := "Authorization: Bearer " + adminToken + "\r\n"
	require.Equal(t, []int{200, 401, 303, 401}, status(raw(t, s.manage, home,
		get("/api/v1/keys", token)+get("/api/v1/keys", "")+get("/keys", token)+get("/metrics", "Connection: close\r\n"))))
}

// TestTargets: whatever the target is, nothing but what the path names is reached,
// and nothing without a token.
func TestTargets(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("hidden name")
	for _, target := range []string{
		"http://" + s.manage + "/api/v1/keys", "https://elsewhere.example/api/v1/keys", "//api/v1/keys", "/api//v1/keys", "/./api/v1/keys",
		"/static/../api/v1/keys", "/static/..%2fapi/v1/keys", "/static/%2e%2e/api/v1/keys", "/static/..%5c..%5cetc%5cpasswd", "/healthz/../api/v1/keys",
		"/healthz%2f..%2fapi%2fv1%2fkeys", "/login/../keys", "/login%2f..%2fkeys", "/login;/../keys", "/api/v1/keys/" + k.ID + "%2fallowlist",
		"/api/v1/../../keys", "/%61pi/v1/keys", "/API/v1/keys", "/metrics/", "/metrics%00", "/api/v1/keys%00.css", "/static/%00", "/static/....//....//etc/passwd",
		"/static/%c0%ae%c0%ae/etc/passwd", "/keys?next=/static/x.css", "/static//etc/passwd", "*",
	} {
		got := raw(t, s.manage, outside, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		require.Len(t, got, 1, target)
		require.NotEqual(t, 200, got[0].StatusCode, target)
		require.Less(t, got[0].StatusCode, 500, target)
		require.NotContains(t, got[0].text, "hidden name", target)
		require.NotContains(t, got[0].text, "root:", target)
		if to := got[0].Header.Get("Location"); to != "" {
			require.Regexp(t, `^/([^/\\]|$)`, to, "%s leads to another host", target)
		}
		// On the gateway a key opens nothing of the management.
		for _, a := range raw(t, s.gateway, inside, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\nX-API-Key: "+k.Secret+"\r\nConnection: close\r\n\r\n") {
			require.Contains(t, []int{400, 404}, a.StatusCode, target)
		}
	}
	for _, method := range []string{"CONNECT " + s.manage, "TRACE /api/v1/keys", "TRACK /", "PROPFIND /keys", "OPTIONS *", "get /keys", "GETS /api/v1/keys"} {
		got := raw(t, s.manage, outside, method+" HTTP/1.1\r\nHost: localhost\r\nX-Secret: echoed\r\nConnection: close\r\n\r\n")
		require.Len(t, got, 1, method)
		require.GreaterOrEqual(t, got[0].StatusCode, 400, method)
		require.NotContains(t, got[0].text, "echoed", method)
	}
}
