package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/api"
	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/guesses"
	"github.com/ipallow/ipallow/cmd/internal/page"
)

// management is the handler of the management listener: health, metrics, the
// API and the page. Health is the only thing here without a token but the
// login.
func (s *Server) management() (http.Handler, error) {
	// nil: there is no fleet
	var view func(context.Context) fleet.View
	var propagation func(context.Context, string, time.Duration) fleet.Propagation
	var remove func(context.Context, string) error
	if s.fleet != nil {
		view, propagation, remove = s.fleet.View, s.fleet.Propagation, s.fleet.RemoveNode
	}
	metricsToken, _, err := s.cfg.metricsToken() // the zero Token accepts nothing
	if err != nil {
		return nil, err
	}
	wrong := guesses.New(nil) // one count for all that takes the administrator's token
	apiHandler, err := api.New(api.Options{
		Manager: s.Manager, Logs: s.Logs, Authenticate: s.token.Check, Guesses: wrong, Logger: s.logger,
		Metrics: s.metrics.handler(), AuthenticateMetrics: metricsToken.Check, Fleet: view, Propagation: propagation, RemoveNode: remove, Source: s.source,
	})
	if err != nil {
		return nil, err
	}
	opts := page.Options{
		Manager: s.Manager, Logs: s.Logs, Authenticate: s.token.Check, Guesses: wrong, Policy: s.cfg.policy(),
		SessionFile: filepath.Join(s.cfg.Data, "sessions.json"), TokenName: s.token.Name(),
		TryURL: s.tryURL(), SecureCookies: s.cfg.SecureCookies, Logger: s.logger,
		Fleet: view, Propagation: propagation, RemoveNode: remove, Source: s.source,
	}
	if s.Log != nil {
		opts.LogStats = s.Log.Stats
	}
	pageHandler, err := page.New(opts)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { status(w, http.StatusOK, "ok", "") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("/metrics", apiHandler)
	mux.Handle("/api/", apiHandler)
	mux.Handle("/", pageHandler)
	return mux, nil
}

// readyz says whether requests are answered as they should be.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.isReady(); err != nil {
		status(w, http.StatusServiceUnavailable, "not ready", err.Error())
		return
	}
	if err := s.disk.Room(0); err != nil {
		// It enforces as it should: to take it out of service would make a full
		// log an outage.
		status(w, http.StatusOK, "degraded", notStored(err))
		return
	}
	note := ""
	if s.logAside != "" {
		note = "the usage log was damaged and is set aside as " + s.logAside + "; a new one was begun"
	}
	status(w, http.StatusOK, "ready", note)
}

func notStored(err error) string { return "usage records are not stored: " + err.Error() }

// isReady returns why the server should get no requests now.
func (s *Server) isReady() error {
	switch {
	case !s.ready.Load():
		return errors.New("starting or stopping")
	case !s.Engine.Snapshot().Loaded():
		return errors.New("the allowlists are not loaded")
	case s.Manager.Refused() != nil:
		return s.Manager.Refused()
	case !s.serves():
		return errors.New("waiting for the fleet to say whether this server is its management node")
	case s.disk.Full():
		return errors.New("the disk is full: changes of keys and lists cannot be stored")
	}
	return nil
}

// A health is what healthz and readyz answer.
type health struct {
	Status string        `json:"status"`
	Reason string        `json:"reason,omitempty"`
	Faults int           `json:"faults,omitempty"` // keys whose value a gateway cannot use as it is
	Faulty []fleet.Fault `json:"faulty,omitempty"` // some of them
}

func status(w http.ResponseWriter, code int, text, reason string) {
	health{Status: text, Reason: reason}.write(w, code)
}

func (h health) write(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(h)
}

// tryURL is what a client can ask the gateway for.
func (s *Server) tryURL() string {
	if s.cfg.Upstream != "" {
		return s.url(s.listeners[0]) + "/"
	}
	return s.url(s.listeners[0]) + "/v1/ping"
}

// Banner tells the operator where everything is, and what to try first.
func (s *Server) Banner() string {
	gateway, management := s.url(s.listeners[0]), s.url(s.listeners[1])
	behind := "answers GET /v1/ping; --upstream URL puts your API behind it"
	if s.cfg.Upstream != "" {
		behind = "in front of " + s.cfg.Upstream
	}
	token, read := "IPALLOWD_ADMIN_TOKEN", "$IPALLOWD_ADMIN_TOKEN"
	if s.TokenFile != "" {
		token, read = s.TokenFile, "$(cat "+s.TokenFile+")"
		if s.TokenMade {
			token = s.tokenText + " (made just now, kept in " + s.TokenFile + ")"
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "ipallowd is ready\n\n")
	fmt.Fprintf(&b, "  gateway     %s (%s)\n", gateway, behind)
	if len(s.listeners) > 2 {
		fmt.Fprintf(&b, "  ext_authz   %s (gRPC)\n", s.listeners[2].Addr())
	}
	fmt.Fprintf(&b, "  settings    %s/login\n", management)
	fmt.Fprintf(&b, "  token       %s\n", token)
	if s.fleet != nil {
		fmt.Fprintf(&b, "  fleet       %s (%s/nodes)\n", s.fleet.Link, management)
	}
	fmt.Fprintf(&b, "\nTry it: make a key, and use the secret of the answer\n\n")
	fmt.Fprintf(&b, "  curl -sH \"Authorization: Bearer %s\" -H 'Content-Type: application/json' \\\n", read)
	fmt.Fprintf(&b, "    -d '{\"name\":\"first key\",\"scopes\":[\"read\"]}' %s/api/v1/keys\n", management)
	fmt.Fprintf(&b, "  curl -sH 'Authorization: Bearer ipk_...' %s\n\n", s.tryURL())
	return b.String()
}
