package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// A proxy passes requests on to the upstream.
type proxy struct {
	reverse      *httputil.ReverseProxy
	transport    *http.Transport
	target       *url.URL
	preserveHost bool
	logger       *slog.Logger
}

func newProxy(opts *Options, logger *slog.Logger) *proxy {
	wait := opts.UpstreamTimeout
	if wait == 0 {
		wait = time.Minute
	}
	target := *opts.Upstream
	p := &proxy{
		target:       &target,
		preserveHost: opts.PreserveHost,
		logger:       logger,
		transport: &http.Transport{
			// No Proxy: the environment's is for clients, not for this.
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  wait,
			ExpectContinueTimeout:  time.Second,
			IdleConnTimeout:        90 * time.Second,
			MaxConnsPerHost:        opts.MaxUpstreamConns,
			MaxIdleConns:           1024,
			MaxIdleConnsPerHost:    256,
			MaxResponseHeaderBytes: 256 << 10,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // what the client did not ask for stays as it is
		},
	}
	if opts.UpstreamCAs != nil {
		p.transport.TLSClientConfig = &tls.Config{RootCAs: opts.UpstreamCAs, MinVersion: tls.VersionTLS12}
	}
	if target.Scheme == "h2c" {
		target.Scheme = "http"
		p.transport.Protocols = new(http.Protocols)
		p.transport.Protocols.SetUnencryptedHTTP2(true)
	}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      p.transport,
		ModifyResponse: p.modifyResponse,
		ErrorHandler:   p.fail,
		FlushInterval:  flushAfter,
		BufferPool:     new(buffers),
		ErrorLog:       slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return p
}

// flushAfter is how long a part of an answer may wait for the next one. Answers that
// come at once are written at once, with their header.
const flushAfter = 5 * time.Millisecond

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange { return r.Context().Value(exchangeKey{}).(*exchange) }

func (p *proxy) serve(x *exchange, r *http.Request) {
	if hasDots(r.URL.Path) {
		badPath.write(x)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	if x.body != nil {
		r.Body = x.body
		// net/http would take the beginning of a body that the upstream reads while it
		// answers. A ResponseWriter without full duplex, in tests, does not read it.
		_ = http.NewResponseController(x.ResponseWriter).EnableFullDuplex()
	}
	defer func() {
		if x.upstream == UpstreamBrokenAnswer {
			x.Flush() // what there is of the answer, with the header that is recorded
		}
	}()
	p.reverse.ServeHTTP(x, r)
}

// rewrite makes the request to the upstream. ReverseProxy has removed the
// hop-by-hop headers before, so a client cannot have these removed by naming
// them in Connection.
func (p *proxy) rewrite(pr *httputil.ProxyRequest) {
	x, in, out := exchangeOf(pr.In), pr.In, pr.Out
	pr.SetURL(p.target)
	out.URL.RawQuery = in.URL.RawQuery // as it came; nothing here depends on it
	if p.preserveHost {
		out.Host = in.Host
	}
	var f forwarded
	if x.gate.trustsPeer(in) {
		var chain []string
		if x.gate.source.Header() == forwardedFor {
			chain = in.Header[forwardedFor]
		}
		f = forwardedBy(in.Header, chain, x.record.ClientAddr)
	}
	f.host = cmp.Or(f.host, in.Host)
	if f.proto == "" {
		f.proto = "http"
		if in.TLS != nil {
			f.proto = "https"
		}
	}

	strip(out.Header)
	out.Trailer = nil // some servers merge trailers into the header
	h := out.Header
	h["X-Forwarded-Host"] = []string{f.host}
	h["X-Forwarded-Proto"] = []string{f.proto}
	if f.port != "" {
		h["X-Forwarded-Port"] = []string{f.port}
	}
	if f.prefix != "" {
		h["X-Forwarded-Prefix"] = []string{f.prefix}
	}
	h["X-Request-Id"] = x.id[:]
	h["X-Ipallow-Key-Id"] = []string{x.record.KeyID}
	if addr := x.record.ClientAddr; addr.IsValid() {
		text := []string{addr.String()}
		h["X-Ipallow-Client"], h["X-Forwarded-For"], h["X-Real-Ip"] = text, text, text
	}
	// Any other protocol, h2c above all, would be a tunnel past the gateway for
	// further requests.
	if up := h.Get("Upgrade"); up != "" && !strings.EqualFold(up, "websocket") {
		delete(h, "Upgrade")
		delete(h, "Connection")
	}
}

// modifyResponse puts the gateway's name for the request in the place of the
// upstream's, and watches the body. An error is an answer that cannot be passed on.
func (p *proxy) modifyResponse(res *http.Response) error {
	if res.StatusCode < 100 {
		return fmt.Errorf("malformed HTTP status %q", res.Status)
	}
	x := exchangeOf(res.Request)
	delete(x.Header(), "X-Request-Id")
	if res.Header.Get("Strict-Transport-Security") != "" {
		x.Header().Del("Strict-Transport-Security") // the API knows better for how long
	}
	res.Header["X-Request-Id"] = x.id[:]
	if res.StatusCode != http.StatusSwitchingProtocols {
		res.Body = &upstreamBody{ReadCloser: res.Body, proxy: p, request: res.Request}
	}
	return nil
}

// An upstreamBody tells the operator of an answer that breaks off. Its reader ends the
// client's connection then.
type upstreamBody struct {
	io.ReadCloser
	proxy   *proxy
	request *http.Request
}

func (b *upstreamBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	x := exchangeOf(b.request)
	// Where the client left, or broke its body off, the upstream is not to blame.
	if err != nil && !errors.Is(err, io.EOF) && b.request.Context().Err() == nil && !x.body.failed() {
		b.proxy.warn(x, UpstreamBrokenAnswer, "the upstream's answer broke off", err)
	}
	return n, err
}

// warn notes a failure of the upstream, for the log and the metrics.
func (p *proxy) warn(x *exchange, failure UpstreamFailure, what string, err error) {
	if x.upstream != UpstreamOK {
		return
	}
	x.upstream = failure
	p.logger.LogAttrs(context.Background(), slog.LevelWarn, what, slog.String("request", x.record.RequestID),
		slog.String("cause", failure.String()), slog.String("error", err.Error()))
}

// fail answers when there is no response from the upstream.
func (p *proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r)
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client is gone, and its record has no status
	}
	answer, failure := failed, UpstreamInvalidAnswer
	var timeout net.Error
	var op *net.OpError
	switch {
	case x.body.failed():
		answer, failure = badBody, UpstreamOK
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		answer, failure = timedOut, UpstreamTimeout
	case errors.As(err, &op) && op.Op == "dial", isCertificate(err):
		failure = UpstreamUnreachable
	}
	if failure != UpstreamOK {
		p.warn(x, failure, "no answer from the upstream", err)
	}
	x.Header()["X-Request-Id"] = x.id[:]
	answer.write(x)
}

// isCertificate reports whether the upstream's certificate was not accepted.
func isCertificate(err error) bool {
	var verification *tls.CertificateVerificationError
	return errors.As(err, &verification)
}

// buffers are for copying responses.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
