package gateway

import (
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/usagelog"
)

// A Gateway is the handler that stands in front of an API. New makes one; the
// zero Gateway is not usable. Its methods may be called from any number of
// goroutines.
type Gateway struct {
	// None of the fields is written after New, but the last two.
	ring        *keyring.Ring
	engine      *ipallow.Engine
	loaded      func() bool // nil: from the beginning
	usable      func() bool // nil: always
	source      *clientip.Source
	log         *usagelog.Writer
	flood       *flood
	proxy       *proxy // nil: the built-in ping
	reportOnly  bool
	noAllowlist bool
	logger      *slog.Logger
	observe     func(Event)

	lostAt  atomic.Int64 // Unix seconds of the last warning about a lost record
	serving atomic.Int64 // requests that have no record yet
}

// New returns a Gateway. The error joins every fault of the options.
func New(opts Options) (*Gateway, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	g := &Gateway{
		ring:        opts.Ring,
		engine:      opts.Engine,
		loaded:      opts.Loaded,
		usable:      opts.Usable,
		source:      opts.Source,
		log:         opts.Log,
		reportOnly:  opts.ReportOnly,
		noAllowlist: opts.NoAllowlist,
		logger:      opts.Logger,
		observe:     opts.Observe,
	}
	if g.logger == nil {
		g.logger = slog.Default()
	}
	g.flood = newFlood(g.keep)
	if opts.Upstream != nil {
		g.proxy = newProxy(&opts, g.logger)
	}
	return g, nil
}

// Source returns the source of client addresses that the options gave.
func (g *Gateway) Source() *clientip.Source { return g.source }

// finishWithin is how long Close waits for requests that were told to end.
const finishWithin = 3 * time.Second

// Close waits until the requests whose contexts have ended have their records, hands
// what is summed up to the log, and closes the idle connections to the upstream. It is
// called after the server was shut down, which does not wait for connections that have
// changed their protocol, nor for the requests that it cuts off.
func (g *Gateway) Close() {
	for end := time.Now().Add(finishWithin); g.serving.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			g.logger.Error("requests do not end: they have no usage records", "requests", g.serving.Load())
			break
		}
	}
	g.flood.flush()
	if g.proxy != nil {
		g.proxy.transport.CloseIdleConnections()
	}
}

// ServeHTTP answers a request and records it.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.serving.Add(1)
	defer g.serving.Add(-1)
	x := &exchange{
		ResponseWriter: w,
		gate:           g,
		record: usagelog.Record{
			Time:      time.Now(),
			RequestID: NewRequestID(),
			Method:    r.Method,
			Path:      LogPath(r.URL),
		},
	}
	x.id[0] = x.record.RequestID
	w.Header()["X-Request-Id"] = x.id[:]
	if r.ContentLength != 0 {
		x.body = &clientBody{ReadCloser: r.Body, expects: r.Header["Expect"] != nil}
		if x.ordered = r.ProtoMajor == 1; x.ordered {
			defer x.body.leave(x)
		}
	}
	defer x.finish() // also when what follows panics
	g.serve(x, r)
	x.returned = true
}

func (g *Gateway) serve(x *exchange, r *http.Request) {
	client := g.source.FromRequest(r)
	x.record.ClientAddr = client.Addr
	if a := malformed(r); a != nil {
		if a == badMethod {
			x.record.Method = unknown
		}
		a.write(x)
		return
	}
	if isReserved(r.URL.Path) {
		g.serveReserved(x, r, client)
		return
	}
	d := g.Admit(Call{Header: httpHeader(r.Header), Method: r.Method, Client: client, Time: x.record.Time})
	x.note(&d)
	switch {
	case d.Refusal != nil:
		d.Refusal.write(x)
	case r.URL.Scheme != "" || r.URL.Host != "" || !strings.HasPrefix(r.URL.Path, "/"):
		badTarget.write(x)
	case g.proxy == nil:
		g.ping(x, r)
	default:
		g.proxy.serve(x, r)
	}
}

// malformed returns the answer to a request that net/http refuses over HTTP/1.1 and
// takes over HTTP/2, where method, host and path are fields of their own: what they
// say must still fit a request line (RFC 9113, section 8.3.1). No client that does
// this means well, so it is not asked for a key.
func malformed(r *http.Request) *Answer {
	switch {
	case !httpguts.ValidHeaderFieldName(r.Method): // a token, RFC 9110, section 9.1
		return badMethod
	case !httpguts.ValidHostHeader(r.Host):
		return badHost
	case strings.Contains(r.URL.RawQuery, " "):
		return badTarget
	}
	return nil
}

// reserved is the part of the path space that the gateway keeps for itself. It
// is compared with the decoded path, and never passed on to an upstream.
const reserved = "/_ipallow"

func isReserved(path string) bool {
	return strings.HasPrefix(path, reserved) && (len(path) == len(reserved) || path[len(reserved)] == '/')
}

// serveReserved answers without authentication: of all that could be asked for
// here, only a trusted proxy sees anything but 404.
func (g *Gateway) serveReserved(x *exchange, r *http.Request, client clientip.Result) {
	// Encoded in any way it is not the proxy's own question: a proxy that keeps
	// clients away from the path may not have recognised it.
	if r.URL.Path == AuthzPath && r.URL.RawPath == "" && g.trustsPeer(r) {
		g.authz(x, r, client)
		return
	}
	notFound.write(x)
}

// trustsPeer reports whether the request came from a trusted proxy. A Source
// looks for its header exactly then, and here there is none to find.
func (g *Gateway) trustsPeer(r *http.Request) bool {
	remoteAddr := r.RemoteAddr
	if _, ok := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); ok {
		remoteAddr = ""
	}
	return g.source.FromValues(remoteAddr, nil).Reason == clientip.HeaderMissing
}

// LogPath returns the path as it is recorded, without the query. It is decoded
// where it was encoded in the usual way, and otherwise as it was sent, so that an
// encoded slash can be told from a slash. The secret of a token that stands in it
// by mistake is left out.
func LogPath(u *url.URL) string {
	switch {
	case strings.Contains(u.Path, keyring.Prefix):
		return blotTokens(u.Path)
	case u.RawPath != "":
		return u.RawPath
	}
	return u.Path
}

// blotTokens replaces what stands where the secret of a token would, and all that
// could belong to it.
func blotTokens(s string) string {
	const public = len(keyring.Prefix) + keyring.IDLen
	var b strings.Builder
	for {
		i := strings.Index(s, keyring.Prefix)
		if i < 0 || len(s) <= i+public {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i+public])
		b.WriteString("...")
		s = strings.TrimLeft(s[i+public:], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
	}
}
