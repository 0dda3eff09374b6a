package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// An endpoint answers a request, or returns an error that says why not and has
// written nothing.
type endpoint func(w http.ResponseWriter, r *http.Request) error

// methods are the endpoints of one path.
type methods map[string]endpoint

// ServeHTTP answers one request. Until the token has been found good, nothing
// of the request is looked at but its headers and its address: a caller
// without one does not even learn which paths exist.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeader(w.Header())
	switch err := h.guard.admit(r, h.source.FromRequest(r).Addr); {
	case err != nil:
		h.fail(w, r, err)
	case r.URL.Path != path.Clean(r.URL.Path):
		// The mux would answer "//" and ".." with a redirect, in HTML.
		h.fail(w, r, errNoRoute)
	default:
		h.mux.ServeHTTP(w, r)
	}
}

// setHeader sets what every answer has in its header.
func setHeader(head http.Header) {
	head.Set("X-Request-Id", newRequestID())
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
}

// WrongHost answers a request for a host that is not this server's. Whoever knows the
// server's names calls it in place of the API's handler.
func WrongHost(w http.ResponseWriter, message string) {
	setHeader(w.Header())
	e := &apiError{Code: "WRONG_HOST", Message: message, RequestID: w.Header().Get("X-Request-Id")}
	writeJSON(w, http.StatusMisdirectedRequest, map[string]*apiError{"error": e})
}

// serve makes a handler of an endpoint.
func (h *handler) serve(do endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := do(w, r); err != nil {
			h.fail(w, r, err)
		}
	})
}

// timed bounds the time that the endpoint works.
func (h *handler) timed(do endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), h.timeout)
		defer cancel()
		err := do(w, r.WithContext(ctx))
		if err != nil && ctx.Err() != nil {
			// A database says in words of its own that it was interrupted.
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return err
	}
}

// serve calls the endpoint of the request's method.
func (m methods) serve(w http.ResponseWriter, r *http.Request) error {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // the server leaves out the body
	}
	if do := m[method]; do != nil {
		return do(w, r)
	}
	w.Header().Set("Allow", m.allow())
	return &apiError{
		status: http.StatusMethodNotAllowed, Code: "METHOD_NOT_ALLOWED",
		Message: "This path takes " + m.allow() + ".",
	}
}

// allow returns the value of the Allow header.
func (m methods) allow() string {
	names := make([]string, 0, len(m)+1)
	for name := range m {
		names = append(names, name)
	}
	if m[http.MethodGet] != nil {
		names = append(names, http.MethodHead)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// actor is who the audit trail will name.
func (h *handler) actor(r *http.Request) manage.Actor {
	return manage.Actor{Name: "token", Addr: h.source.FromRequest(r).Addr}
}

// newRequestID returns the name of a request in answers and in the log.
func newRequestID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}
