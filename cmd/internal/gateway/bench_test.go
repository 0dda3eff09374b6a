package gateway_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/usagelog"
)

// bare answers what the ping answers, and does nothing else.
func bare(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h["Content-Type"] = []string{"application/json; charset=utf-8"}
	h["Cache-Control"] = []string{"no-store"}
	_, _ = io.WriteString(w, `{"key_id":"4kq2m7xw3n5tzr6c","address":"203.0.113.5","verdict":"allowed"}`)
}

// A sink is a ResponseWriter that costs nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

// calm is the logger of a server that is not being debugged.
func calm(o *gateway.Options) { o.Logger = slog.New(slog.DiscardHandler) }

func pingRequest(k testKey, from string) *http.Request {
	r := httptest.NewRequest("GET", "/v1/ping", nil)
	r.RemoteAddr = from + ":41000"
	r.Header.Set("Authorization", bearer(k))
	r.Header.Set("User-Agent", "bench")
	r.Header.Set("Accept", "*/*")
	return r
}

// allocations is how often the gateway allocates for a served ping: the exchange
// and the request's ID. The record is copied into the log's own buffer.
const allocations = 2

func TestAllocations(t *testing.T) {
	w := newWorld(t, func(o *gateway.Options) { calm(o); o.Observe = func(gateway.Event) {} })
	for _, test := range []struct {
		name string
		key  testKey
		from string
	}{{"with a list", w.full, inside}, {"without a list", w.open, outside}, {"with one scope", w.reader, inside}} {
		out, r := &sink{header: http.Header{}}, pingRequest(test.key, test.from)
		got := testing.AllocsPerRun(200, func() { w.gate.ServeHTTP(out, r) })
		require.LessOrEqual(t, got, float64(allocations), test.name)
		require.Zero(t, out.status, "served")
	}
}

// A nowhere is a Store that forgets, so that a benchmark measures the gateway and
// the Writer.
type nowhere struct{ usagelog.Store }

func (nowhere) Append(context.Context, []usagelog.Record) error { return nil }

// measured records into a nowhere.
func measured(b *testing.B) func(*gateway.Options) {
	log, err := usagelog.Open(b.TempDir(), nowhere{}, nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, log.Close(context.Background())) })
	return func(o *gateway.Options) { calm(o); o.Log = log }
}

func BenchmarkPing(b *testing.B) {
	w := newWorld(b, measured(b))
	quiet := newWorld(b, func(o *gateway.Options) { calm(o); o.Log = nil })
	off := newWorld(b, func(o *gateway.Options) { calm(o); o.Log, o.NoAllowlist = nil, true })
	for _, bench := range []struct {
		name    string
		handler http.Handler
		r       *http.Request
	}{
		{"handler=bare", http.HandlerFunc(bare), pingRequest(w.full, inside)},
		{"handler=gateway", w.gate, pingRequest(w.full, inside)},
		{"handler=gateway,scope=read", w.gate, pingRequest(w.reader, inside)},
		{"handler=gateway,log=off", quiet.gate, pingRequest(quiet.full, inside)},
		{"handler=gateway,log=off,allowlist=off", off.gate, pingRequest(off.full, inside)},
		{"handler=gateway,answer=403", w.gate, pingRequest(w.full, outside)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			out := &sink{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				bench.handler.ServeHTTP(out, bench.r)
			}
		})
	}
}

// BenchmarkServer has net/http and loopback around it, one connection.
func BenchmarkServer(b *testing.B) {
	w := newWorld(b, measured(b))
	for _, bench := range []struct{ name, addr string }{
		{"handler=bare", serve(b, http.HandlerFunc(bare), w.said)},
		{"handler=gateway", w.addr},
	} {
		b.Run(bench.name, func(b *testing.B) {
			conn, err := dialer(inside).Dial("tcp", bench.addr)
			require.NoError(b, err)
			defer conn.Close()
			ping(b, conn, bearer(w.full))
		})
	}
}

func ping(b *testing.B, conn net.Conn, authorization string) {
	request := []byte("GET /v1/ping HTTP/1.1\r\nHost: api.example\r\nAuthorization: " + authorization + "\r\n\r\n")
	answers := bufio.NewReader(conn)
	b.ReportAllocs()
	for b.Loop() {
		_, err := conn.Write(request)
		require.NoError(b, err)
		res, err := http.ReadResponse(answers, nil)
		require.NoError(b, err)
		require.Equal(b, 200, res.StatusCode)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(b, err)
	}
}
