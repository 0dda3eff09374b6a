// Package usage records every API request in the usage log, refused ones
// included, with the status and the duration that are only known afterwards.
//
//	log := usage.New(writer, source, slog.Default())
//	allow, err := httpallow.New(engine, &httpallow.Options{
//		Key: httpallow.KeyFromContext, Source: source, Explain: true, Observe: log.Observe,
//	})
//	handler := log.Handler(authenticate(requireScope(allow.Handler(api))))
//
// The log stands outside of everything, so that it sees a 401 too. Authentication
// calls [SetKey], so that the log knows the key of a request that a missing scope
// stopped. An http.TimeoutHandler stands behind the allowlist, or outside of the log:
// between the two it would let a request be recorded while its key is being set.
package usage

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"time"

	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/httpallow"
	"github.com/ipallow/ipallow/usagelog"
)

// A Log writes records and log lines. All methods may be called from any number
// of goroutines.
type Log struct {
	writer *usagelog.Writer
	source *clientip.Source
	logger *slog.Logger
	refuse func(*http.Request, httpallow.Decision)
}

// New returns a Log that records in writer. The source is that of the allowlist.
func New(writer *usagelog.Writer, source *clientip.Source, logger *slog.Logger) *Log {
	return &Log{writer: writer, source: source, logger: logger, refuse: httpallow.LogTo(logger)}
}

type contextKey struct{}

// SetKey tells the log which key a request was authenticated with.
func SetKey(ctx context.Context, id string) {
	if record, ok := ctx.Value(contextKey{}).(*usagelog.Record); ok {
		record.KeyID = id
	}
}

// Observe is for httpallow.Options. It keeps the verdict until the request has
// been answered, and logs what is refused.
func (l *Log) Observe(r *http.Request, d httpallow.Decision) {
	if record, ok := r.Context().Value(contextKey{}).(*usagelog.Record); ok {
		record.KeyID, record.Verdict = d.Key, d.Verdict
		record.Entry, record.Label = d.Entry.Prefix, d.Entry.Label
	}
	l.refuse(r, d)
}

// Handler records each request that next answers. A request that never reached
// the allowlist has the verdict Denied, and its status says why.
func (l *Log) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record := usagelog.Record{
			Time:       time.Now(),
			RequestID:  rand.Text(), // the server's own: a client's could be anything
			Method:     r.Method,
			Path:       r.URL.Path, // never the query, which may carry secrets
			ClientAddr: l.source.FromRequest(r).Addr,
		}
		w.Header().Set("X-Request-Id", record.RequestID)
		response := &response{ResponseWriter: w}
		returned := false
		defer func() { // also when next panics; the status is 0 then, unless it was written
			if returned && response.status == 0 {
				response.status = http.StatusOK // as net/http writes for a handler that writes nothing
			}
			record.Status = response.status
			record.Duration = time.Since(record.Time)
			if !l.writer.Record(record) {
				l.logger.WarnContext(r.Context(), "a usage record was lost", slog.String("request", record.RequestID))
			}
		}()
		next.ServeHTTP(response, r.WithContext(context.WithValue(r.Context(), contextKey{}, &record)))
		returned = true
	})
}
