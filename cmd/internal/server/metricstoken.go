package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ipallow/ipallow/cmd/internal/admin"
	"github.com/ipallow/ipallow/cmd/internal/guesses"
)

// metricsToken returns the token that opens /metrics and nothing else, and
// whether there is one.
func (c *Config) metricsToken() (t admin.Token, ok bool, err error) {
	if c.MetricsToken != "" {
		if t, err = admin.NewToken(c.MetricsToken); err != nil {
			return t, false, fmt.Errorf("IPALLOWD_METRICS_TOKEN: %w", err)
		}
		return t, true, nil
	}
	file := c.MetricsTokenFile
	if file == "" {
		file = filepath.Join(c.Data, "metrics-token")
	}
	t, err = admin.Read(file)
	switch {
	case err == nil:
		return t, true, nil
	case c.MetricsTokenFile == "" && errors.Is(err, fs.ErrNotExist):
		return t, false, nil
	}
	return t, false, fmt.Errorf("--metrics-token-file: %w", err)
}

// guardMetrics asks for the token before it lets to the metrics.
func (s *host) guardMetrics(token admin.Token, next http.Handler) http.Handler {
	wrong := guesses.New(nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fields := r.Header.Values("Authorization")
		if len(fields) == 1 {
			scheme, text, _ := strings.Cut(fields[0], " ")
			if strings.EqualFold(scheme, "Bearer") && token.Check(strings.Trim(text, " ")) {
				next.ServeHTTP(w, r)
				return
			}
			if wait := wrong.Wrong(s.source.FromRequest(r).Addr); wait > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
				status(w, http.StatusTooManyRequests, "error", "the token is wrong, as were too many before it")
				return
			}
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="ipallow"`)
		status(w, http.StatusUnauthorized, "error", `send the token of --metrics-token-file as "Authorization: Bearer TOKEN"`)
	})
}
