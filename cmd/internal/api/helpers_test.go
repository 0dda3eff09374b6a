package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/admin"
	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
	"github.com/ipallow/ipallow/usagelog"
)

const adminToken = "ipadm_the-administrator-of-these-tests"

// A world is a whole management side, on disk and on a socket. Every answer
// that it gives is held against the document, see judge.
type world struct {
	t       testing.TB
	service *manage.Service
	engine  *ipallow.Engine
	ring    *keyring.Ring
	logs    *logstore.Store
	handler *handler
	server  *httptest.Server
	client  *http.Client
	output  *output // of the logger
	dir     string
}

// settings are what a test's world has of its own; the zero settings are the
// common ones.
type settings struct {
	engine       *ipallow.Options
	timeout      time.Duration // Options.Timeout
	stall        time.Duration // exportStall
	readTimeout  time.Duration // of the server
	writeTimeout time.Duration // of the server
}

// newWorld starts a world. Its clients' address is that of their connection,
// but for 127.0.0.9, which is a trusted proxy.
func newWorld(t testing.TB, with ...settings) *world {
	t.Helper()
	set := append(with, settings{})[0]
	w := &world{t: t, output: &output{}, dir: t.TempDir()}
	logger := slog.New(slog.NewJSONHandler(w.output, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	w.logs, err = logstore.Open(t.Context(), logstore.Options{Path: filepath.Join(w.dir, "usage.db"), Logger: logger})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.logs.Close()) })
	w.service, w.engine, w.ring = managetest.Open(t, func(o *manage.Options) {
		o.Path = filepath.Join(w.dir, "ipallowd.db")
		o.Seen = w.logs
		o.Logger = logger
		if set.engine != nil {
			o.Engine = ipallow.New(set.engine)
		}
	})
	source, err := clientip.New(&clientip.Options{
		Mode: clientip.XForwardedFor, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")},
	})
	require.NoError(t, err)
	token, err := admin.NewToken(adminToken)
	require.NoError(t, err)
	h, err := New(Options{
		Manager:      w.service,
		Logs:         w.logs,
		Authenticate: token.Check,
		Source:       source,
		Logger:       logger,
		Timeout:      set.timeout,
		RemoveNode: func(_ context.Context, name string) error {
			return map[string]error{"none": fleet.ErrNoNode, "alive": fleet.ErrNodeAlive}[name]
		},
	})
	require.NoError(t, err)
	w.handler = h.(*handler)
	if set.stall > 0 {
		w.handler.stall = set.stall
	}
	w.server = httptest.NewUnstartedServer(h)
	w.server.Config.ReadTimeout = set.readTimeout
	w.server.Config.WriteTimeout = set.writeTimeout
	w.server.Config.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelError)
	w.server.Start()
	t.Cleanup(w.server.Close)
	w.client = w.from("127.0.0.1")
	t.Cleanup(func() {
		text := w.output.String()
		require.NotContains(t, text, adminToken, "the administrator's token is in the server's log")
		for _, secret := range secrets.all() {
			require.NotContains(t, text, secret, "the secret of a key is in the server's log")
		}
	})
	return w
}

// from returns a client whose connections come from the loopback address. That
// of 127.0.0.9 is a trusted proxy.
func (w *world) from(addr string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableCompression: true}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// A call is a request.
type call struct {
	method, path string
	body         any // a string is sent as it is, nil is no body, all else becomes JSON
	header       http.Header
	client       *http.Client
	anonymous    bool   // without a token
	by           string // the client address, told by the trusted proxy
}

// An answer is a response with its body read.
type answer struct {
	t testing.TB
	*http.Response
	text string
}

// do sends a request and judges the answer.
func (w *world) do(c call) *answer {
	w.t.Helper()
	var body io.Reader
	var sent []byte
	switch b := c.body.(type) {
	case nil:
	case string:
		sent = []byte(b)
	default:
		var err error
		sent, err = json.Marshal(b)
		require.NoError(w.t, err)
	}
	if c.body != nil {
		body = bytes.NewReader(sent)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), c.method, w.server.URL+c.path, body)
	require.NoError(w.t, err)
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !c.anonymous {
		req.Header.Set("Authorization", "Bearer "+adminToken)
	}
	client := c.client
	if client == nil {
		client = w.client
	}
	if c.by != "" {
		client = w.from("127.0.0.9")
		req.Header.Set("X-Forwarded-For", c.by)
	}
	for name, values := range c.header {
		req.Header[name] = values
		if values == nil {
			req.Header.Del(name)
		}
	}
	resp, err := client.Do(req)
	require.NoError(w.t, err)
	return w.read(req, sent, resp)
}

// read reads and judges an answer.
func (w *world) read(req *http.Request, sent []byte, resp *http.Response) *answer {
	w.t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	judge(w.t, req, sent, resp, text)
	return &answer{w.t, resp, string(text)}
}

// manageAll asks for all keys.
var manageAll = manage.KeyQuery{Revoked: true, Limit: manage.MaxLimit}

func (w *world) get(path string) *answer {
	w.t.Helper()
	return w.do(call{method: "GET", path: path})
}

func (w *world) post(path string, body any) *answer {
	w.t.Helper()
	return w.do(call{method: "POST", path: path, body: body})
}

// ok fails the test unless the answer has the status, and decodes it.
func (a *answer) ok(status int, into any) *answer {
	a.t.Helper()
	require.Equal(a.t, status, a.StatusCode, a.text)
	if into != nil {
		dec := json.NewDecoder(strings.NewReader(a.text))
		dec.DisallowUnknownFields()
		require.NoError(a.t, dec.Decode(into), a.text)
	}
	return a
}

// fails fails the test unless the answer is the error, which it returns.
func (a *answer) fails(status int, code string) *apiError {
	a.t.Helper()
	var body struct {
		Error apiError `json:"error"`
	}
	a.ok(status, &body)
	require.Equal(a.t, code, body.Error.Code, a.text)
	require.Equal(a.t, a.Header.Get("X-Request-Id"), body.Error.RequestID)
	require.True(a.t, strings.HasSuffix(body.Error.Message, "."), "a message is a sentence: %s", body.Error.Message)
	return &body.Error
}

type object = map[string]any

// entries makes entries of texts, which may have a label behind a space.
func entries(texts ...string) []manage.ListEntry {
	list := make([]manage.ListEntry, len(texts))
	for i, s := range texts {
		list[i].Entry, list[i].Label, _ = strings.Cut(s, " ")
	}
	return list
}

// create makes a key.
func (w *world) create(name string, list ...string) createdView {
	w.t.Helper()
	var made createdView
	w.post("/api/v1/keys", object{"name": name, "scopes": []string{"read", "write"}, "allowlist": entries(list...)}).ok(201, &made)
	return made
}

var lastRecord atomic.Uint64

// record puts requests into the usage log.
func (w *world) record(records ...usagelog.Record) {
	w.t.Helper()
	for i := range records {
		binary.BigEndian.PutUint64(records[i].ID[8:], lastRecord.Add(1))
		records[i] = records[i].Normalize()
	}
	require.NoError(w.t, w.logs.Append(context.Background(), records))
}

// served puts a request that was served into the usage log.
func (w *world) served(key, addr string, ago time.Duration) {
	w.t.Helper()
	w.record(usagelog.Record{
		Time: time.Now().Add(-ago), RequestID: "r", KeyID: key, Method: "GET", Path: "/v1/ping", Status: 200,
		ClientAddr: netip.MustParseAddr(addr), Verdict: ipallow.Unrestricted, Duration: time.Millisecond,
	})
}

// An output is a writer for a logger.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
