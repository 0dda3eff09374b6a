// Package api is the management API under /api/v1: keys, their allowlists, the
// usage log and the audit trail as JSON, for programs.
//
// It translates between HTTP and a [manage.Manager] and adds no rules of its
// own. The document at /api/openapi.json says what each route takes and
// answers; the tests hold every answer against it.
package api

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/guesses"
	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

// Logs is what the API reads the usage log by. A *logstore.Store is one.
type Logs interface {
	Query(ctx context.Context, q usagelog.Query) (usagelog.Page, error)
	Stream(ctx context.Context, f usagelog.Filter) iter.Seq2[usagelog.Record, error]
	Summary(ctx context.Context, f usagelog.Filter, width time.Duration) ([]logstore.Bucket, error)
}

var _ Logs = (*logstore.Store)(nil)

// Options are what an API works with. Manager, Logs and Authenticate must be
// set.
type Options struct {
	Manager manage.Manager
	Logs    Logs

	// Authenticate reports whether token is the administrator's. It compares
	// in constant time, and is called from any number of goroutines.
	Authenticate func(token string) bool

	// Guesses counts wrong tokens, for all that takes the same token. Nil: the
	// API counts by itself.
	Guesses *guesses.Limiter

	// Source finds the caller's own address, for the audit trail, the check
	// for lock-outs and the limit on wrong tokens. Nil: the TCP peer.
	Source *clientip.Source

	// Logger is told of failures and of wrong tokens, never of a token. Nil:
	// nothing is logged.
	Logger *slog.Logger

	// Metrics is served at /metrics by GET, for the same token and with the
	// same limit on wrong ones. Nil: nothing is.
	Metrics http.Handler

	// AuthenticateMetrics reports whether token opens the metrics, and nothing
	// else. It is as Authenticate. Nil: only that one's does.
	AuthenticateMetrics func(token string) bool

	// Fleet tells of the nodes. Nil: there is no fleet.
	Fleet func(context.Context) fleet.View

	// Propagation says where the last change of a key is in force, and waits for
	// it as long as it is told. Nil: there is no fleet.
	Propagation func(ctx context.Context, id string, wait time.Duration) fleet.Propagation

	// RemoveNode takes a silent node off the list. Nil: there is no fleet.
	RemoveNode func(ctx context.Context, name string) error

	// Timeout bounds the work on a request, the CSV export excepted. Default
	// 30 s.
	Timeout time.Duration
}

// A handler serves the API. It is immutable but for what its guard counts.
type handler struct {
	manager    manage.Manager
	logs       Logs
	fleet      func(context.Context) fleet.View             // nil: there is none
	propagate  propagator                                   // nil: there is no fleet
	removeNode func(ctx context.Context, name string) error // nil: there is no fleet
	source     *clientip.Source
	logger     *slog.Logger
	timeout    time.Duration // of everything but the export
	stall      time.Duration // exportStall, but in tests
	guard      *guard
	mux        *http.ServeMux
}

// New returns a handler for all paths under /api/, and for /metrics. It may
// serve any number of requests at once. The server around it bounds headers,
// and the time that a client takes to send a request.
func New(opts Options) (http.Handler, error) {
	if opts.Manager == nil || opts.Logs == nil || opts.Authenticate == nil {
		return nil, errors.New("api: Options.Manager, Options.Logs and Options.Authenticate must be set")
	}
	h := &handler{
		manager:    opts.Manager,
		logs:       opts.Logs,
		fleet:      opts.Fleet,
		propagate:  opts.Propagation,
		removeNode: opts.RemoveNode,
		source:     opts.Source,
		logger:     opts.Logger,
		timeout:    opts.Timeout,
		stall:      exportStall,
		guard:      &guard{authenticate: opts.Authenticate, guesses: opts.Guesses, metrics: opts.AuthenticateMetrics},
		mux:        http.NewServeMux(),
	}
	if h.guard.guesses == nil {
		h.guard.guesses = guesses.New(nil)
	}
	if h.logger == nil {
		h.logger = slog.New(slog.DiscardHandler)
	}
	if h.timeout <= 0 {
		h.timeout = 30 * time.Second
	}
	for path, m := range h.routes() {
		do := m.serve
		if path != exportPath {
			do = h.timed(do)
		}
		h.mux.Handle(path, h.serve(do))
	}
	if opts.Metrics != nil {
		h.mux.Handle("GET "+metricsPath, opts.Metrics)
	}
	h.mux.Handle("/", h.serve(noRoute))
	return h, nil
}

// routes returns what is served, by path and method.
func (h *handler) routes() map[string]methods {
	return map[string]methods{
		"/api/v1/keys":                      {"GET": h.listKeys, "POST": h.createKey},
		"/api/v1/keys/{id}":                 {"GET": h.getKey, "PATCH": h.editKey, "DELETE": h.revokeKey},
		"/api/v1/keys/{id}/rotate":          {"POST": h.rotateKey},
		"/api/v1/keys/{id}/allowlist":       {"GET": h.getAllowlist, "PUT": h.putAllowlist},
		"/api/v1/keys/{id}/allowlist/check": {"POST": h.checkAllowlist},
		"/api/v1/keys/{id}/propagation":     {"GET": h.getPropagation},
		"/api/v1/keys/{id}/addresses":       {"GET": h.getAddresses},
		"/api/v1/logs":                      {"GET": h.listLogs},
		exportPath:                          {"GET": h.exportLogs},
		"/api/v1/logs/summary":              {"GET": h.summarizeLogs},
		"/api/v1/audit":                     {"GET": h.listAudit},
		"/api/v1/nodes":                     {"GET": h.listNodes},
		"/api/v1/nodes/{name}":              {"DELETE": h.deleteNode},
		"/api/openapi.json":                 {"GET": h.openapi},
	}
}
