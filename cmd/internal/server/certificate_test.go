package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// writeCertificate makes a self-signed certificate for names.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64, names ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	cfg := Defaults()
	cfg.Data, cfg.Listen, cfg.AdminListen = filepath.Join(dir, "data"), "127.0.0.1:0", "127.0.0.1:0"
	cfg.TLSCert, cfg.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cfg.TLSCert, cfg.TLSKey, 1)
	s, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { s.Close(t.Context()) })

	dial := func(change func(*tls.Config)) (serial int64, version uint16, err error) {
		c := &tls.Config{InsecureSkipVerify: true}
		if change != nil {
			change(c)
		}
		conn, err := tls.Dial("tcp", s.listeners[0].Addr().String(), c)
		if err != nil {
			return 0, 0, err
		}
		defer conn.Close()
		state := conn.ConnectionState()
		return state.PeerCertificates[0].SerialNumber.Int64(), state.Version, nil
	}
	serial := func() int64 {
		n, _, err := dial(nil)
		require.NoError(t, err)
		return n
	}
	require.EqualValues(t, 1, serial())

	// A renewed certificate is used from the next look or SIGHUP on; half of one is not.
	writeCertificate(t, cfg.TLSCert, filepath.Join(dir, "other.pem"), 2)
	s.certificate.renew(false)
	require.EqualValues(t, 1, serial(), "the key is not its own yet")
	require.NoError(t, os.Rename(filepath.Join(dir, "other.pem"), cfg.TLSKey))
	s.certificate.renew(false)
	require.EqualValues(t, 2, serial())
	require.NoError(t, os.WriteFile(cfg.TLSCert, []byte("none"), 0o600))
	s.Reload()
	require.EqualValues(t, 2, serial())
	writeCertificate(t, cfg.TLSCert, cfg.TLSKey, 3)
	s.Reload()
	require.EqualValues(t, 3, serial())

	// TLS 1.2 with AES-GCM, but not in CBC mode, and nothing older.
	suite := func(version uint16, suites ...uint16) error {
		_, _, err := dial(func(c *tls.Config) { c.MinVersion, c.MaxVersion, c.CipherSuites = version, version, suites })
		return err
	}
	require.NoError(t, suite(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256))
	require.Error(t, suite(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA))
	require.Error(t, suite(tls.VersionTLS11))

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	for _, l := range s.listeners[:2] {
		answer, err := client.Get("https://" + l.Addr().String() + "/login")
		require.NoError(t, err)
		answer.Body.Close()
		require.Equal(t, "max-age=31536000", answer.Header.Get("Strict-Transport-Security"))
	}
}
