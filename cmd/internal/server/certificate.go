package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A certificate is that of both listeners. It is read again when one of its
// files changes, so that a renewed one needs no restart; connections that are
// open keep theirs.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger
	inUse             atomic.Pointer[tls.Certificate]

	mu   sync.Mutex
	seen [2]fileState // of the files that were read last, readable or not
}

// A fileState tells one content of a file from another without reading it.
type fileState struct {
	modified time.Time
	size     int64
}

func stateOf(path string) (s fileState) {
	if info, err := os.Stat(path); err == nil {
		s = fileState{info.ModTime(), info.Size()}
	}
	return s
}

func loadCertificate(certFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger}
	if err := c.read(); err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	return c, nil
}

func (c *certificate) read() error {
	c.seen = [2]fileState{stateOf(c.certFile), stateOf(c.keyFile)}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.inUse.Store(&pair)
	return nil
}

// renew reads the files again if they have changed, or if it must. What cannot
// be read leaves the certificate in use as it is: the two files may be written
// one after the other.
func (c *certificate) renew(must bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !must && c.seen == [2]fileState{stateOf(c.certFile), stateOf(c.keyFile)} {
		return
	}
	if err := c.read(); err != nil {
		c.logger.Error("the new TLS certificate cannot be used, and the former one stays in use",
			"cert", c.certFile, "key", c.keyFile, "error", err)
		return
	}
	c.logger.Info("the TLS certificate was read again", "cert", c.certFile, "until", c.inUse.Load().Leaf.NotAfter)
}

// config is for a server's connections: TLS 1.3, or 1.2 with the suites that
// encrypt and authenticate in one (RFC 9325, section 4.2), none of them in CBC
// mode. A client that asks for a name which known, unless nil, does not have is told so
// by the alert unrecognized_name (RFC 6066, section 3).
func (c *certificate) config(known func(string) bool) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName != "" && known != nil && !known(hostOf(hello.ServerName)) {
				return nil, nil // which crypto/tls makes that alert of
			}
			return c.inUse.Load(), nil
		},
	}
}

// renewEvery is how often the files are looked at.
const renewEvery = 30 * time.Second

// openCertificate reads the certificate, once for both listeners, and renews it
// until Close.
func (s *host) openCertificate() error {
	if s.certificate != nil {
		return nil
	}
	var err error
	if s.certificate, err = loadCertificate(s.cfg.TLSCert, s.cfg.TLSKey, s.logger); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.certificate.renew(false)
			case <-ended:
				return
			}
		}
	}()
	s.onClose(func(context.Context) error { close(ended); return nil })
	return nil
}

// Reload reads the certificate again, as SIGHUP asks for.
func (s *host) Reload() {
	if s.certificate == nil {
		s.logger.Info("there is nothing to read again: no TLS certificate is in use")
		return
	}
	s.certificate.renew(true)
}

// strictTransport has browsers come back over TLS alone, for a year (RFC 6797,
// section 6.1). An API's own header takes its place.
func strictTransport(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		next.ServeHTTP(w, r)
	})
}
