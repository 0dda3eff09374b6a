package server

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNames: with TLS the names of the certificate are the server's, also those of one
// that was renewed; for another name there is neither a handshake nor an answer.
func TestNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := Defaults()
	cfg.Data, cfg.Listen, cfg.AdminListen = filepath.Join(dir, "data"), "127.0.0.1:0", "127.0.0.1:0"
	cfg.TLSCert, cfg.TLSKey, cfg.Hosts = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), []string{"Bücher.example", "my_container"}
	writeCertificate(t, cfg.TLSCert, cfg.TLSKey, 1, "admin.example.com", "*.wild.example")
	s, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { s.Close(t.Context()) })

	shakes := func(listener int, name string) error {
		c, err := tls.Dial("tcp", s.listeners[listener].Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err == nil {
			c.Close()
		}
		return err
	}
	asks := func(host string) int {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		defer tr.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+s.listeners[1].Addr().String()+"/healthz", nil)
		require.NoError(t, err)
		r.Host = host
		a, err := (&http.Client{Transport: tr}).Do(r)
		require.NoError(t, err)
		a.Body.Close()
		require.Equal(t, 2, a.ProtoMajor)
		return a.StatusCode
	}
	for _, name := range []string{"admin.example.com", "a.wild.example", "xn--bcher-kva.example", "my_container", "localhost", "127.0.0.1"} {
		require.NoError(t, shakes(1, name), name)
		require.Equal(t, 200, asks(name), name)
	}
	for _, name := range []string{"evil.example", "example.com", "a.b.wild.example", "new.example"} {
		require.ErrorContains(t, shakes(1, name), "unrecognized name", name)
		require.Equal(t, 421, asks(name), name)
		require.NoError(t, shakes(0, name), "the gateway")
	}
	writeCertificate(t, cfg.TLSCert, cfg.TLSKey, 2, "new.example")
	s.Reload()
	require.NoError(t, shakes(1, "new.example"))
	require.Equal(t, 200, asks("new.example"))
	require.Error(t, shakes(1, "admin.example.com"))
}

// TestHostFlag: what is no name is refused, and the message shows what is.
func TestHostFlag(t *testing.T) {
	for _, text := range []string{"https://a.example", "a.example:8081", "a.example/x", "", "*.", "a*b", "*.*", "**", "a b", "[::1]", "*.*.example"} {
		cfg := Defaults()
		cfg.Hosts = []string{text}
		require.ErrorContains(t, cfg.validate(cfg.serverAddresses()), "want a name such as ipallow.example.com", "%q", text)
	}
	for _, text := range []string{"*", "ipallow", "ipallow.example.com.", "*.svc.cluster.local", "10.0.0.1"} {
		cfg := Defaults()
		cfg.Hosts = []string{text}
		require.NoError(t, cfg.validate(cfg.serverAddresses()), "%q", text)
	}
}
