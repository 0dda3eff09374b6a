package httpallow

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
)

var (
	// ErrNoKeyFunc says that Options.Key is nil.
	ErrNoKeyFunc = errors.New("httpallow: Options.Key is nil; set it to KeyFromContext or to a function that returns what authentication found")

	// ErrUnauthenticated says that Options.Unauthenticated and
	// Options.PassUnauthenticated are both set.
	ErrUnauthenticated = errors.New("httpallow: Options.Unauthenticated would never be called, as PassUnauthenticated is set; leave one of them out")
)

// Options are the choices for [New]. Key is required; the zero value of every
// other field is its default.
type Options struct {
	// Key returns the identifier of the API key that the request was
	// authenticated with, and false if there is none. The empty identifier
	// counts as none, so that a missing context value is not taken for a key
	// without a list.
	//
	// Danger: it must return what authentication found, never what a header
	// says. An identifier that nobody verified has no list and is served.
	Key func(*http.Request) (key string, ok bool)

	// Source finds the client's address. Default (nil): the TCP peer, and no
	// header is read. Behind a proxy the peer is the proxy.
	Source *clientip.Source

	// Deny answers a request that the allowlist refuses. Default (nil): [Deny].
	// Do not answer with the client's address where the key may have leaked:
	// it tells what to forge.
	Deny func(http.ResponseWriter, *http.Request, Decision)

	// Unauthenticated answers a request without a key. Default (nil):
	// [Unauthorized], status 401. With authentication in front it is never
	// reached, and it keeps a chain built in the wrong order closed.
	Unauthenticated http.Handler

	// Unavailable answers a request with a key while the engine waits for its
	// first load. Default (nil): [Unavailable], status 503.
	Unavailable http.Handler

	// PassUnauthenticated passes a request without a key on to the next
	// handler. Default false. Danger: set it only where public and
	// authenticated requests share a chain and whatever stands behind refuses
	// those without a key itself.
	PassUnauthenticated bool

	// ReportOnly serves what would be refused by the allowlist, for every key,
	// and has the observer told. Requests without a key are not affected, and
	// before the engine's first load nothing is served. Default false.
	ReportOnly bool

	// ReportOnlyKey, when not nil, says for which keys ReportOnly holds, when
	// that is false. It is called only for a request that would be refused.
	// Default (nil): none.
	ReportOnlyKey func(key string) bool

	// Explain fills in Decision.Entry and Index: which entry let the address in.
	// The verdict then comes from [ipallow.Snapshot.Explain], which costs a few
	// hundred nanoseconds more than Check (BenchmarkMiddleware). Default false.
	Explain bool

	// Context makes [FromContext] work where authentication does not use
	// [ContextWithKey]: the request is handed on with a context of its own, which
	// costs it two allocations. It has no effect on Enforce, which returns the
	// decision. Default false.
	Context bool

	// Observe, when not nil, is told of each decision, served or refused,
	// before the request is handed on or answered. It runs on the request's
	// goroutine, so it must not wait, and it must not keep the request. What
	// is only known later, such as the status, belongs to a handler around
	// this one; see docs/http.md for the usage log. Default (nil): nobody.
	Observe func(*http.Request, Decision)
}

// validate returns all faults joined.
func (o *Options) validate(engine *ipallow.Engine) error {
	var faults []error
	if engine == nil {
		faults = append(faults, fmt.Errorf("httpallow: %w", ipallow.ErrNoEngine))
	}
	if o == nil || o.Key == nil {
		faults = append(faults, ErrNoKeyFunc)
	}
	if o != nil && o.PassUnauthenticated && o.Unauthenticated != nil {
		faults = append(faults, ErrUnauthenticated)
	}
	return errors.Join(faults...)
}
