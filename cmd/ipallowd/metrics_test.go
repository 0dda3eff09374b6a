package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// The token of the metrics opens them and nothing else, on a gateway too, where it is
// asked for once there is one. The administrator's still does on the management listener.
func TestMetricsToken(t *testing.T) {
	t.Parallel()
	const token = "mtr_0123456789abcdef"
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	nats := fleettest.Start(t)
	data := t.TempDir()
	m := start(t, data, "--nats", nats.URL(), "--metrics-token-file", file)
	guarded := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(guarded, "metrics-token"), []byte(token), 0o600))
	gate, open := startGateway(t, nats, guarded, "guarded"), startGateway(t, nats, t.TempDir(), "open")
	get := func(p *process, method, path, token string) int {
		t.Helper()
		req, err := http.NewRequest(method, p.management+path, nil)
		require.NoError(t, err)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := p.client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	require.Equal(t, 200, get(m, "GET", "/metrics", token))
	require.Equal(t, 200, get(m, "GET", "/metrics", testToken))
	require.Equal(t, 401, get(m, "GET", "/metrics", token+"x"))
	require.Equal(t, 401, get(m, "GET", "/metrics", ""))
	for _, path := range []string{"/api/v1/keys", "/api/openapi.json", "/api/v1/nodes", "/api/v1/logs.csv", "/api/v1/audit", "/api/metrics"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			require.NotContains(t, []int{200, 201, 202, 204, 405}, get(m, method, path, token), "%s %s", method, path)
		}
	}
	require.Equal(t, 200, get(gate, "GET", "/metrics", token))
	require.Equal(t, 401, get(gate, "GET", "/metrics", ""))
	require.Equal(t, 401, get(gate, "GET", "/metrics", testToken), "a gateway does not know the administrator's")
	require.Equal(t, 200, get(gate, "GET", "/healthz", ""))
	require.Equal(t, 200, get(open, "GET", "/metrics", ""))
	got := 0
	for range 30 {
		got = get(gate, "GET", "/metrics", "guess")
	}
	require.Equal(t, 429, got)
	require.Equal(t, 200, get(gate, "GET", "/metrics", token), "wrong tokens keep no right one out")

	for want, args := range map[string][]string{
		"no such file":    {"--metrics-token-file", filepath.Join(data, "none")},
		"chmod 600":       {"--metrics-token-file", readable(t, token)},
		"20 to 1024":      {"--metrics-token-file", private(t, "short")},
		"--metrics-token": {"--metrics-token-file", private(t, "")},
	} {
		status, _, said := call(t, append([]string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)...)
		require.NotZero(t, status)
		require.Contains(t, said, want)
		require.NotContains(t, said, token)
	}
}

func private(t *testing.T, text string) string {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func readable(t *testing.T, text string) string {
	file := private(t, text)
	require.NoError(t, os.Chmod(file, 0o644))
	return file
}
