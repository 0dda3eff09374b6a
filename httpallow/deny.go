package httpallow

import (
	"io"
	"net/http"
)

// The default answers, for servers that are not net/http. All have the headers
// Content-Type and Cache-Control; the one to a request without a key has
// WWW-Authenticate too, and the one before the engine's first load Retry-After.
const (
	ContentType  = "application/json; charset=utf-8"
	CacheControl = "no-store"

	// The answer of [Deny], for [Refused].
	DeniedStatus = http.StatusForbidden
	DeniedBody   = `{"error":{"code":"IP_NOT_ALLOWED","message":"Request IP address is not in the API key's allowlist"}}`

	// The answer of [Unauthorized], for [NoKey].
	UnauthorizedStatus = http.StatusUnauthorized
	UnauthorizedBody   = `{"error":{"code":"UNAUTHENTICATED","message":"Request has no valid API key"}}`
	WWWAuthenticate    = "Bearer"

	// The answer of [Unavailable], for [NotReady].
	UnavailableStatus = http.StatusServiceUnavailable
	UnavailableBody   = `{"error":{"code":"NOT_READY","message":"The server has not loaded its IP allowlists yet; try again in a moment"}}`
	RetryAfter        = "1" // seconds
)

// Deny answers 403 with Content-Type "application/json; charset=utf-8",
// Cache-Control "no-store" and the body
//
//	{"error":{"code":"IP_NOT_ALLOWED","message":"Request IP address is not in the API key's allowlist"}}
//
// It is the default of Options.Deny, and may be called by another handler.
func Deny(w http.ResponseWriter, _ *http.Request, _ Decision) {
	answer(w, DeniedStatus, DeniedBody)
}

// Unauthorized answers 401 with the headers of [Deny], WWW-Authenticate "Bearer"
// (RFC 9110, section 15.5.2 demands a challenge) and the body
//
//	{"error":{"code":"UNAUTHENTICATED","message":"Request has no valid API key"}}
//
// It is the default of Options.Unauthenticated.
func Unauthorized(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("WWW-Authenticate", WWWAuthenticate)
	answer(w, UnauthorizedStatus, UnauthorizedBody)
}

// Unavailable answers 503 with the headers of [Deny], Retry-After "1" (seconds;
// RFC 9110, section 10.2.3) and the body
//
//	{"error":{"code":"NOT_READY","message":"The server has not loaded its IP allowlists yet; try again in a moment"}}
//
// It is the default of Options.Unavailable.
func Unavailable(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", RetryAfter)
	answer(w, UnavailableStatus, UnavailableBody)
}

func answer(w http.ResponseWriter, status int, body string) {
	h := w.Header()
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", CacheControl)
	h.Del("Content-Length") // of another body, if a handler in front set it
	w.WriteHeader(status)
	// An error means that the client is gone. The server itself leaves out the
	// body of a response to HEAD.
	_, _ = io.WriteString(w, body)
}
