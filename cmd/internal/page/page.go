// Package page is the settings page, Settings > Developer: API keys, their
// allowlists, the usage log and the audit trail, for a person with a browser.
//
// It is rendered on the server from embedded templates, needs no JavaScript
// (one small script adds comfort), and loads nothing from elsewhere. It has no
// rules of its own: what is valid, what would lock somebody out and what is
// stored is for a [manage.Manager] to say.
//
// # Login
//
// The administrator's token opens a session. The token is typed or pasted
// into a form. There is no link that carries it, neither in the query nor
// behind a #: such a link would stay in the browser's history and in the
// process list of the terminal that opened it. A server prints the address of
// the login form and, where it has just made the token, the token beside it.
//
// A session is 256 random bits in a cookie (HttpOnly, SameSite=Strict, Secure
// and __Host- over TLS), of which only the hash is kept, in memory. It ends 2
// hours after its last request, 12 hours after the login, at logout, and with
// the process. Each login makes a new one, so a cookie that somebody planted
// opens nothing.
//
// Requests from other sites that would change something are refused by
// [http.CrossOriginProtection]; nothing is changed by GET.
//
// # Concurrency
//
// A Page may serve any number of requests at once.
package page

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/guesses"
	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

// Options are what a Page needs. Manager, Logs and Authenticate must be there.
type Options struct {
	Manager manage.Manager
	Logs    Logs

	// LogStats counts what the log could not record, for the page to show.
	// Nil: it shows nothing of the kind.
	LogStats func() usagelog.Stats

	// Fleet tells of the nodes. Nil: there is no fleet, and no page of it.
	Fleet func(context.Context) fleet.View

	// Propagation says where the last change of a key is in force, and waits for
	// it as long as it is told. Nil: there is no fleet.
	Propagation func(ctx context.Context, id string, wait time.Duration) fleet.Propagation

	// RemoveNode takes a silent node off the list. Nil: nobody can.
	RemoveNode func(ctx context.Context, name string) error

	// Authenticate reports whether the text is the administrator's token. It
	// must take the same time wherever a wrong one differs.
	Authenticate func(token string) bool

	// Guesses counts wrong tokens, for all that takes the same token. Nil: the
	// page counts by itself.
	Guesses *guesses.Limiter

	// Source finds the caller's address. Default: the TCP peer's.
	Source *clientip.Source

	// Policy is that of the Manager's lists; the page checks drafts with it
	// and names its limits.
	Policy ipallow.Policy

	// TryURL is what a client can ask the gateway for, such as
	// "http://127.0.0.1:8080/v1/ping", for the line to try with curl.
	TryURL string

	// SessionFile is where sessions are kept through a restart; empty: they end
	// with the process. TokenName tells one administrator's token from another
	// without giving it away: with another one, all sessions end.
	SessionFile, TokenName string

	// SecureCookies marks the session's cookie Secure although the page
	// itself is served without TLS, because a proxy in front of it has TLS.
	SecureCookies bool

	Logger *slog.Logger     // default: slog.Default()
	Now    func() time.Time // default: time.Now
}

// A Page is the settings page as an http.Handler. It answers all paths that it
// is given, so mount it behind more specific ones.
type Page struct {
	Options
	sessions *sessions
	assets   *assets
	views    map[string]*view
	handler  http.Handler
}

// New makes a Page.
func New(opts Options) (*Page, error) {
	if opts.Manager == nil || opts.Logs == nil || opts.Authenticate == nil {
		return nil, errors.New("settings page: Manager, Logs and Authenticate must be given")
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Source == nil {
		src, err := clientip.New(nil)
		if err != nil {
			return nil, err
		}
		opts.Source = src
	}
	if opts.Guesses == nil {
		opts.Guesses = guesses.New(opts.Now)
	}
	assets, err := loadAssets()
	if err != nil {
		return nil, err
	}
	p := &Page{
		Options:  opts,
		sessions: newSessions(opts.Now),
		assets:   assets,
	}
	if opts.SessionFile != "" {
		p.sessions.file = &sessionFile{path: opts.SessionFile, token: opts.TokenName, logger: opts.Logger}
		p.sessions.m = p.sessions.file.load(opts.Now())
	}
	if p.views, err = p.parseViews(); err != nil {
		return nil, err
	}
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1400), gzhttp.ContentTypes(compressed))
	if err != nil {
		return nil, err
	}
	p.handler = compress(p.protect(p.routes()))
	return p, nil
}

// compressed are the content types that are sent with gzip to who accepts it.
var compressed = []string{"text/html", "text/css", "text/javascript", "image/svg+xml"}

// ServeHTTP answers a request.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

func (p *Page) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{name}", p.assets.serve)
	mux.HandleFunc("GET /login", p.public(p.loginForm))
	mux.HandleFunc("POST /login", p.public(p.login))

	mux.HandleFunc("POST /logout", p.private(p.logout))
	mux.HandleFunc("GET /{$}", p.private(p.home))
	mux.HandleFunc("GET /keys", p.private(p.keys))
	mux.HandleFunc("GET /keys/new", p.private(p.newKeyForm))
	mux.HandleFunc("POST /keys/new", p.private(p.newKey))
	mux.HandleFunc("POST /keys/bulk", p.private(p.bulk))
	mux.HandleFunc("GET /keys/{id}", p.private(p.keyHome))
	mux.HandleFunc("GET /keys/{id}/secret", p.private(p.secret))
	mux.HandleFunc("GET /keys/{id}/edit", p.private(p.editForm))
	mux.HandleFunc("POST /keys/{id}/edit", p.private(p.edit))
	mux.HandleFunc("GET /keys/{id}/rotate", p.private(p.rotateForm))
	mux.HandleFunc("POST /keys/{id}/rotate", p.private(p.rotate))
	mux.HandleFunc("GET /keys/{id}/revoke", p.private(p.revokeForm))
	mux.HandleFunc("POST /keys/{id}/revoke", p.private(p.revoke))
	mux.HandleFunc("GET /keys/{id}/allowlist", p.private(p.allowlistForm))
	mux.HandleFunc("POST /keys/{id}/allowlist", p.private(p.allowlist))

	mux.HandleFunc("GET /logs", p.private(p.logs))
	mux.HandleFunc("GET /logs.csv", p.private(p.logsCSV))
	mux.HandleFunc("GET /audit", p.private(p.audit))
	if p.Propagation != nil {
		mux.HandleFunc("GET /keys/{id}/in-force", p.private(p.inForce))
	}
	if p.Fleet != nil {
		mux.HandleFunc("GET /nodes", p.private(p.nodes))
		mux.HandleFunc("POST /nodes/remove", p.private(p.removeNode))
	}

	mux.HandleFunc("/", p.private(func(http.ResponseWriter, *http.Request, *session) error {
		return errNoPage
	}))
	return mux
}

// caller is who makes a request of the page.
func (p *Page) caller(r *http.Request) manage.Actor {
	return manage.Actor{Name: "page", Addr: p.callerAddr(r)}
}

// callerAddr is the client address of r, or the zero Addr if there is none.
func (p *Page) callerAddr(r *http.Request) netip.Addr { return p.Source.FromRequest(r).Addr }

// A page is a handler that may fail; fail answers for it then.
type page func(w http.ResponseWriter, r *http.Request, s *session) error

// public wraps a page that needs no session; s is nil if there is none.
func (p *Page) public(h page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := p.sessions.find(p.cookie(r))
		if err := h(w, r, s); err != nil {
			p.fail(w, r, s, err)
		}
	}
}

// private wraps a page that needs a session.
func (p *Page) private(h page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := p.sessions.find(p.cookie(r))
		if s == nil {
			p.askForLogin(w, r)
			return
		}
		if err := h(w, r, s); err != nil {
			p.fail(w, r, s, err)
		}
	}
}

// Faults of requests that the page itself finds.
var (
	errNoPage = errors.New("no such page")
	errForm   = errors.New("the form cannot be read")
)

type errorView struct {
	Heading, Text string
}

// fail answers a request that h could not.
func (p *Page) fail(w http.ResponseWriter, r *http.Request, s *session, err error) {
	status, v := http.StatusInternalServerError, errorView{
		Heading: "That did not work",
		Text:    "The server met a fault of its own, and nothing was changed unless the audit trail says so. Its log says more. Try again in a moment.",
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errNoPage):
		status, v = http.StatusNotFound, errorView{"There is no such page", "The address may be mistyped, or the page has moved."}
	case errors.Is(err, manage.ErrNotFound):
		status, v = http.StatusNotFound, errorView{"There is no such API key", "Its identifier may be mistyped. The list of keys has them all."}
	case errors.Is(err, manage.ErrRevoked):
		status, v = http.StatusConflict, errorView{"The API key is revoked", "A revoked key cannot be changed or used again. Create a new key in its place."}
	case errors.Is(err, manage.ErrRefused):
		status, v = http.StatusConflict, errorView{"This server accepts no changes", "Nothing was changed. " + err.Error()}
	case errors.Is(err, manage.ErrTooManyKeys):
		status, v = http.StatusConflict, errorView{"There are too many API keys", "Revoke some that are no longer used, then create this one."}
	case errors.Is(err, manage.ErrFull):
		status, v = http.StatusInsufficientStorage, errorView{"The disk is full", "Nothing was changed. Delete something from the server's disk, or give it more room, and try again. Keys can be revoked as long as there is a reserve."}
	case errors.Is(err, manage.ErrCursor):
		status, v = http.StatusBadRequest, errorView{"This page of the list is gone", "Begin again with the first page."}
	case errors.As(err, &tooLarge):
		status, v = http.StatusRequestEntityTooLarge, errorView{"That was too much at once", "The form is larger than an allowlist can be. Go back and shorten it."}
	case errors.Is(err, errForm):
		status, v = http.StatusBadRequest, errorView{"The form cannot be read", "It was not sent by this page, or was cut on the way. Open the page again and repeat what you did."}
	case errors.Is(err, logstore.ErrBusy):
		w.Header().Set("Retry-After", "5")
		status, v = http.StatusServiceUnavailable, errorView{"The usage log is busy", "Too many charts, searches and exports are running. Try again in a few seconds."}
	case errors.Is(err, context.Canceled):
		return // nobody reads an answer
	default:
		p.Logger.ErrorContext(r.Context(), "settings page failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	p.render(w, r, s, status, "error", v.Heading, "", v)
}
