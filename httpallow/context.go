package httpallow

import (
	"context"
	"net/http"
	"sync"
)

type contextKey struct{}

// A carrier is a context with the key of a request and, once the allowlist has
// decided on it, the decision. Both are in one allocation, which authentication
// makes anyway, so that handing the decision on costs a served request none.
type carrier struct {
	context.Context
	key string

	mu       sync.Mutex // a handler around the chain may look while another one runs
	decided  bool
	decision Decision
}

// Value returns the carrier itself, or what the context within has.
func (c *carrier) Value(name any) any {
	if _, ok := name.(contextKey); ok {
		return c
	}
	return c.Context.Value(name)
}

// carrierOf returns the carrier of a request's context, or nil.
func carrierOf(ctx context.Context) *carrier {
	if c, ok := ctx.(*carrier); ok {
		return c // authentication is just before the allowlist, as a rule
	}
	c, _ := ctx.Value(contextKey{}).(*carrier)
	return c
}

func (c *carrier) set(d *Decision) {
	c.mu.Lock()
	c.decided, c.decision = true, *d
	c.mu.Unlock()
}

// ContextWithKey returns a context that carries the identifier of the API key
// that a request was authenticated with. Authentication hands it on:
//
//	next.ServeHTTP(w, r.WithContext(httpallow.ContextWithKey(r.Context(), id)))
//
// The middleware puts its decision there too; see [FromContext]. Each request
// needs a context of its own.
func ContextWithKey(ctx context.Context, key string) context.Context {
	return &carrier{Context: ctx, key: key}
}

// KeyFromContext returns the identifier that [ContextWithKey] put into the
// request's context. It is meant for Options.Key.
func KeyFromContext(r *http.Request) (key string, ok bool) {
	c := carrierOf(r.Context())
	if c == nil {
		return "", false
	}
	return c.key, true
}

// FromContext returns the decision on the request that ctx belongs to, for the
// handlers after the middleware, for a log, a trace span and a metric. It is the
// one by which the request was served or refused, and the engine is not asked
// again. It is there from Options.Observe on; handlers around the middleware see
// it too, if authentication is around them. ok is false before, and where the
// context was not made by [ContextWithKey], unless Options.Context is set.
//
// FromContext may be called from any number of goroutines. It allocates nothing.
func FromContext(ctx context.Context) (d Decision, ok bool) {
	c := carrierOf(ctx)
	if c == nil {
		return Decision{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.decision, c.decided
}
