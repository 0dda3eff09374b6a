package check

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// Serve serves handler on listener until the test ends.
func Serve(t testing.TB, listener net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Errorf("the server ended with %v", err)
		}
	})
}

// Listen opens a port of 127.0.0.1.
func Listen(t testing.TB) net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}

// Server runs handler over a real socket and tests that it authenticates, asks
// for scope and enforces the list, in this order. It serves "hello" under
// /v1/hello.
func Server(t *testing.T, handler http.Handler) {
	NeedLoopback(t)
	listener := Listen(t)
	Serve(t, listener, handler)
	url := "http://" + listener.Addr().String() + "/v1/hello?token=1"
	for _, test := range []struct {
		reason         string
		ip, auth       string
		method         string
		status         int
		body           string
		exact, forward bool
	}{
		{reason: "an unknown key, whatever its address", ip: Outside, auth: "Bearer wrong", method: "GET", status: 401, body: "UNAUTHENTICATED"},
		{reason: "no key", ip: Inside, method: "GET", status: 401, body: "UNAUTHENTICATED"},
		{reason: "no scope is told before the address", ip: Outside, auth: "Bearer secret-1", method: "POST", status: 403, body: "SCOPE_MISSING"},
		{reason: "a foreign address", ip: Outside, auth: "Bearer secret-1", method: "GET", status: 403, body: DeniedBody, exact: true},
		{reason: "a foreign address with a forged header", ip: Outside, auth: "Bearer secret-1", method: "GET", status: 403, body: DeniedBody, exact: true, forward: true},
		{reason: "HEAD has no body", ip: Outside, auth: "Bearer secret-1", method: "HEAD", status: 403, exact: true},
		{reason: "an address on the list", ip: Inside, auth: "Bearer secret-1", method: "GET", status: 200, body: "hello", exact: true},
		{reason: "HEAD from an address on the list", ip: Inside, auth: "Bearer secret-1", method: "HEAD", status: 200, exact: true},
		{reason: "a key without a list", ip: Outside, auth: "Bearer secret-2", method: "GET", status: 200, body: "hello", exact: true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			request, err := http.NewRequest(test.method, url, nil)
			require.NoError(t, err)
			request.Header.Set("Authorization", test.auth)
			if test.forward {
				for _, name := range []string{"X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP"} {
					request.Header.Set(name, Inside)
				}
			}
			response, err := Client(t, test.ip).Do(request)
			require.NoError(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, test.status, response.StatusCode, "%s", body)
			if test.exact {
				require.Equal(t, test.body, string(body))
			} else {
				require.Contains(t, string(body), test.body)
			}
			if test.status == 403 && test.exact {
				require.Equal(t, "application/json; charset=utf-8", response.Header.Get("Content-Type"))
				require.Equal(t, "no-store", response.Header.Get("Cache-Control"))
			}
		})
	}
}

// NotReady tests that a server whose engine waits for its first load says so to
// every key that it knows, and still authenticates first. It takes the handler
// that a function makes of such an engine.
func NotReady(t *testing.T, make func(*ipallow.Engine) (http.Handler, error)) {
	handler, err := make(ipallow.New(&ipallow.Options{DenyUntilLoaded: true}))
	require.NoError(t, err)
	listener := Listen(t)
	Serve(t, listener, handler)
	for auth, want := range map[string]int{"Bearer wrong": 401, "Bearer secret-1": 503, "Bearer secret-2": 503} {
		request, err := http.NewRequest("GET", "http://"+listener.Addr().String()+"/v1/hello", nil)
		require.NoError(t, err)
		request.Header.Set("Authorization", auth)
		response, err := Client(t, "127.0.0.1").Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode, "%s: %s", auth, body)
		if want == 503 {
			require.Equal(t, "1", response.Header.Get("Retry-After"))
			require.Contains(t, string(body), `{"error":{"code":"NOT_READY",`)
		}
	}
}
