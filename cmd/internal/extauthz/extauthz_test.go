package extauthz_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/claims"
	"github.com/ipallow/ipallow/cmd/internal/extauthz"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/usagelog"
)

const (
	inside     = "203.0.113.5" // on the list
	outside    = "198.51.100.7"
	balancer   = "10.20.0.1" // a trusted proxy in front of Envoy
	deniedBody = `{"error":{"code":"IP_NOT_ALLOWED","message":"Request IP address is not in the API key's allowlist"}}`
)

type world struct {
	t      *testing.T
	client authv3.AuthorizationClient
	log    *usagelog.Writer
	store  *usagelog.MemoryStore
	ring   keyring.Ring
	events []gateway.Event // of one goroutine's calls
	stale  atomic.Bool     // what is known is too old

	full, reader, open          *keyring.Key
	fullKey, readerKey, openKey string // their tokens
}

// newWorld serves the service on loopback.
func newWorld(t *testing.T) *world { return newWorldOf(t, ipallow.New(nil)) }

func newWorldOf(t *testing.T, engine *ipallow.Engine) *world {
	w := &world{t: t, store: usagelog.NewMemoryStore(0)}
	var err error
	w.log, err = usagelog.Open(t.TempDir(), w.store, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.log.Close(context.Background())) })
	key := func(scopes keyring.Scopes, restricted bool) (*keyring.Key, string) {
		secret, hash := keyring.NewSecret()
		k := &keyring.Key{ID: keyring.NewID(), Hash: hash, Scopes: scopes}
		w.ring.Put(k)
		if restricted {
			entries, err := engine.Policy().ParseList([]string{"203.0.113.0/24", "2001:db8:1::/48"})
			require.NoError(t, err)
			require.NoError(t, engine.Set(k.ID, entries))
		}
		return k, keyring.Token(k.ID, secret)
	}
	w.full, w.fullKey = key(keyring.Read|keyring.Write, true)
	w.reader, w.readerKey = key(keyring.Read, true)
	w.open, w.openKey = key(keyring.Read|keyring.Write, false)
	source, err := clientip.New(&clientip.Options{
		Mode: clientip.XForwardedFor, TrustedProxies: []netip.Prefix{netip.MustParsePrefix(balancer + "/32")},
	})
	require.NoError(t, err)
	gate, err := gateway.New(gateway.Options{
		Ring: &w.ring, Engine: engine, Source: source, Log: w.log, Usable: func() bool { return !w.stale.Load() }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Observe: func(e gateway.Event) { w.events = append(w.events, e) },
	})
	require.NoError(t, err)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	extauthz.New(gate).Register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-done)
	})
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	w.client = authv3.NewAuthorizationClient(conn)
	return w
}

// record returns the newest record.
func (w *world) record() usagelog.Record {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(w.t, w.log.Drain(ctx))
	page, err := w.store.Query(ctx, usagelog.Query{Limit: 1})
	require.NoError(w.t, err)
	require.Len(w.t, page.Records, 1)
	return page.Records[0]
}

func (w *world) check(request *authv3.CheckRequest) *authv3.CheckResponse {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	response, err := w.client.Check(ctx, request)
	require.NoError(w.t, err)
	return response
}

// request is what Envoy sends. header has pairs of name and value.
func request(from, method, path string, header ...string) *authv3.CheckRequest {
	fields := map[string]string{":method": method, ":path": path}
	for i := 0; i < len(header); i += 2 {
		name := strings.ToLower(header[i])
		if old, ok := fields[name]; ok {
			fields[name] = old + "," + header[i+1] // as Envoy joins them
			continue
		}
		fields[name] = header[i+1]
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: address(from)},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: method, Path: path, Headers: fields,
		}},
	}}
}

// rawRequest is what Envoy sends with encode_raw_headers.
func rawRequest(from, method, path string, header ...string) *authv3.CheckRequest {
	r := request(from, method, path)
	http := r.Attributes.Request.Http
	http.Headers, http.HeaderMap = nil, &corev3.HeaderMap{}
	for i := 0; i < len(header); i += 2 {
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: header[i], RawValue: []byte(header[i+1])})
	}
	return r
}

func address(text string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: text, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 41000},
	}}}
}

func fields(options []*corev3.HeaderValueOption) map[string]string {
	m := map[string]string{}
	for _, o := range options {
		m[strings.ToLower(o.GetHeader().GetKey())] = o.GetHeader().GetValue()
	}
	return m
}

// The decisions are those of the gateway, in its order, and each is recorded.
func TestCheck(t *testing.T) {
	w := newWorld(t)
	wrong := w.fullKey[:len(w.fullKey)-43] + w.openKey[len(w.openKey)-43:]
	for _, test := range []struct {
		reason, from, method string
		header               []string
		status               int // 0: allowed
		code, keyID          string
		verdict              ipallow.Verdict
	}{
		{"no key", inside, "GET", nil, 401, "UNAUTHENTICATED", "", ipallow.Denied},
		{"a wrong secret", inside, "GET", []string{"Authorization", "Bearer " + wrong}, 401, "UNAUTHENTICATED", "", ipallow.Denied},
		{"two keys in one header", inside, "GET", []string{"Authorization", "Bearer " + w.fullKey, "Authorization", "Bearer " + w.openKey}, 401, "UNAUTHENTICATED", "", ipallow.Denied},
		{"two keys in two headers", inside, "GET", []string{"Authorization", "Bearer " + w.fullKey, "X-API-Key", w.openKey}, 401, "UNAUTHENTICATED", "", ipallow.Denied},
		{"a look-alike", inside, "GET", []string{"x_api_key", w.fullKey}, 401, "UNAUTHENTICATED", "", ipallow.Denied},
		{"scope", inside, "POST", []string{"Authorization", "Bearer " + w.readerKey}, 403, "INSUFFICIENT_SCOPE", w.reader.ID, ipallow.Allowed},
		{"scope before the allowlist", outside, "POST", []string{"Authorization", "Bearer " + w.readerKey}, 403, "INSUFFICIENT_SCOPE", w.reader.ID, ipallow.Denied},
		{"no method", inside, "", []string{"Authorization", "Bearer " + w.readerKey}, 403, "INSUFFICIENT_SCOPE", w.reader.ID, ipallow.Allowed},
		{"another method behind Envoy", inside, "GET", []string{"Authorization", "Bearer " + w.readerKey, "X_HTTP_Method-Override", "DELETE"}, 403, "INSUFFICIENT_SCOPE", w.reader.ID, ipallow.Allowed},
		{"the allowlist", outside, "GET", []string{"X-API-Key", w.readerKey}, 403, "IP_NOT_ALLOWED", w.reader.ID, ipallow.Denied},
		{"a forged header", outside, "GET", []string{"X-API-Key", w.readerKey, "X-Forwarded-For", inside}, 403, "IP_NOT_ALLOWED", w.reader.ID, ipallow.Denied},
		{"no peer", "", "GET", []string{"X-API-Key", w.readerKey}, 403, "IP_NOT_ALLOWED", w.reader.ID, ipallow.Denied},
		{"a tunnel", inside, "CONNECT", []string{"X-API-Key", w.fullKey}, 405, "METHOD_NOT_ALLOWED", w.full.ID, ipallow.Allowed},
		{"served", inside, "GET", []string{"X-API-Key", w.readerKey}, 0, "", w.reader.ID, ipallow.Allowed},
		{"served, IPv6", "2001:db8:1::7", "GET", []string{"X-API-Key", w.readerKey}, 0, "", w.reader.ID, ipallow.Allowed},
		{"no list", outside, "DELETE", []string{"Authorization", "bearer " + w.openKey}, 0, "", w.open.ID, ipallow.Unrestricted},
	} {
		for _, build := range []func(from, method, path string, header ...string) *authv3.CheckRequest{request, rawRequest} {
			t.Run(test.reason, func(t *testing.T) {
				w.events = nil
				response := w.check(build(test.from, test.method, "/v1/things?secret=1", test.header...))
				record := w.record()
				require.Equal(t, test.keyID, record.KeyID)
				require.Equal(t, test.verdict, record.Verdict)
				require.Equal(t, test.verdict == ipallow.Allowed, record.Entry.IsValid() && record.Entry.Contains(record.ClientAddr))
				require.Equal(t, test.method, record.Method)
				require.Equal(t, "/v1/things", record.Path)
				if test.from != "" {
					require.Equal(t, test.from, record.ClientAddr.String())
				}
				require.Len(t, w.events, 1)
				require.Equal(t, gateway.Event{
					Front: gateway.ExtAuthz, Authenticated: test.keyID != "", Verdict: test.verdict,
					Status: record.Status, Duration: w.events[0].Duration,
				}, w.events[0])

				if test.status == 0 {
					ok := response.GetOkResponse()
					require.NotNil(t, ok)
					require.Equal(t, int32(codes.OK), response.GetStatus().GetCode())
					require.Equal(t, 204, record.Status)
					require.Equal(t, map[string]string{
						"x-ipallow-key-id": test.keyID, "x-ipallow-client": test.from, "x-request-id": record.RequestID,
						"x-forwarded-for": test.from, "x-real-ip": test.from,
					}, fields(ok.GetHeaders()))
					require.Equal(t, map[string]string{"x-request-id": record.RequestID}, fields(ok.GetResponseHeadersToAdd()))
					require.Equal(t, []string{strings.ToLower(test.header[0])}, lower(ok.GetHeadersToRemove()))
					for _, o := range ok.GetHeaders() {
						require.Equal(t, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, o.GetAppendAction())
					}
					return
				}
				denied := response.GetDeniedResponse()
				require.NotNil(t, denied)
				require.NotEqual(t, int32(codes.OK), response.GetStatus().GetCode())
				require.Equal(t, test.status, int(denied.GetStatus().GetCode()))
				require.Equal(t, test.status, record.Status)
				require.Contains(t, denied.GetBody(), `"code":"`+test.code+`"`)
				header := fields(denied.GetHeaders())
				require.Equal(t, "application/json; charset=utf-8", header["content-type"])
				require.Equal(t, "no-store", header["cache-control"])
				require.Equal(t, record.RequestID, header["x-request-id"])
				challenged := test.status == 401 || test.code == "INSUFFICIENT_SCOPE"
				require.Equal(t, challenged, strings.HasPrefix(header["www-authenticate"], "Bearer"))
				if test.code == "IP_NOT_ALLOWED" {
					require.Equal(t, deniedBody, denied.GetBody())
				}
			})
		}
	}
}

// Before the first load Envoy is told to answer 503, whatever the key.
func TestNotReady(t *testing.T) {
	w := newWorldOf(t, ipallow.New(&ipallow.Options{DenyUntilLoaded: true}))
	for _, header := range [][]string{nil, {"X-API-Key", w.openKey}, {"X-API-Key", w.fullKey}} {
		response := w.check(request(inside, "GET", "/v1/things", header...))
		require.Equal(t, int32(codes.Unavailable), response.GetStatus().GetCode())
		denied := response.GetDeniedResponse()
		require.EqualValues(t, 503, denied.GetStatus().GetCode())
		require.Contains(t, denied.GetBody(), `"code":"NOT_READY"`)
		require.Equal(t, "1", fields(denied.GetHeaders())["retry-after"])
		require.Equal(t, 503, w.record().Status)
	}
}

// While what is known is too old, Envoy is told what a client of the gateway is.
func TestTooOld(t *testing.T) {
	w := newWorld(t)
	w.stale.Store(true)
	for _, key := range []string{w.openKey, w.fullKey, "ipk_nonsense"} {
		response := w.check(request(inside, "GET", "/v1/things", "X-API-Key", key))
		require.Equal(t, int32(codes.Unavailable), response.GetStatus().GetCode())
		denied := response.GetDeniedResponse()
		require.EqualValues(t, 503, denied.GetStatus().GetCode())
		require.Contains(t, denied.GetBody(), `"code":"NOT_READY"`)
		require.Equal(t, "5", fields(denied.GetHeaders())["retry-after"])
		rec := w.record()
		require.Equal(t, 503, rec.Status)
		require.Equal(t, ipallow.Denied, rec.Verdict)
		require.Equal(t, key != "ipk_nonsense", rec.KeyID != "")
	}
	for _, e := range w.events {
		require.False(t, e.Authenticated)
	}
	require.True(t, w.full.LastUsed().IsZero())
	w.stale.Store(false)
	require.Equal(t, int32(codes.OK), w.check(request(inside, "GET", "/v1/things", "X-API-Key", w.openKey)).GetStatus().GetCode())
}

func lower(names []string) []string {
	for i := range names {
		names[i] = strings.ToLower(names[i])
	}
	slices.Sort(names)
	return names
}

// Behind a load balancer the header counts, and only what the balancer wrote.
func TestBehindABalancer(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		reason, from string
		lines        []string
		want         string // the zero Addr's text: none
	}{
		{"the balancer's element", balancer, []string{inside}, inside},
		{"Envoy has appended the balancer", balancer, []string{inside + ", " + balancer}, inside},
		{"the client's own text to the left", balancer, []string{inside + ", " + outside}, outside},
		{"two lines", balancer, []string{inside, outside + "," + balancer}, outside},
		{"no header", balancer, nil, "invalid IP"},
		{"unreadable", balancer, []string{inside + ", what"}, "invalid IP"},
		{"not the balancer", "10.20.0.2", []string{inside}, "10.20.0.2"},
	} {
		header := []string{"X-API-Key", w.fullKey}
		for _, line := range test.lines {
			header = append(header, "X-Forwarded-For", line)
		}
		for _, r := range []*authv3.CheckRequest{request(test.from, "GET", "/", header...), rawRequest(test.from, "GET", "/", header...)} {
			allowed := w.check(r).GetOkResponse() != nil
			require.Equal(t, test.want, w.record().ClientAddr.String(), test.reason)
			require.Equal(t, test.want == inside, allowed, test.reason)
		}
	}
}

// What a client sends in the gateway's name does not reach the upstream.
func TestOwnHeadersAreRemoved(t *testing.T) {
	w := newWorld(t)
	header := []string{"Authorization", "Bearer " + w.openKey, "X-API-Key", w.openKey, "Cookie", "a=b; ipallow_session=x",
		"x-forwarded-proto", "https", "x-other", "stays", "x-request-id", "forged", "x-ipallow-key-id", "forged",
		"x-ipallow-client", "forged", "x-forwarded-for", "forged, " + outside, "x-real-ip", "forged"}
	want := []string{"authorization", "x-api-key"}
	for _, name := range claims.Table() {
		switch name {
		case "authorization", "x-api-key", "x-request-id":
			continue
		}
		if strings.HasSuffix(name, "-") {
			name += "any"
		}
		header, want = append(header, name, "forged"), append(want, name)
	}
	for _, separator := range "_.~+!#$%&'*^|`" {
		name := strings.ReplaceAll("x-ipallow-key-id", "-", string(separator))
		header, want = append(header, name, "forged"), append(want, name)
	}
	slices.Sort(want)
	for _, build := range []func(from, method, path string, header ...string) *authv3.CheckRequest{request, rawRequest} {
		r := build(outside, "GET", "/", header...)
		ok := w.check(r).GetOkResponse()
		require.Equal(t, want, lower(ok.GetHeadersToRemove()))
		require.Equal(t, map[string]string{
			"x-ipallow-key-id": w.open.ID, "x-ipallow-client": outside, "x-request-id": w.record().RequestID,
			"x-forwarded-for": outside, "x-real-ip": outside, "cookie": "a=b",
		}, fields(ok.GetHeaders()))

		// Where there is no address of the gateway's, the client's claim goes too.
		r.Attributes.Source = nil
		ok = w.check(r).GetOkResponse()
		for _, name := range []string{"x-ipallow-client", "x-forwarded-for", "x-real-ip"} {
			require.Contains(t, ok.GetHeadersToRemove(), name)
			require.NotContains(t, fields(ok.GetHeaders()), name)
		}
	}
	ok := w.check(request(outside, "GET", "/", "X-API-Key", w.openKey, "Cookie", "ipallow_session=x")).GetOkResponse()
	require.Equal(t, []string{"cookie", "x-api-key"}, lower(ok.GetHeadersToRemove()))
}

// What Envoy never sends is refused, and no error leaves it to Envoy to decide.
func TestNothingSaid(t *testing.T) {
	w := newWorld(t)
	for _, r := range []*authv3.CheckRequest{
		{},
		{Attributes: &authv3.AttributeContext{}},
		{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}},
		request("not an address", "GET", "::not a path"),
		rawRequest(inside, "GET", strings.Repeat("/long", 10_000), "authorization", "Bearer \xff\xfe"),
	} {
		require.EqualValues(t, 401, w.check(r).GetDeniedResponse().GetStatus().GetCode(), "%.200s", fmt.Sprint(r))
	}
}

// A peer on a unix socket is not trusted, as the Source says.
func TestUnixPeer(t *testing.T) {
	w := newWorld(t)
	r := request("", "GET", "/", "X-API-Key", w.fullKey, "X-Forwarded-For", inside)
	r.Attributes.Source.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "@" + inside + ":80"}}}
	require.Equal(t, deniedBody, w.check(r).GetDeniedResponse().GetBody())
}

// A key that is refused is not marked as used.
func TestMarks(t *testing.T) {
	w := newWorld(t)
	w.check(request(outside, "GET", "/", "X-API-Key", w.fullKey))
	require.True(t, w.full.LastUsed().IsZero())
	w.check(request(inside, "GET", "/", "X-API-Key", w.fullKey))
	require.False(t, w.full.LastUsed().IsZero())
	w.ring.Remove(w.full.ID)
	require.EqualValues(t, 401, w.check(request(inside, "GET", "/", "X-API-Key", w.fullKey)).GetDeniedResponse().GetStatus().GetCode())
}
