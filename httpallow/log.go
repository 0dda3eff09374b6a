package httpallow

import (
	"log/slog"
	"net/http"
)

// LogTo returns a function for Options.Observe that writes a line for each
// decision: at the level Warn what was refused by the allowlist, reported, or came
// before the engine's first load, at Debug everything else. It logs the key's identifier, and of the URL only the
// path, since a query may carry secrets.
//
// A refused request can be repeated at will, so whoever has a key can fill the
// log; use a handler that samples where that matters. A nil logger is
// [slog.Default], taken when LogTo is called.
func LogTo(logger *slog.Logger) func(*http.Request, Decision) {
	if logger == nil {
		logger = slog.Default()
	}
	return func(r *http.Request, d Decision) {
		level := slog.LevelDebug
		if d.Outcome == Refused || d.Outcome == Reported || d.Outcome == NotReady {
			level = slog.LevelWarn
		}
		ctx := r.Context()
		if !logger.Enabled(ctx, level) {
			return
		}
		attrs := []slog.Attr{
			slog.String("outcome", d.Outcome.String()),
			slog.String("verdict", d.Verdict.String()),
			slog.String("key", d.Key),
			slog.String("client", d.Client.String()),
			slog.String("method", r.Method),
			slog.String("path", r.URL.Path),
		}
		if d.Entry.Prefix.IsValid() {
			attrs = append(attrs, slog.String("entry", d.Entry.String()), slog.String("label", d.Entry.Label))
		}
		logger.LogAttrs(ctx, level, "allowlist decision", attrs...)
	}
}
