package gateway

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/usagelog"
)

// Options are the choices for [New]. Ring and Engine are required; the zero
// value of every other field is its default.
type Options struct {
	Ring   *keyring.Ring
	Engine *ipallow.Engine

	// Loaded reports whether Ring and Engine have what they are to have. Until
	// then, and while Engine waits for its first load, every request is
	// answered with 503. Default (nil): only Engine is asked.
	Loaded func() bool

	// Usable reports whether what Ring and Engine have is recent enough to be
	// acted on. While it is not, every request with a key, valid or not, is answered
	// with 503. Default (nil): it is for ever.
	Usable func() bool

	// Source finds the client's address, and says which peers are trusted
	// proxies. Default (nil): the TCP peer, and nobody is trusted.
	Source *clientip.Source

	// Log records each request. Default (nil): nothing is recorded, which is
	// meant for measuring.
	Log *usagelog.Writer

	// Upstream is the API behind the gateway, http, https, or h2c for HTTP/2
	// without TLS, with a path at most. Default (nil): the built-in GET
	// /v1/ping and nothing else.
	Upstream *url.URL

	// UpstreamCAs sign the certificate of an upstream by https. Default (nil):
	// those that the system trusts.
	UpstreamCAs *x509.CertPool

	// MaxUpstreamConns bounds the connections to the upstream; requests beyond it wait.
	// Default (0): as many as there are requests.
	MaxUpstreamConns int

	// PreserveHost passes the client's Host on to the upstream. Default false:
	// the upstream sees its own, and the client's in X-Forwarded-Host.
	PreserveHost bool

	// UpstreamTimeout bounds the wait for the upstream's header, after which
	// the answer is 504. The body may take as long as it likes. Default 60 s.
	UpstreamTimeout time.Duration

	// ReportOnly serves what an allowlist refuses, for every key. Default
	// false: keyring.Key.ReportOnly says for which.
	ReportOnly bool

	// NoAllowlist asks no allowlist at all. Danger: it serves everything. It is
	// meant for measuring what enforcement costs.
	NoAllowlist bool

	// Logger is told of upstreams that fail and of records that are lost, and
	// at the level Debug of each request. It is never given a secret. Default
	// (nil): slog.Default.
	Logger *slog.Logger

	// Observe, when not nil, is told of each request when it has been answered.
	// It must not wait.
	Observe func(Event)
}

// An Event is what metrics are made of.
type Event struct {
	Front         Front
	Authenticated bool // a key was recognised and measured; otherwise Verdict says nothing
	Verdict       ipallow.Verdict
	Status        int // 0: none was sent
	Duration      time.Duration
	Upstream      UpstreamFailure
}

// An UpstreamFailure is what went wrong at the upstream.
type UpstreamFailure uint8

// The failures.
const (
	UpstreamOK            UpstreamFailure = iota // or it was not asked
	UpstreamUnreachable                          // no connection
	UpstreamTimeout                              // no header in time
	UpstreamInvalidAnswer                        // none, or no HTTP
	UpstreamBrokenAnswer                         // it ended before its end
	UpstreamFailures      = iota                 // how many there are, with UpstreamOK
)

// String returns the failure's name in metrics.
func (f UpstreamFailure) String() string {
	return [...]string{"none", "unreachable", "timeout", "invalid_answer", "broken_answer"}[f]
}

// A Front is the way a request came.
type Front uint8

// The front ends.
const (
	Direct      Front = iota // answered or proxied by the gateway
	ForwardAuth              // a question at AuthzPath
	ExtAuthz                 // Envoy's, over gRPC
)

// validate returns every fault, joined.
func (o *Options) validate() error {
	var faults []error
	if o.Ring == nil {
		faults = append(faults, errors.New("gateway: Options.Ring is nil; give it the ring of keys"))
	}
	if o.Engine == nil {
		faults = append(faults, fmt.Errorf("gateway: Options.Engine: %w", ipallow.ErrNoEngine))
	}
	if o.UpstreamTimeout < 0 {
		faults = append(faults, fmt.Errorf("gateway: Options.UpstreamTimeout is %v: want a positive duration, or 0 for a minute", o.UpstreamTimeout))
	}
	if u := o.Upstream; u != nil && (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "h2c" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "") {
		faults = append(faults, fmt.Errorf("gateway: Options.Upstream is %q: want http://HOST:PORT, https://HOST:PORT or h2c://HOST:PORT, with a path at most", u.Redacted()))
	}
	return errors.Join(faults...)
}
