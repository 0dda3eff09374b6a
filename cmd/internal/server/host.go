package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/diskspace"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/usagelog"
)

// A host is what a Server and a Node have in common: listeners, a gateway,
// and an end.
type host struct {
	cfg    Config
	logger *slog.Logger

	source  *clientip.Source
	gateway *gateway.Gateway
	metrics *metrics
	disk    *diskspace.Guard
	ready   atomic.Bool
	leaving atomic.Bool // Unready was called

	certificate *certificate // nil: plain HTTP
	names       []string     // of the second listener; see localNames

	requests context.Context // all that are being answered
	cutOff   context.CancelFunc

	listeners []net.Listener
	bounds    []*boundListener
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

func newHost(cfg Config, logger *slog.Logger) host {
	requests, cutOff := context.WithCancel(context.Background())
	return host{cfg: cfg, logger: logger, failed: make(chan error, 4), requests: requests, cutOff: cutOff}
}

// newGateway makes the gateway. Loaded and usable are gateway.Options'.
func (s *host) newGateway(engine *ipallow.Engine, ring *keyring.Ring, log *usagelog.Writer, loaded, usable func() bool) error {
	upstream, err := s.cfg.upstream()
	if err != nil {
		return err
	}
	cas, err := s.cfg.upstreamCAs()
	if err != nil {
		return err
	}
	s.gateway, err = gateway.New(gateway.Options{
		Ring: ring, Engine: engine, Loaded: loaded, Usable: usable, Source: s.gatewaySource(), Log: log, Upstream: upstream, UpstreamCAs: cas,
		MaxUpstreamConns: s.cfg.budget(descriptors()).upstream,
		ReportOnly:       s.cfg.ReportOnly, NoAllowlist: s.cfg.NoAllowlist, Logger: s.logger,
		Observe: s.observe,
	})
	if err != nil {
		return err
	}
	s.onClose(func(context.Context) error { s.gateway.Close(); return nil })
	return nil
}

// gatewaySource finds the clients of the gateway. Where the PROXY protocol names them it
// is the peer, and no header of HTTP's is read: a balancer for TCP passes on whatever the
// client sent.
func (s *host) gatewaySource() *clientip.Source {
	if s.cfg.ProxyProtocol {
		return nil
	}
	return s.source
}

// serveGateway serves the gateway on the first listener.
func (s *host) serveGateway() error {
	b := s.cfg.budget(descriptors())
	l := s.bound(s.listeners[0], "gateway", b.gateway)
	if s.cfg.ProxyProtocol {
		networks, unix, err := s.cfg.trusted()
		if err != nil {
			return err
		}
		l = proxied(l, networks, unix)
	}
	return s.serveHTTP(l, "gateway", s.gateway, 0, nil)
}

// serveManagement serves what is not for clients on the second listener.
func (s *host) serveManagement(name string, handler http.Handler) error {
	var err error
	if s.names, err = s.cfg.localNames(); err != nil {
		return err
	}
	b := s.cfg.budget(descriptors())
	return s.serveHTTP(s.bound(s.listeners[1], name, b.management), name, s.onlyOurs(handler), adminReadTimeout, s.ours)
}

// onClose has f called by Close, before those that were given earlier.
func (s *host) onClose(f func(context.Context) error) { s.closers = append(s.closers, f) }

// serveHTTP serves handler on l until Close. Known is which names clients may ask for in
// TLS (SNI); nil: all.
func (s *host) serveHTTP(l net.Listener, name string, handler http.Handler, readTimeout time.Duration, known func(string) bool) error {
	srv := &http.Server{
		Handler: s.farewell(handler), ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		BaseContext:                  func(net.Listener) context.Context { return s.requests },
		DisableGeneralOptionsHandler: true, // OPTIONS * is a request like any other
		ErrorLog:                     slog.NewLogLogger(s.logger.With("server", name).Handler(), slog.LevelDebug),
	}
	serve := srv.Serve
	if s.cfg.TLSCert != "" {
		if err := s.openCertificate(); err != nil {
			return err
		}
		srv.TLSConfig, srv.Handler = s.certificate.config(known), strictTransport(srv.Handler)
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

// Unready has readyz say that the server should get no more requests. Those that
// come are answered as before.
func (s *host) Unready() {
	s.leaving.Store(true)
	s.ready.Store(false)
}

// farewell closes connections after their next answer once the server is
// unready, so that none is in use when it stops. It leaves those alone that are
// about to change their protocol.
func (s *host) farewell(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.leaving.Load() && r.Header.Get("Upgrade") == "" {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// closeLog closes the usage log. Records that nothing has taken yet wait in the
// write-ahead files.
func (s *host) closeLog(ctx context.Context, log *usagelog.Writer) error {
	err := log.Close(ctx)
	var left *usagelog.CloseError
	if errors.As(err, &left) && left.Queued+left.Lost == 0 {
		s.logger.Warn("usage records wait in the write-ahead files for the next start; keep the data directory",
			"records", left.Waiting, "directory", filepath.Join(s.cfg.Data, "usage-wal"))
		return nil
	}
	return err
}

// Failed yields the error of a listener that stopped by itself.
func (s *host) Failed() <-chan error { return s.failed }

// Addrs are the addresses listened on: gateway, management and, where it was
// asked for, ext_authz.
func (s *host) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// Close finishes the requests that are being answered, as long as ctx allows, cuts off
// the others and WebSockets, writes what is waiting, and closes everything.
func (s *host) Close(ctx context.Context) error {
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
		s.cutOff()
		var errs []error
		for i := len(s.closers) - 1; i >= 0; i-- {
			errs = append(errs, s.closers[i](ctx))
		}
		s.closeErr = errors.Join(errs...)
	})
	return s.closeErr
}

// url returns the address at which a browser on this machine reaches a
// listener.
func (s *host) url(l net.Listener) string {
	scheme := "http"
	if s.cfg.TLSCert != "" {
		scheme = "https"
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok { // as curl takes it
		return "--unix-socket " + l.Addr().String() + " " + scheme + "://localhost"
	}
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

// openUsageLog opens the write-ahead files of usage records before the store.
func (h *host) openUsageLog(store usagelog.Store) (*usagelog.Writer, error) {
	wal := h.walBytes()
	return usagelog.Open(filepath.Join(h.cfg.Data, "usage-wal"), store, &usagelog.Options{
		WALBytes:     wal,
		QueueBytes:   int(min(wal/4, 4<<20)),
		Room:         func() error { return h.disk.Room(0) },
		BatchRecords: 4096,
		StoreLinger:  200 * time.Millisecond, // larger transactions and messages: less processor time a record
		OnError:      func(err error) { h.logger.Error("usage log", "error", err) },
	})
}
