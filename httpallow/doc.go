// Package httpallow refuses HTTP requests made with an API key from an address
// that is not on the key's allowlist. It is middleware for net/http, and so for
// every router that takes a func(http.Handler) http.Handler.
//
//	allow, err := httpallow.New(engine, &httpallow.Options{Key: httpallow.KeyFromContext})
//	if err != nil {
//		return err
//	}
//	handler := authenticate(requireScope(allow.Handler(api)))
//
// where authenticate answers 401 for a key that it does not know, and passes the
// identifier of one that it knows with [ContextWithKey].
//
// # Order
//
// Authentication comes first and answers 401 for a key that is unknown or
// revoked. Scope comes second, with a 403 of its own code. The allowlist is
// third, and stands before everything that a request changes: rate limits,
// quotas, "last used" marks. A leaked key can then burn nothing of its owner's
// from elsewhere, and an invalid key never sees the allowlist's 403, which would
// tell that the key exists.
//
// A request without a key is refused with 401; see [Options.Unauthenticated] and
// [Options.PassUnauthenticated]. CORS preflights carry no key, so a CORS handler
// stands outside of authentication.
//
// # Rules
//
//   - A key without a list is served from everywhere, also where the client has
//     no address.
//   - A key with a list is served to the addresses on it. Where
//     [clientip.Source] finds no address the request is refused.
//   - A refused request is answered by [Deny] (status 403), or by Options.Deny.
//     Nothing behind the middleware runs.
//   - While the engine waits for its first load
//     ([ipallow.Options.DenyUntilLoaded]) every request with a key is answered by
//     [Unavailable] (status 503, Retry-After, code NOT_READY), or by
//     Options.Unavailable; also in report-only mode, and for keys without a list.
//   - In report-only mode a request that would be refused is served, and the
//     observer is told.
//
// The verdict is given once, when the request's header has been read. A response
// that is still being written when the list changes, such as an event stream or
// a WebSocket, goes on.
//
// # The decision
//
// Handlers after the middleware, a log, a trace span and a metric have the
// decision by [FromContext]: outcome, verdict, revision and, with
// Options.Explain, the entry that let the address in, all from one snapshot.
// Servers that are not net/http find the default answers in constants such as
// [DeniedBody].
//
// # Concurrency
//
// A Middleware is immutable. All methods may be called from any number of
// goroutines, also while the engine's lists change. The functions in [Options]
// are called from the goroutine of each request, many at a time.
//
// # Cost
//
// A served request costs the engine's Check, the client address and the call of
// Options.Key, a few hundred nanoseconds at most and no allocation; Options.Explain
// and Options.Context say what they add. The
// ResponseWriter is handed on as it came, so that http.Flusher, http.Hijacker,
// io.ReaderFrom and http.ResponseController work as without the middleware.
package httpallow
