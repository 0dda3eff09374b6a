//go:build unix

package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// With few descriptors, idle connections of strangers at the gateway take none from
// management, and the gateway serves again when they are gone.
func TestIdleConnectionsAndFewDescriptors(t *testing.T) {
	args := []string{"-c", `ulimit -n 64 && exec "$0" "$@"`, os.Args[0], "serve", "--data", t.TempDir() + "/data",
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}
	p := launchCommand(t, exec.Command("sh", args...))
	var idle []net.Conn
	for range 200 {
		c, err := net.DialTimeout("tcp", strings.TrimPrefix(p.gateway, "http://"), time.Second)
		if err != nil {
			break // the system's queue is full too
		}
		idle = append(idle, c)
	}
	require.Greater(t, len(idle), 64)
	metrics := func() string {
		req, err := http.NewRequest("GET", p.management+"/metrics", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+testToken)
		req.Close = true
		res, err := p.client.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		require.Equal(t, 200, res.StatusCode)
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return string(text)
	}
	require.Eventually(t, func() bool {
		return strings.Contains(metrics(), `ipallowd_connections_full_total{listener="gateway"} 1`)
	},
		time.Minute, 10*time.Millisecond, "the gateway never reached its bound")
	for range 12 {
		var key struct{ ID string }
		status, err := p.api("POST", "/keys", map[string]any{"name": "k", "scopes": []string{"read"}}, &key)
		require.NoError(t, err)
		require.Equal(t, 201, status)
		status, err = p.api("DELETE", "/keys/"+key.ID, nil, nil)
		require.NoError(t, err)
		require.Contains(t, []int{200, 204}, status, "a revocation")
	}
	require.Contains(t, metrics(), `ipallowd_accept_errors_total{listener="gateway"} 0`)
	require.Contains(t, p.stderr.String(), "--max-connections")
	for _, c := range idle {
		c.Close()
	}
	status, _, err := p.ping("nonsense")
	require.NoError(t, err)
	require.Equal(t, 401, status)
}
