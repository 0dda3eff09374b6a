package page

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"

	hidden "github.com/ipallow/ipallow/cmd/internal/visible"
)

// contentPolicy lets the page have its own style sheet, script and images, and
// nothing else: no inline script or style, no frames, no forms to elsewhere.
const contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// protect sets the headers of every answer and refuses what other sites have a
// browser send.
func (p *Page) protect(next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.Logger.WarnContext(r.Context(), "settings page refused a request from another site",
			"method", r.Method, "path", r.URL.Path, "origin", r.Header.Get("Origin"))
		p.render(w, r, nil, http.StatusForbidden, "error", "Refused", "", errorView{
			Heading: "The request came from another site",
			Text:    "Nothing was changed. Open the settings page itself and repeat what you did.",
		})
	}))
	guarded := crossOrigin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		guarded.ServeHTTP(w, r)
	})
}

// parseForm reads a form of at most limit bytes from the body. The query is
// not part of r.PostForm.
func (p *Page) parseForm(w http.ResponseWriter, r *http.Request, limit int64) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return fmt.Errorf("%w: content type %.80q", errForm, r.Header.Get("Content-Type"))
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	if err := r.ParseForm(); err != nil {
		return fmt.Errorf("%w: %w", errForm, err)
	}
	parse(r.PostForm)
	return nil
}

// query returns the query of a request.
func query(r *http.Request) url.Values {
	q := r.URL.Query()
	parse(q)
	return q
}

// parse makes the texts again that the page's fields showed with their hidden
// characters.
func parse(form url.Values) {
	for _, values := range form {
		for i, v := range values {
			values[i] = hidden.Parse(v)
		}
	}
}
