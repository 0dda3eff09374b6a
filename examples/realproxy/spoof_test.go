//go:build unix

package realproxy

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/examples/internal/check"
	"github.com/ipallow/ipallow/httpallow"
)

// A front is a port that clients call.
type front struct {
	name, addr string
	proxy      string // the address of a trusted proxy, for attempts to name
	closed     bool   // no request may come through
}

// TestNothingMovesTheAddress sends every attempt through every proxy and to the
// servers themselves, from an address that is not on the list and claims one that
// is, and the other way round.
func TestNothingMovesTheAddress(t *testing.T) {
	check.NeedLoopback(t)
	j := &journal{made: map[string][]httpallow.Decision{}}
	servers := startServers(t, j)
	at := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	nginx := start(t, "nginx", 3, func(dir string, ports []int) (string, []string) {
		return nginxConfig(dir, ports, servers)
	})
	haproxy := start(t, "haproxy", 6, func(dir string, ports []int) (string, []string) {
		return haproxyConfig(dir, ports, servers, at(nginx[0]))
	})
	for _, f := range []front{
		{name: "nginx/X-Forwarded-For", addr: at(nginx[0]), proxy: nginxAddr},
		{name: "nginx/Forwarded", addr: at(nginx[1]), proxy: nginxAddr},
		{name: "nginx/X-Real-IP", addr: at(nginx[2]), proxy: nginxAddr},
		{name: "haproxy/X-Forwarded-For", addr: at(haproxy[0]), proxy: haproxyAddr},
		{name: "haproxy/Forwarded", addr: at(haproxy[1]), proxy: haproxyAddr},
		{name: "haproxy/X-Real-IP", addr: at(haproxy[2]), proxy: haproxyAddr},
		{name: "haproxy/PROXY-1", addr: at(haproxy[3]), proxy: haproxyAddr},
		{name: "haproxy/PROXY-2", addr: at(haproxy[4]), proxy: haproxyAddr},
		{name: "haproxy-nginx/X-Forwarded-For", addr: at(haproxy[5]), proxy: haproxyAddr},
		{name: "direct/X-Forwarded-For", addr: servers[xForwardedFor], proxy: nginxAddr},
		{name: "direct/Forwarded", addr: servers[forwarded], proxy: nginxAddr},
		{name: "direct/X-Real-IP", addr: servers[realIP], proxy: nginxAddr},
		{name: "direct/PROXY", addr: servers[proxyProtocol], proxy: haproxyAddr, closed: true},
	} {
		t.Run(f.name, func(t *testing.T) { trySpoofing(t, f, j) })
	}
	// What was smuggled may have been served after its connection was closed.
	seen := 0
	j.mu.Lock()
	defer j.mu.Unlock()
	for path, decisions := range j.made {
		for _, d := range decisions {
			seen++
			if d.Client.OK() {
				require.Contains(t, path, "/"+d.Client.Addr.String(), "an address was moved")
			}
		}
	}
	require.Greater(t, seen, 12*2*30)
}

func trySpoofing(t *testing.T, f front, j *journal) {
	reached, stopped := 0, []string(nil)
	for i, a := range attempts {
		for _, client := range []string{check.Outside, check.Inside} {
			claim := check.Inside
			if client == check.Inside {
				claim = check.Outside
			}
			path := fmt.Sprintf("/%s/%d/%s", f.name, i, client)
			response := exchange(t, f.addr, client, a.text(path, claim, f.proxy))
			what := fmt.Sprintf("%q from %s: %.200q", a.reason, client, response)
			decisions := j.under(path)
			if f.closed {
				require.Empty(t, decisions, what)
				require.NotContains(t, response, "hello", what)
				continue
			}
			for _, d := range decisions {
				if a.unfound && !d.Client.OK() {
					require.Contains(t, []clientip.Reason{clientip.TooManyElements, clientip.HeaderTooLarge}, d.Client.Reason, what)
					continue
				}
				require.Equal(t, clientip.Result{Addr: netip.MustParseAddr(client), Reason: clientip.Found}, d.Client, what)
			}
			if client == check.Outside {
				require.NotContains(t, response, "hello", what)
				require.NotContains(t, response, " 200 OK\r\n", what)
			}
			if len(decisions) == 0 { // the proxy, or net/http, did not take it
				require.Contains(t, []string{"HTTP/1.1 4", "HTTP/1.0 4", "HTTP/1.1 5"}, response[:min(len(response), 10)], what)
				if client == check.Outside {
					stopped = append(stopped, a.reason)
				}
				continue
			}
			if client == check.Inside && decisions[0].Client.OK() {
				require.Contains(t, response, "hello", what)
			} else {
				require.Contains(t, response, " 403 Forbidden\r\n", what)
				require.Contains(t, response, check.DeniedBody, what)
			}
			if client == check.Outside && a != attempts[0] {
				reached++
			}
		}
	}
	if f.closed {
		return
	}
	require.GreaterOrEqual(t, reached, 30, "attempts that reached the server; stopped before it: %q", stopped)
	t.Logf("%d attempts reached the server and moved nothing; stopped before it: %q", reached, stopped)
}

// TestAttemptsMoveANaiveServer shows that the attempts are worth making: a server
// that reads the header from the left is moved by many of them.
func TestAttemptsMoveANaiveServer(t *testing.T) {
	check.NeedLoopback(t)
	j := &journal{made: map[string][]httpallow.Decision{}}
	naive := startNaive(t, j)
	servers := map[kind]string{xForwardedFor: naive, forwarded: naive, realIP: naive}
	nginx := start(t, "nginx", 3, func(dir string, ports []int) (string, []string) {
		return nginxConfig(dir, ports, servers)
	})
	moved := 0
	for i, a := range attempts {
		path := fmt.Sprintf("/%d/", i)
		exchange(t, fmt.Sprintf("127.0.0.1:%d", nginx[0]), check.Outside, a.text(path, check.Inside, nginxAddr))
		for _, d := range j.under(path) {
			if d.Client.Addr == netip.MustParseAddr(check.Inside) {
				moved++
				break
			}
		}
	}
	require.GreaterOrEqual(t, moved, 10)
	t.Logf("%d attempts of %d move it", moved, len(attempts))
}

// exchange sends text from the address client and returns what comes back until
// the connection is closed.
func exchange(t *testing.T, addr, client, text string) string {
	if head, body, found := strings.Cut(text, "\r\n\r\n"); found {
		text = strings.Replace(head, "LENGTH", fmt.Sprint(len(body)), 1) + "\r\n\r\n" + body
	}
	conn, err := check.Dialer(client).Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, _ = io.WriteString(conn, text) // a server that does not take it may close early
	response, err := io.ReadAll(conn)
	if netErr, ok := err.(interface{ Timeout() bool }); ok && netErr.Timeout() {
		t.Fatalf("no end of the response to %q from %s: %q", text, client, response)
	}
	return string(response)
}
