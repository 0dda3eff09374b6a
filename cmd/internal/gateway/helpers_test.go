package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/usagelog"
)

// The clients of the tests. All of 127.0.0.0/8 is loopback on Linux.
const (
	inside  = "127.0.0.2" // on the list of every key that has one
	outside = "127.0.0.3" // on no list
	trusted = "127.0.0.4" // a trusted proxy, where the test says so
)

const deniedBody = `{"error":{"code":"IP_NOT_ALLOWED","message":"Request IP address is not in the API key's allowlist"}}`

// A testKey is a key with the token that its owner has.
type testKey struct {
	*keyring.Key
	token string
}

// A world is a gateway that listens, and everything around it.
type world struct {
	t      testing.TB
	ring   *keyring.Ring
	engine *ipallow.Engine
	log    *usagelog.Writer
	store  *usagelog.MemoryStore
	gate   *gateway.Gateway
	addr   string
	said   *output // by slog

	full, reader, writer, none testKey // with a list
	open                       testKey // without one
	watched                    testKey // report-only, with a list
	revoked                    testKey

	// seen are bytes that no secret may be in: what an upstream was sent.
	seen output
}

// newWorld starts a gateway. change may be nil.
func newWorld(t testing.TB, change func(*gateway.Options)) *world {
	needLoopback(t)
	policy := ipallow.DefaultPolicy()
	policy.AllowNonPublic = true
	w := &world{
		t:      t,
		ring:   new(keyring.Ring),
		engine: ipallow.New(&ipallow.Options{Policy: &policy}),
		store:  usagelog.NewMemoryStore(0),
		said:   new(output),
	}
	var err error
	w.log, err = usagelog.Open(t.TempDir(), w.store, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.log.Close(context.Background())) })
	const both = keyring.Read | keyring.Write
	w.full, w.reader, w.writer, w.none = w.key(both, true), w.key(keyring.Read, true), w.key(keyring.Write, true), w.key(0, true)
	w.open, w.watched, w.revoked = w.key(both, false), w.key(both, true), w.key(both, true)
	w.watched.Key = &keyring.Key{ID: w.watched.ID, Hash: w.watched.Hash, Scopes: both, ReportOnly: true}
	w.ring.Put(w.watched.Key)
	w.ring.Remove(w.revoked.ID)

	opts := gateway.Options{
		Ring: w.ring, Engine: w.engine, Log: w.log,
		Logger: slog.New(slog.NewTextHandler(w.said, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&opts)
	}
	w.gate, err = gateway.New(opts)
	require.NoError(t, err)
	t.Cleanup(w.gate.Close)
	w.addr = serve(t, w.gate, w.said)
	t.Cleanup(w.noSecretAnywhere)
	return w
}

// key makes a key, with a list that has inside and 203.0.113.0/24 on it.
func (w *world) key(scopes keyring.Scopes, restricted bool) testKey {
	id := keyring.NewID()
	secret, hash := keyring.NewSecret()
	k := &keyring.Key{ID: id, Hash: hash, Scopes: scopes}
	w.ring.Put(k)
	if restricted {
		entries, err := w.engine.Policy().ParseList([]string{inside, "203.0.113.0/24"})
		require.NoError(w.t, err)
		entries[0].Label = "Büro"
		require.NoError(w.t, w.engine.Set(id, entries))
	}
	return testKey{k, keyring.Token(id, secret)}
}

func (w *world) keys() []testKey {
	return []testKey{w.full, w.reader, w.writer, w.none, w.open, w.watched, w.revoked}
}

func (w *world) noSecretAnywhere() {
	for _, k := range w.keys() {
		_, secret, _ := keyring.ParseToken(k.token)
		require.NotContains(w.t, w.said.String(), secret, "a secret in the server's log")
		require.NotContains(w.t, w.seen.String(), secret, "a secret at the upstream")
		for _, r := range w.records() {
			require.NotContains(w.t, fmt.Sprint(r), secret, "a secret in the usage log")
		}
	}
}

// records returns what is in the usage log, newest first.
func (w *world) records() []usagelog.Record {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(w.t, w.log.Drain(ctx))
	var all []usagelog.Record
	for r, err := range w.store.Stream(ctx, usagelog.Filter{}) {
		require.NoError(w.t, err)
		all = append(all, r)
	}
	return all
}

// record waits for the record of a request.
func (w *world) record(id string) usagelog.Record {
	require.NotEmpty(w.t, id, "X-Request-Id")
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, r := range w.records() {
			if r.RequestID == id {
				return r
			}
		}
	}
	require.Fail(w.t, "no record of the request "+id)
	return usagelog.Record{}
}

// recordOf waits for the record of the request with this path.
func (w *world) recordOf(path string) usagelog.Record {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, r := range w.records() {
			if r.Path == path {
				return r
			}
		}
	}
	require.Fail(w.t, "no record of the path "+path)
	return usagelog.Record{}
}

// An answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request from an address. header has pairs of name and value.
func (w *world) do(from, method, target string, header ...string) answer {
	w.t.Helper()
	return do(w.t, w.addr, from, method, target, header...)
}

func do(t testing.TB, addr, from, method, target string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+addr+target, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return send(t, from, req)
}

func send(t testing.TB, from string, req *http.Request) answer {
	t.Helper()
	transport := &http.Transport{DialContext: dialer(from).DialContext, DisableKeepAlives: true, DisableCompression: true}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return answer{res.StatusCode, res.Header, string(body)}
}

// raw sends bytes from an address and returns the responses until the connection
// is closed.
func raw(t testing.TB, addr, from, text string) []answer {
	t.Helper()
	conn, err := dialer(from).Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, _ = io.WriteString(conn, text) // a server that does not take it may close early
	return readAnswers(t, conn)
}

func readAnswers(t testing.TB, conn io.Reader) (all []answer) {
	for r := bufio.NewReader(conn); ; {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			if netErr, ok := err.(net.Error); ok {
				require.False(t, netErr.Timeout(), "the connection stays open")
			}
			return all
		}
		body, _ := io.ReadAll(res.Body)
		all = append(all, answer{res.StatusCode, res.Header, string(body)})
	}
}

func dialer(from string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
}

// serve serves handler until the test ends and returns the address.
func serve(t testing.TB, handler http.Handler, said io.Writer) string {
	return serveWith(t, &http.Server{Handler: handler}, said)
}

func serveWith(t testing.TB, server *http.Server, said io.Writer) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server.MaxHeaderBytes = 64 << 10
	server.IdleTimeout = 400 * time.Millisecond // what raw waits for, where a connection is kept alive
	server.DisableGeneralOptionsHandler = true
	server.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(said, nil), slog.LevelError)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	return listener.Addr().String()
}

// trust makes a Source that trusts one proxy, with X-Forwarded-For.
func trust(t testing.TB, addr string) *clientip.Source {
	source, err := clientip.New(&clientip.Options{
		Mode: clientip.XForwardedFor, TrustedProxies: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(addr), 32)},
	})
	require.NoError(t, err)
	return source
}

// output is what is written by several goroutines.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// needLoopback skips the test where only 127.0.0.1 can be bound, which in CI is a
// failure.
func needLoopback(t testing.TB) {
	listener, err := net.Listen("tcp", outside+":0")
	if err == nil {
		listener.Close()
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	t.Skip("this machine cannot bind ", outside, ": ", err)
}

func bearer(k testKey) string { return "Bearer " + k.token }

func code(body string) string {
	_, rest, _ := strings.Cut(body, `"code":"`)
	code, _, _ := strings.Cut(rest, `"`)
	return code
}

func parse(t testing.TB, text string) *url.URL {
	u, err := url.Parse(text)
	require.NoError(t, err)
	return u
}
