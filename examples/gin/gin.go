// Package gin enforces allowlists in a gin engine.
package gin

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/examples/internal/auth"
	"github.com/ipallow/ipallow/httpallow"
)

// Allowlist is m as middleware of gin. It reads the client's address by m's
// Source; Context.ClientIP and gin's trusted proxies play no part.
func Allowlist(m *httpallow.Middleware) gin.HandlerFunc {
	return func(c *gin.Context) {
		if !m.Enforce(c.Writer, c.Request).OK() {
			c.Abort()
		}
	}
}

// New returns the server's handler.
func New(engine *ipallow.Engine) (http.Handler, error) {
	allow, err := httpallow.New(engine, &httpallow.Options{Key: httpallow.KeyFromContext})
	if err != nil {
		return nil, err
	}
	router := gin.New()
	v1 := router.Group("/v1", authenticate, requireScope, Allowlist(allow))
	v1.Match([]string{"GET", "HEAD", "POST"}, "/hello", func(c *gin.Context) {
		c.String(http.StatusOK, "hello")
	})
	return router, nil
}

func authenticate(c *gin.Context) {
	id, ok := auth.Identify(c.GetHeader("Authorization"))
	if !ok {
		httpallow.Unauthorized(c.Writer, c.Request)
		c.Abort()
		return
	}
	c.Request = c.Request.WithContext(httpallow.ContextWithKey(c.Request.Context(), id))
}

func requireScope(c *gin.Context) {
	if !auth.MayUse(c.Request.Method) {
		auth.WriteScopeMissing(c.Writer)
		c.Abort()
	}
}
