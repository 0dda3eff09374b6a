package gateway

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
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
	front         Front
	authenticated bool
	returned      bool        // the handler came to its end
	hasBody       bool        // the client sends one
	body          *clientBody // nil where the request has none, or is not passed on
	buf           [128]byte   // for the ping's answer, which is shorter
}

// note keeps the decision for the record.
func (x *exchange) note(d *Decision) {
	x.record.Verdict = d.Verdict
	if d.Key != nil {
		x.record.KeyID = d.Key.ID
	}
	x.authenticated = d.Measured
}

func (x *exchange) finish() {
	if x.returned && x.status == 0 {
		x.status = http.StatusOK // as net/http writes for a handler that writes nothing
	}
	x.record.Status = x.status
	x.gate.Record(&x.record, x.front, x.authenticated)
}

// unreadBody bounds how long the server waits for what is left of a body that
// nobody reads. It reads some of it before it sends the answer, so that a client
// which sends it byte by byte, with or without a key, could hold the connection
// for ever.
const unreadBody = 5 * time.Second

// leaveBody is called before an answer for which the body was not read.
func (x *exchange) leaveBody() {
	if x.hasBody {
		// A ResponseWriter without deadlines, in tests, has nobody waiting.
		_ = http.NewResponseController(x.ResponseWriter).SetReadDeadline(time.Now().Add(unreadBody))
	}
}

func (x *exchange) WriteHeader(status int) {
	// 1xx are announcements, but 101 ends the HTTP exchange.
	if x.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		x.status = status
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
		x.status = http.StatusOK
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

// Record completes the record of a request that has been answered, hands it to
// the usage log and tells the observer.
func (g *Gateway) Record(r *usagelog.Record, front Front, authenticated bool) {
	r.Duration = time.Since(r.Time)
	if g.log != nil && !g.log.Record(*r) {
		g.warnLost(r.Time)
	}
	g.logRequest(r)
	if g.observe != nil {
		g.observe(Event{Front: front, Authenticated: authenticated, Verdict: r.Verdict, Status: r.Status, Duration: r.Duration})
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
		slog.String("verdict", r.Verdict.String()), slog.Duration("took", r.Duration))
}
