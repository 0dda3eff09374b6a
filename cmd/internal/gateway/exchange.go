package gateway

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ipallow/ipallow/usagelog"
)

// An exchange is a request on its way through the gateway: the ResponseWriter
// that sees the status, and the record that is made of it. It is one allocation,
// and not reused, since net/http reads the header after the handler returned.
type exchange struct {
	http.ResponseWriter
	gate          *Gateway
	record        usagelog.Record
	id            [1]string // the value of X-Request-Id
	status        int
	upstream      UpstreamFailure
	front         Front
	authenticated bool
	returned      bool        // the handler came to its end
	body          *clientBody // nil where the request has none
	ordered       bool        // HTTP/1.1: the next request follows the whole body
	buf           [128]byte   // for the ping's answer, which is shorter
}

// note keeps the decision for the record.
func (x *exchange) note(d *Decision) {
	d.Note(&x.record)
	x.authenticated = d.Measured
}

func (x *exchange) finish() {
	if x.returned && x.status == 0 {
		x.status = http.StatusOK // as net/http writes for a handler that writes nothing
	}
	x.record.Status = x.status
	x.gate.finish(&x.record, Event{Front: x.front, Authenticated: x.authenticated, Upstream: x.upstream})
}

func (x *exchange) WriteHeader(status int) {
	switch {
	case status < 200 && status != http.StatusSwitchingProtocols:
		// An announcement, which ReverseProxy passes on as it came.
		removeHopByHop(x.Header())
	case x.status == 0:
		x.begin(status)
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(p []byte) (int, error) {
	x.written()
	return x.ResponseWriter.Write(p)
}

// WriteString spares the copy that io.WriteString would make.
func (x *exchange) WriteString(s string) (int, error) {
	x.written()
	return io.WriteString(x.ResponseWriter, s)
}

// ReadFrom keeps sendfile within reach.
func (x *exchange) ReadFrom(src io.Reader) (int64, error) {
	x.written()
	if to, ok := x.ResponseWriter.(io.ReaderFrom); ok {
		return to.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{x.ResponseWriter}, src)
}

func (x *exchange) written() {
	if x.status == 0 {
		x.begin(http.StatusOK)
	}
}

// begin is called before the header is written.
func (x *exchange) begin(status int) {
	x.status = status
	if x.ordered && x.body.remains() && status != http.StatusSwitchingProtocols {
		// Without this net/http reads the body before it answers (RFC 9112, section
		// 9.6, lets a server close instead).
		x.Header()["Connection"] = closing
	}
}

var closing = []string{"close"}

// removeHopByHop removes what is meant for this connection alone (RFC 9110, section
// 7.6.1).
func removeHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range []string{
		"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade",
	} {
		delete(h, name)
	}
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Flush implements http.Flusher.
func (x *exchange) Flush() { _ = x.FlushError() }

// FlushError is what http.ResponseController asks for first.
func (x *exchange) FlushError() error {
	x.written()
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker. What the gateway gives a connection away for
// is a switch of protocols.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err == nil && x.status == 0 {
		x.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// NewRequestID returns the server's name for a request: 128 random bits in
// hexadecimal. It is no secret; it only must not be met twice.
func NewRequestID() string {
	const digits = "0123456789abcdef"
	var b [32]byte
	for i := 0; i < len(b); i += 16 {
		bits := rand.Uint64() // #nosec G404 -- no secret
		for j := range 16 {
			b[i+j] = digits[bits&15]
			bits >>= 4
		}
	}
	return string(b[:])
}

// keep hands a record to the usage log.
func (g *Gateway) keep(r usagelog.Record) {
	if !g.log.Record(r) {
		g.warnLost(r.Time)
	}
}

// Record completes the record of a request that has been answered, hands it to
// the usage log and tells the observer. Requests without a valid key are summed up
// when there are many.
func (g *Gateway) Record(r *usagelog.Record, front Front, authenticated bool) {
	g.finish(r, Event{Front: front, Authenticated: authenticated})
}

// finish is Record with an event that lacks what is in the record.
func (g *Gateway) finish(r *usagelog.Record, e Event) {
	r.Duration = time.Since(r.Time)
	switch {
	case g.log == nil:
	case r.KeyID != "":
		g.keep(*r)
	default:
		g.flood.add(r)
	}
	g.logRequest(r)
	if g.observe != nil {
		e.Verdict, e.Status, e.Duration = r.Verdict, r.Status, r.Duration
		g.observe(e)
	}
}

// warnLost says once a second at most that records are lost. How many there are
// is in usagelog.Stats.
func (g *Gateway) warnLost(now time.Time) {
	last, second := g.lostAt.Load(), now.Unix()
	if last != second && g.lostAt.CompareAndSwap(last, second) {
		g.logger.Error("usage records are being lost", slog.String("see", "the counts of the usage log"))
	}
}

// logRequest writes a line at the level Debug. The usage log has them all; at a
// higher level whoever can reach the gateway could fill this log.
func (g *Gateway) logRequest(r *usagelog.Record) {
	ctx := context.Background()
	if !g.logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	n := r.Normalize() // a path may be as long as a header
	r = &n
	g.logger.LogAttrs(ctx, slog.LevelDebug, "request",
		slog.String("request", r.RequestID), slog.String("key", r.KeyID), slog.String("client", r.ClientAddr.String()),
		slog.String("method", r.Method), slog.String("path", r.Path), slog.Int("status", r.Status),
		slog.String("verdict", r.Verdict.String()), slog.String("entry", entryText(r)), slog.String("label", r.Label),
		slog.Duration("took", r.Duration))
}

// entryText returns the entry of a record, or nothing if it has none.
func entryText(r *usagelog.Record) string {
	if !r.Entry.IsValid() {
		return ""
	}
	return r.Entry.String()
}
