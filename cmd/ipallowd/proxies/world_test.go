//go:build unix

package proxies

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

const (
	inside     = "127.0.0.2" // on the list
	outside    = "127.0.0.3" // not on it
	deniedBody = `{"error":{"code":"IP_NOT_ALLOWED","message":"Request IP address is not in the API key's allowlist"}}`
)

// A world is an API and a gateway that trusts 127.0.0.1, where the proxies are.
type world struct {
	t       *testing.T
	log     *usagelog.Writer
	store   *usagelog.MemoryStore
	api     string // its address
	gateway string

	full, reader, open          *keyring.Key // the last has no list
	fullKey, readerKey, openKey string       // their tokens

	sent output // what the API was sent
	mu   sync.Mutex
	seen map[string][]http.Header // by the path
}

// newWorld starts both. With upstream the gateway passes requests on to the API.
func newWorld(t *testing.T, upstream bool) *world { return newWorldWith(t, upstream, "", false) }

// newWorldWith takes an API that listens already, unless api is empty, and has a
// gateway that never loads its lists where waiting is set.
func newWorldWith(t *testing.T, upstream bool, api string, waiting bool) *world {
	if listener, err := net.Listen("tcp", outside+":0"); err != nil {
		missing(t, "this machine cannot bind "+outside+": "+err.Error())
	} else {
		listener.Close()
	}
	w := &world{t: t, store: usagelog.NewMemoryStore(0), seen: map[string][]http.Header{}}
	var err error
	w.log, err = usagelog.Open(t.TempDir(), w.store, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.log.Close(context.Background())) })
	policy := ipallow.DefaultPolicy()
	policy.AllowNonPublic = true
	engine := ipallow.New(&ipallow.Options{Policy: &policy, DenyUntilLoaded: waiting})
	ring := new(keyring.Ring)
	key := func(scopes keyring.Scopes, restricted bool) (*keyring.Key, string) {
		secret, hash := keyring.NewSecret()
		k := &keyring.Key{ID: keyring.NewID(), Hash: hash, Scopes: scopes}
		ring.Put(k)
		if restricted {
			entries, err := policy.ParseList([]string{inside})
			require.NoError(t, err)
			require.NoError(t, engine.Set(k.ID, entries))
		}
		return k, keyring.Token(k.ID, secret)
	}
	w.full, w.fullKey = key(keyring.Read|keyring.Write, true)
	w.reader, w.readerKey = key(keyring.Read, true)
	w.open, w.openKey = key(keyring.Read, false)
	source, err := clientip.New(&clientip.Options{
		Mode: clientip.XForwardedFor, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	})
	require.NoError(t, err)

	if w.api = api; api == "" {
		w.api = w.serve(http.HandlerFunc(w.serveAPI), &w.sent)
	}
	opts := gateway.Options{Ring: ring, Engine: engine, Source: source, Log: w.log, Logger: slog.New(slog.DiscardHandler)}
	if upstream {
		opts.Upstream = &url.URL{Scheme: "http", Host: w.api}
	}
	gate, err := gateway.New(opts)
	require.NoError(t, err)
	t.Cleanup(gate.Close)
	w.gateway = w.serve(gate, io.Discard)
	return w
}

func (w *world) serve(handler http.Handler, tapped io.Writer) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	server := &http.Server{Handler: handler}
	done := make(chan error, 1)
	go func() { done <- server.Serve(&tap{listener, tapped}) }()
	w.t.Cleanup(func() {
		server.Close()
		require.ErrorIs(w.t, <-done, http.ErrServerClosed)
	})
	return listener.Addr().String()
}

// serveAPI is an API that believes what it is told about the key.
func (w *world) serveAPI(rw http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	w.mu.Lock()
	w.seen[r.URL.Path] = append(w.seen[r.URL.Path], r.Header.Clone())
	w.mu.Unlock()
	rw.Header().Set("X-Body-Length", fmt.Sprint(n))
	_, _ = io.WriteString(rw, "hello "+r.Header.Get("X-Ipallow-Key-Id"))
}

// at returns the headers of the requests that reached the API at a path.
func (w *world) at(path string) []http.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[path]
}

// recordsOf returns the records of the requests for a path.
func (w *world) recordsOf(path string) (found []usagelog.Record) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(w.t, w.log.Drain(ctx))
	for r, err := range w.store.Stream(ctx, usagelog.Filter{}) {
		require.NoError(w.t, err)
		if r.Path == path {
			found = append(found, r)
		}
	}
	return found
}

// An answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// exchange sends bytes from an address and returns the first response.
func exchange(t *testing.T, addr, from, text string) answer {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := dialer.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, _ = io.WriteString(conn, text)      // a proxy that does not take it may close early
	method, _, _ := strings.Cut(text, " ") // a response to HEAD has no body
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err, "%.300q", text)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return answer{res.StatusCode, res.Header, string(body)}
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

// A tap keeps what is read from each connection.
type tap struct {
	net.Listener
	to io.Writer
}

func (l *tap) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tapped{conn, l.to}, nil
}

type tapped struct {
	net.Conn
	to io.Writer
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	_, _ = c.to.Write(p[:n])
	return n, err
}
