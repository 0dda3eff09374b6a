// Package auth stands for a server's own authentication and scope in the
// examples. It shows what the allowlist needs from them: the key's identifier in
// the request's context, and that both come first.
package auth

import (
	"net/http"

	"github.com/ipallow/ipallow/httpallow"
)

// ids are the keys' identifiers by the Authorization header. A real server keeps
// hashes of the secrets.
var ids = map[string]string{
	"Bearer secret-1": "key_1",
	"Bearer secret-2": "key_2",
}

// Identify returns the identifier of the key that the Authorization header
// names, and false for a key that is unknown or revoked.
func Identify(authorization string) (id string, ok bool) {
	id, ok = ids[authorization]
	return id, ok
}

// Authenticate answers 401 for an unknown key, and hands the identifier of a
// known one on.
func Authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := Identify(r.Header.Get("Authorization"))
		if !ok {
			httpallow.Unauthorized(w, r)
			return
		}
		next.ServeHTTP(w, r.WithContext(httpallow.ContextWithKey(r.Context(), id)))
	})
}

// MayUse reports whether the keys of the examples have the scope for a method:
// they may read.
func MayUse(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// RequireScope answers 403, with a code of its own, what the key may not do.
func RequireScope(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !MayUse(r.Method) {
			WriteScopeMissing(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// WriteScopeMissing answers that the key lacks a scope.
func WriteScopeMissing(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write([]byte(`{"error":{"code":"SCOPE_MISSING","message":"The API key may only read"}}`))
}
