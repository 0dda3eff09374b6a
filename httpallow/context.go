package httpallow

import (
	"context"
	"net/http"
)

type contextKey struct{}

// ContextWithKey returns a context that carries the identifier of the API key
// that a request was authenticated with. Authentication hands it on:
//
//	next.ServeHTTP(w, r.WithContext(httpallow.ContextWithKey(r.Context(), id)))
func ContextWithKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, contextKey{}, key)
}

// KeyFromContext returns the identifier that [ContextWithKey] put into the
// request's context. It is meant for Options.Key.
func KeyFromContext(r *http.Request) (key string, ok bool) {
	key, ok = r.Context().Value(contextKey{}).(string)
	return key, ok
}
