package httpallow

import (
	"net/http"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
)

// A Middleware lets requests through by the lists of an engine. It is made by
// [New].
//
// A Middleware is immutable: its methods may be called from any number of
// goroutines, also while the engine's lists change. The nil Middleware and the
// zero one take every request for one without a key and refuse it with 401.
type Middleware struct {
	// None of the fields is written after New.
	engine  *ipallow.Engine
	key     func(*http.Request) (string, bool)
	source  *clientip.Source
	deny    func(http.ResponseWriter, *http.Request, Decision)
	noKey   http.Handler
	unready http.Handler
	pass    bool
	report  bool
	explain bool
	context bool
	reports func(key string) bool
	observe func(*http.Request, Decision)
}

// New returns a Middleware that asks engine. The options are copied. The error
// joins every fault: one that wraps [ipallow.ErrNoEngine], [ErrNoKeyFunc],
// [ErrUnauthenticated].
func New(engine *ipallow.Engine, opts *Options) (*Middleware, error) {
	if err := opts.validate(engine); err != nil {
		return nil, err
	}
	return &Middleware{
		engine:  engine,
		key:     opts.Key,
		source:  opts.Source,
		deny:    opts.Deny,
		noKey:   opts.Unauthenticated,
		unready: opts.Unavailable,
		pass:    opts.PassUnauthenticated,
		report:  opts.ReportOnly,
		explain: opts.Explain,
		context: opts.Context,
		reports: opts.ReportOnlyKey,
		observe: opts.Observe,
	}, nil
}

// Check returns the decision on r. It answers nothing, changes nothing and does
// not tell the observer.
func (m *Middleware) Check(r *http.Request) Decision {
	var d Decision
	m.decide(r, &d)
	return d
}

// decide fills in d, which is zero. A pointer, as copying a Decision from call to
// call is a good part of what a served request costs.
func (m *Middleware) decide(r *http.Request, d *Decision) {
	if m == nil || m.key == nil {
		d.Outcome = NoKey
		return
	}
	d.Client = m.source.FromRequest(r)
	key, ok := m.key(r)
	if !ok || key == "" {
		d.Outcome = NoKey
		if m.pass {
			d.Outcome = Passed
		}
		return
	}
	d.Key = key
	snapshot := m.engine.Snapshot()
	d.Revision = snapshot.Revision()
	if m.explain {
		x := snapshot.Explain(key, d.Client.Addr)
		d.Verdict, d.Entry, d.Index = x.Verdict, x.Entry, x.Index
	} else {
		d.Verdict = snapshot.Check(key, d.Client.Addr)
	}
	switch {
	case d.Verdict.OK():
		d.Outcome = Served
	case !snapshot.Loaded():
		d.Outcome = NotReady
	case m.report || m.reports != nil && m.reports(key):
		d.Outcome = Reported
	}
}

// Enforce decides on r, tells the observer, and answers r if it is refused. It
// returns the decision; if that is not [Decision.OK], the response is written
// and nothing else may be done with w. It is Handler for frameworks whose
// middleware is not a func(http.Handler) http.Handler:
//
//	if !allow.Enforce(c.Writer, c.Request).OK() {
//		c.Abort()
//	}
func (m *Middleware) Enforce(w http.ResponseWriter, r *http.Request) Decision {
	var d Decision
	m.decide(r, &d)
	if c := carrierOf(r.Context()); c != nil {
		c.set(&d)
	}
	m.enforce(w, r, &d)
	return d
}

// enforce tells the observer of the decision and answers what is refused.
func (m *Middleware) enforce(w http.ResponseWriter, r *http.Request, d *Decision) {
	if m != nil && m.observe != nil {
		m.observe(r, *d)
	}
	if !d.Outcome.OK() {
		m.refuse(w, r, *d)
	}
}

func (m *Middleware) refuse(w http.ResponseWriter, r *http.Request, d Decision) {
	switch {
	case d.Outcome == NoKey && m != nil && m.noKey != nil:
		m.noKey.ServeHTTP(w, r)
	case d.Outcome == NoKey:
		Unauthorized(w, r)
	case d.Outcome == NotReady && m.unready != nil:
		m.unready.ServeHTTP(w, r)
	case d.Outcome == NotReady:
		Unavailable(w, r)
	case m.deny != nil:
		m.deny(w, r, d)
	default:
		Deny(w, r, d)
	}
}

// Handler returns a handler that passes on to next what may be served. It
// panics if next is nil.
func (m *Middleware) Handler(next http.Handler) http.Handler {
	if next == nil {
		panic("httpallow: the next handler is nil; give Handler the handler to protect")
	}
	return &handler{m: m, next: next}
}

type handler struct {
	m    *Middleware
	next http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var d Decision
	h.m.decide(r, &d)
	if c := carrierOf(r.Context()); c != nil {
		c.set(&d)
	} else if h.m != nil && h.m.context {
		c = &carrier{Context: r.Context(), key: d.Key}
		c.set(&d)
		r = r.WithContext(c)
	}
	h.m.enforce(w, r, &d)
	if d.Outcome.OK() {
		h.next.ServeHTTP(w, r)
	}
}
