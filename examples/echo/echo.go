// Package echo enforces allowlists in an echo server.
package echo

import (
	"net/http"

	"github.com/labstack/echo/v5"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/examples/internal/auth"
	"github.com/ipallow/ipallow/httpallow"
)

// Allowlist is m as middleware of echo. It reads the client's address by m's
// Source; echo's IPExtractor plays no part.
func Allowlist(m *httpallow.Middleware) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			if !m.Enforce(c.Response(), c.Request()).OK() {
				return nil // answered
			}
			return next(c)
		}
	}
}

// New returns the server's handler.
func New(engine *ipallow.Engine) (http.Handler, error) {
	allow, err := httpallow.New(engine, &httpallow.Options{Key: httpallow.KeyFromContext})
	if err != nil {
		return nil, err
	}
	e := echo.New()
	v1 := e.Group("/v1", authenticate, requireScope, Allowlist(allow))
	v1.Match([]string{"GET", "HEAD", "POST"}, "/hello", func(c *echo.Context) error {
		return c.String(http.StatusOK, "hello")
	})
	return e, nil
}

func authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		r := c.Request()
		id, ok := auth.Identify(r.Header.Get("Authorization"))
		if !ok {
			httpallow.Unauthorized(c.Response(), r)
			return nil
		}
		c.SetRequest(r.WithContext(httpallow.ContextWithKey(r.Context(), id)))
		return next(c)
	}
}

func requireScope(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		if !auth.MayUse(c.Request().Method) {
			auth.WriteScopeMissing(c.Response())
			return nil
		}
		return next(c)
	}
}
