package gateway

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/httpallow"
)

// An Answer is what the gateway itself answers with. It is immutable.
type Answer struct {
	Status int
	Code   string
	Header map[string]string // beside that of the request's ID
	Body   string
}

const (
	contentType  = "application/json; charset=utf-8"
	cacheControl = "no-store"
)

// The answers. The challenges are those of RFC 6750, section 3: a request without
// credentials is told no more than the scheme.
var (
	missingKey = newAnswer(http.StatusUnauthorized, "UNAUTHENTICATED",
		"Request has no API key; send it as Authorization: Bearer KEY or X-API-Key: KEY", "WWW-Authenticate", `Bearer`)
	ambiguousKey = newAnswer(http.StatusUnauthorized, "UNAUTHENTICATED",
		"Request has more than one API key; send one", "WWW-Authenticate", `Bearer error="invalid_request"`)
	invalidKey = newAnswer(http.StatusUnauthorized, "UNAUTHENTICATED",
		"Request has no valid API key", "WWW-Authenticate", `Bearer error="invalid_token"`)

	needsRead    = scopeAnswer("read")
	needsWrite   = scopeAnswer("write")
	notAllowed   = denied()
	badMethod    = newAnswer(http.StatusBadRequest, "BAD_REQUEST", "Request method must be a token", "", "")
	badHost      = newAnswer(http.StatusBadRequest, "BAD_REQUEST", "Request host must be a host name or address, and a port at most", "", "")
	badTarget    = newAnswer(http.StatusBadRequest, "BAD_REQUEST", "Request target must be a path", "", "")
	badPath      = newAnswer(http.StatusBadRequest, "BAD_REQUEST", "Request path must not contain . or .. segments", "", "")
	badBody      = newAnswer(http.StatusBadRequest, "BAD_REQUEST", "Request body could not be read", "", "")
	notLoaded    = newAnswer(http.StatusServiceUnavailable, "NOT_READY", "The gateway does not know the API keys yet; try again in a moment", "Retry-After", "1")
	tooOld       = newAnswer(http.StatusServiceUnavailable, "NOT_READY", "The gateway has not heard of changes to API keys for too long; try again in a moment", "Retry-After", "5")
	notFound     = newAnswer(http.StatusNotFound, "NOT_FOUND", "There is nothing at this path", "", "")
	failed       = newAnswer(http.StatusBadGateway, "UPSTREAM_FAILED", "The API behind the gateway could not be reached", "", "")
	timedOut     = newAnswer(http.StatusGatewayTimeout, "UPSTREAM_TIMEOUT", "The API behind the gateway did not answer in time", "", "")
	readOnlyPath = newAnswer(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "This path answers GET and HEAD", "Allow", "GET, HEAD")

	methodNotAllowed = newAnswer(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED",
		"The gateway does not pass this method on", "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
)

// newAnswer returns an Answer with one header of its own, or none.
func newAnswer(status int, code, message, name, value string) *Answer {
	a := &Answer{
		Status: status,
		Code:   code,
		Header: map[string]string{"Content-Type": contentType, "Cache-Control": cacheControl},
		Body:   `{"error":{"code":"` + code + `","message":"` + message + `"}}`,
	}
	if name != "" {
		a.Header[http.CanonicalHeaderKey(name)] = value
	}
	return a
}

func scopeAnswer(scope string) *Answer {
	return newAnswer(http.StatusForbidden, "INSUFFICIENT_SCOPE", "API key does not have the scope "+scope+" that this request needs",
		"WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+scope+`"`)
}

// insufficientScope returns the answer to a key that may not use the method, or
// may use it but not override it, for which it lacks the other scope.
func insufficientScope(k *keyring.Key, method string) *Answer {
	if keyring.Read.Permits(method) != k.Scopes.Permits(method) {
		return needsRead
	}
	return needsWrite
}

// denied keeps what package httpallow answers, for the front ends that have no
// http.ResponseWriter.
func denied() *Answer {
	rec := recorder{header: http.Header{}}
	httpallow.Deny(&rec, nil, httpallow.Decision{})
	a := &Answer{Status: rec.status, Code: "IP_NOT_ALLOWED", Header: map[string]string{}, Body: rec.String()}
	for name := range rec.header {
		a.Header[name] = rec.header.Get(name)
	}
	return a
}

type recorder struct {
	bytes.Buffer
	header http.Header
	status int
}

func (r *recorder) Header() http.Header    { return r.header }
func (r *recorder) WriteHeader(status int) { r.status = status }

// write sends the answer. An error means that the client is gone.
func (a *Answer) write(x *exchange) {
	h := x.Header()
	for name, value := range a.Header {
		h[name] = []string{value}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	x.WriteHeader(a.Status)
	_, _ = x.WriteString(a.Body)
}
