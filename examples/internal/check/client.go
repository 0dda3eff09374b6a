package check

import (
	"net"
	"net/http"
	"os"
	"runtime"
	"testing"
	"time"
)

// NeedLoopback skips the test where only 127.0.0.1 can be bound, which in CI is
// a failure.
func NeedLoopback(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", Outside+":0")
	if err == nil {
		listener.Close()
		return
	}
	Missing(t, "this machine ("+runtime.GOOS+") cannot bind "+Outside+": "+err.Error())
}

// Missing fails the test in CI, and elsewhere skips it and says why.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Dialer connects from the address ip.
func Dialer(ip string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: 10 * time.Second}
}

// Client returns an HTTP client that connects from the address ip, once for each
// request, and does not follow redirects.
func Client(t testing.TB, ip string) *http.Client {
	transport := &http.Transport{DialContext: Dialer(ip).DialContext, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
