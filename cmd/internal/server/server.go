// Package server puts the reference server together: a gateway that enforces
// allowlists, and a management listener with the API and the settings page,
// over one engine, one ring of keys and one usage log.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/admin"
	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/sqlitefile"
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
	host

	Engine  *ipallow.Engine
	Ring    *keyring.Ring
	Manager *manage.Service
	Logs    *logstore.Store
	Log     *usagelog.Writer

	token     admin.Token
	tokenText string
	TokenMade bool   // the token was made by this start
	TokenFile string // where it is kept; empty: it was given

	fleet    *fleet.Center // nil: there is none
	logAside string        // where a usage log is that could not be used; "" if there was none
	settled  atomic.Bool   // the fleet's owner is known, or was waited for
}

// Start opens everything, listens, and serves until Close. It returns when
// requests are answered. The error names the flag or the file to correct.
func Start(ctx context.Context, cfg Config, logger *slog.Logger) (*Server, error) {
	if err := cfg.validate(cfg.serverAddresses()); err != nil {
		return nil, err
	}
	s := &Server{host: newHost(cfg, logger)}
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
	if err := s.openDisk(); err != nil {
		return err
	}
	if err := s.openToken(); err != nil {
		return err
	}
	for _, l := range s.cfg.serverAddresses() {
		if err := s.listen(l); err != nil {
			return err
		}
	}
	if err := s.openStores(ctx); err != nil {
		return err
	}
	if err := s.openGateway(); err != nil {
		return err
	}
	if err := s.openFleet(); err != nil {
		return err
	}
	management, err := s.management()
	if err != nil {
		return err
	}
	if err := s.serveGateway(); err != nil {
		return err
	}
	if err := s.serveManagement("management", management); err != nil {
		return err
	}
	if len(s.listeners) > 2 {
		s.serveAuthz(s.listeners[2])
	}
	s.metrics.registry.MustRegister(listenerCollector(s.bounds))
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
	if err := s.cfg.recallPolicy(); err != nil {
		return err
	}
	// The engine enforces what is stored, and the policy is asked when a list is saved:
	// one that an earlier version accepted must keep nobody from starting.
	policy, enforced := s.cfg.policy(), fleet.NodePolicy()
	s.Engine = ipallow.New(&ipallow.Options{Policy: &enforced, DenyUntilLoaded: true})
	s.Ring = new(keyring.Ring)
	// The keys come first: their lock keeps other processes off the log too, and
	// nothing asks for the log before it is there.
	seen := new(laterLog)
	var err error
	s.Manager, err = manage.Open(ctx, manage.Options{
		Path: filepath.Join(s.cfg.Data, "ipallowd.db"), Engine: s.Engine, Ring: s.Ring, Policy: &policy, Seen: seen, Logger: s.logger,
		Reserve: s.disk,
		Outbox:  s.cfg.Fleet.On(), AcceptOlder: s.cfg.AcceptOlder,
	})
	if err != nil {
		return err
	}
	s.onClose(func(context.Context) error { return s.Manager.Close() })
	s.warnStored(ctx)
	if err := s.cfg.keepPolicy(); err != nil {
		return err
	}
	if s.Logs, err = s.openLogs(ctx); err != nil {
		return err
	}
	seen.SeenLog = s.Logs
	s.onClose(func(context.Context) error { return s.Logs.Close() })
	if s.cfg.NoLog {
		return nil
	}
	if s.Log, err = s.openUsageLog(s.Logs); err != nil {
		return err
	}
	s.onClose(func(ctx context.Context) error { return s.closeLog(ctx, s.Log) })
	return nil
}

// A laterLog is the usage log for a Manager that opens before it.
type laterLog struct{ manage.SeenLog }

// openLogs opens the usage log. One that is damaged, or whose schema this version
// cannot bring up to date, is set aside and a new one begun: keys do not wait for
// old records.
func (s *Server) openLogs(ctx context.Context) (*logstore.Store, error) {
	opt := logstore.Options{
		Path: filepath.Join(s.cfg.Data, "usage.db"), Retention: s.cfg.LogRetention, Logger: s.logger,
		MaxBytes: s.storeBytes(), Room: s.disk.Room,
	}
	logs, err := logstore.Open(ctx, opt)
	if err == nil || !errors.Is(err, sqlitefile.ErrSchema) && !sqlitefile.Unusable(opt.Path) {
		return logs, err
	}
	aside, failed := sqlitefile.SetAside(opt.Path, time.Now())
	if failed != nil {
		return nil, errors.Join(err, failed)
	}
	s.logAside = aside
	s.logger.Error("the usage log is damaged or cannot be upgraded: it was set aside and a new one begun; the keys are not affected",
		"error", err, "set_aside", aside)
	return logstore.Open(ctx, opt)
}

func (s *Server) openGateway() error {
	s.metrics = newMetrics(s.Engine, s.Ring, s.Log, s.disk)
	s.metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ipallowd_usage_log_set_aside", Help: "1 if the usage log was damaged at the start, and set aside.",
	}, func() float64 {
		if s.logAside != "" {
			return 1
		}
		return 0
	}))
	return s.newGateway(s.Engine, s.Ring, s.Log, s.serves, nil)
}
