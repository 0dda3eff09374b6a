package server

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/diskspace"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

func TestUpstreamFlags(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	dir := t.TempDir()
	ca, empty := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "empty.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	require.NoError(t, os.WriteFile(empty, []byte("no certificate"), 0o600))
	for _, test := range []struct{ upstream, ca, fault string }{
		{"", "", ""},
		{"http://127.0.0.1:9000", "", ""},
		{"h2c://127.0.0.1:9000/base", "", ""},
		{"https://api.internal", ca, ""},
		{"HTTPS://api.internal", ca, ""},
		{"ftp://127.0.0.1", "", `--upstream: "ftp://127.0.0.1": want http://HOST:PORT, https://HOST:PORT or h2c://HOST:PORT`},
		{"http://127.0.0.1:9000", ca, "--upstream-ca is for an --upstream that begins with https://"},
		{"h2c://127.0.0.1:9000", ca, "--upstream-ca is for an --upstream that begins with https://"},
		{"", ca, "--upstream-ca is for an --upstream that begins with https://"},
		{"https://api.internal", empty, "has no certificate in PEM form"},
		{"https://api.internal", filepath.Join(dir, "missing"), "--upstream-ca: open "},
	} {
		c := Config{Upstream: test.upstream, UpstreamCA: test.ca}
		_, err := c.upstream()
		if err == nil {
			_, err = c.upstreamCAs()
		}
		if test.fault == "" {
			require.NoError(t, err, "%+v", test)
			continue
		}
		require.ErrorContains(t, err, test.fault)
	}
}

// Failures of the upstream are counted by their cause, from 0.
func TestUpstreamMetric(t *testing.T) {
	disk, err := diskspace.Open(t.TempDir())
	require.NoError(t, err)
	m := newMetrics(ipallow.New(nil), new(keyring.Ring), nil, disk)
	m.observe(gateway.Event{Status: 200})
	m.observe(gateway.Event{Status: 200, Upstream: gateway.UpstreamBrokenAnswer})
	m.observe(gateway.Event{Status: 502, Upstream: gateway.UpstreamInvalidAnswer})
	m.observe(gateway.Event{Status: 502, Upstream: gateway.UpstreamInvalidAnswer})
	rec := httptest.NewRecorder()
	m.handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`ipallowd_upstream_failures_total{cause="broken_answer"} 1`, `ipallowd_upstream_failures_total{cause="invalid_answer"} 2`,
		`ipallowd_upstream_failures_total{cause="timeout"} 0`, `ipallowd_upstream_failures_total{cause="unreachable"} 0`,
		`ipallowd_requests_total{status="2xx"} 2`,
	} {
		require.Contains(t, rec.Body.String(), want)
	}
	require.NotContains(t, rec.Body.String(), `cause="none"`)
}
