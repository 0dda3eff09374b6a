// Package server puts the reference server together: a gateway that enforces
// allowlists, and a management listener with the API and the settings page,
// over one engine, one ring of keys and one usage log.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/admin"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

// Bounds of the two HTTP servers. Bodies pass through the gateway unread and
// are bounded by the management API for itself.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	adminReadTimeout  = 30 * time.Second
	shutdownTimeout   = 15 * time.Second
)

// A Server is a running reference server. Start makes one.
type Server struct {
	cfg    Config
	logger *slog.Logger

	Engine  *ipallow.Engine
	Ring    *keyring.Ring
	Manager *manage.Service
	Logs    *logstore.Store
	Log     *usagelog.Writer

	token     admin.Token
	tokenText string
	TokenMade bool   // the token was made by this start
	TokenFile string // where it is kept; empty: it was given

	source  *clientip.Source
	gateway *gateway.Gateway
	metrics *metrics
	ready   atomic.Bool

	listeners []net.Listener
	servers   []stopper
	failed    chan error
	closers   []func(context.Context) error // in order of opening
	once      sync.Once
	closeErr  error
}

// A stopper is a server that can finish what it is doing.
type stopper interface {
	Shutdown(context.Context) error
	Close() error
}

// Start opens everything, listens, and serves until Close. It returns when
// requests are answered. The error names the flag or the file to correct.
func Start(ctx context.Context, cfg Config, logger *slog.Logger) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, logger: logger, failed: make(chan error, 4)}
	if err := s.start(ctx); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		return nil, errors.Join(err, s.Close(stop))
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	var err error
	if s.source, err = s.cfg.source(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	if err := s.openToken(); err != nil {
		return err
	}
	for _, l := range []struct{ name, addr string }{
		{"--listen", s.cfg.Listen}, {"--admin-listen", s.cfg.AdminListen}, {"--ext-authz-listen", s.cfg.AuthzListen},
	} {
		if err := s.listen(l.name, l.addr); err != nil {
			return err
		}
	}
	if err := s.openStores(ctx); err != nil {
		return err
	}
	if err := s.openGateway(); err != nil {
		return err
	}
	management, err := s.management()
	if err != nil {
		return err
	}
	if err := s.serveHTTP(s.listeners[0], "gateway", s.gateway, 0); err != nil {
		return err
	}
	if err := s.serveHTTP(s.listeners[1], "management", management, adminReadTimeout); err != nil {
		return err
	}
	if len(s.listeners) > 2 {
		s.serveAuthz(s.listeners[2])
	}
	s.ready.Store(true)
	return nil
}

func (s *Server) openToken() error {
	if s.cfg.AdminToken != "" {
		var err error
		s.token, err = admin.NewToken(s.cfg.AdminToken)
		if err != nil {
			return fmt.Errorf("IPALLOWD_ADMIN_TOKEN: %w", err)
		}
		return nil
	}
	s.TokenFile = filepath.Join(s.cfg.Data, "admin-token")
	var err error
	s.token, s.tokenText, s.TokenMade, err = admin.Load(s.TokenFile)
	return err
}

// openStores opens what is kept, and brings engine and ring in step with it.
func (s *Server) openStores(ctx context.Context) error {
	policy := s.cfg.policy()
	s.Engine = ipallow.New(&ipallow.Options{Policy: &policy, DenyUntilLoaded: true})
	s.Ring = new(keyring.Ring)
	var err error
	s.Logs, err = logstore.Open(ctx, logstore.Options{
		Path: filepath.Join(s.cfg.Data, "usage.db"), Retention: s.cfg.LogRetention, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	s.onClose(func(context.Context) error { return s.Logs.Close() })
	s.Manager, err = manage.Open(ctx, manage.Options{
		Path: filepath.Join(s.cfg.Data, "ipallowd.db"), Engine: s.Engine, Ring: s.Ring, Seen: s.Logs, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	s.onClose(func(context.Context) error { return s.Manager.Close() })
	if s.cfg.NoLog {
		return nil
	}
	s.Log, err = usagelog.Open(filepath.Join(s.cfg.Data, "usage-wal"), s.Logs, &usagelog.Options{
		BatchRecords: 4096,
		OnError:      func(err error) { s.logger.Error("usage log", "error", err) },
	})
	if err != nil {
		return err
	}
	s.onClose(s.Log.Close)
	return nil
}

func (s *Server) openGateway() error {
	upstream, err := s.cfg.upstream()
	if err != nil {
		return err
	}
	s.metrics = newMetrics(s.Engine, s.Ring, s.Log)
	s.gateway, err = gateway.New(gateway.Options{
		Ring: s.Ring, Engine: s.Engine, Source: s.source, Log: s.Log, Upstream: upstream,
		ReportOnly: s.cfg.ReportOnly, NoAllowlist: s.cfg.NoAllowlist, Logger: s.logger,
		Observe: s.observe,
	})
	if err != nil {
		return err
	}
	s.onClose(func(context.Context) error { s.gateway.Close(); return nil })
	return nil
}

// onClose has f called by Close, before those that were given earlier.
func (s *Server) onClose(f func(context.Context) error) { s.closers = append(s.closers, f) }

// listen opens a listener; none for an empty address.
func (s *Server) listen(flag, addr string) error {
	if addr == "" {
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%s: %w; choose another address, or stop what listens there", flag, err)
	}
	s.listeners = append(s.listeners, l)
	s.onClose(func(context.Context) error {
		l.Close() // a second time where it was served
		return nil
	})
	return nil
}

// serveHTTP serves handler on l until Close.
func (s *Server) serveHTTP(l net.Listener, name string, handler http.Handler, readTimeout time.Duration) error {
	srv := &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		DisableGeneralOptionsHandler: true, // OPTIONS * is a request like any other
		ErrorLog:                     slog.NewLogLogger(s.logger.With("server", name).Handler(), slog.LevelDebug),
	}
	l = patientListener{l}
	serve := srv.Serve
	if s.cfg.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(s.cfg.TLSCert, s.cfg.TLSKey)
		if err != nil {
			return fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	s.servers = append(s.servers, srv)
	go func() {
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("%s: %w", name, err)
		}
	}()
	return nil
}

// Failed yields the error of a listener that stopped by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Addrs are the addresses listened on: gateway, management and, where it was
// asked for, ext_authz.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// Close finishes the requests that are being answered, as long as ctx allows,
// writes what is waiting, and closes everything.
func (s *Server) Close(ctx context.Context) error {
	s.once.Do(func() {
		s.ready.Store(false)
		var wg sync.WaitGroup
		for _, srv := range s.servers {
			wg.Go(func() {
				if srv.Shutdown(ctx) != nil {
					srv.Close()
				}
			})
		}
		wg.Wait()
		var errs []error
		for i := len(s.closers) - 1; i >= 0; i-- {
			errs = append(errs, s.closers[i](ctx))
		}
		s.closeErr = errors.Join(errs...)
	})
	return s.closeErr
}
