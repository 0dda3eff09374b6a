// Package chi enforces allowlists in a chi router. gorilla/mux and every other
// router whose middleware is a func(http.Handler) http.Handler take
// allow.Handler in the same way.
package chi

import (
	"io"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/examples/internal/auth"
	"github.com/ipallow/ipallow/httpallow"
)

// New returns the server's handler.
//
// chi's middleware.RealIP and the like overwrite RemoteAddr by a header that any
// client may send. Leave them out, and give httpallow.Options a Source.
func New(engine *ipallow.Engine) (http.Handler, error) {
	allow, err := httpallow.New(engine, &httpallow.Options{Key: httpallow.KeyFromContext})
	if err != nil {
		return nil, err
	}
	router := chi.NewRouter()
	router.Route("/v1", func(v1 chi.Router) {
		v1.Use(auth.Authenticate, auth.RequireScope, allow.Handler)
		v1.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "hello")
		})
	})
	return router, nil
}
