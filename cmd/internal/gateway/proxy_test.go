package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/claims"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
)

// What the upstream sees is what the gateway vouches for, whatever was sent.
func TestUpstreamHeader(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, nil)
	got := raw(t, w.addr, inside, "GET /v1/things HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer "+w.full.token+"\r\nX-API-Key: "+w.full.token+
		"\r\nAccept: text/plain\r\nCookie: a=b\r\nX-Mine: one\r\nX-Mine: two\r\nIf_Match: forged\r\nConnection: close\r\n"+
		forgedLines()+"X_API_KEY: "+w.open.token+"\r\n\r\n")
	require.Len(t, got, 1)
	require.Equal(t, 200, got[0].status)
	require.Equal(t, "hello", got[0].body)

	r := up.last(t)
	id := got[0].header.Get("X-Request-Id")
	require.Equal(t, http.Header{
		"Accept": {"text/plain"}, "Cookie": {"a=b"}, "X-Mine": {"one", "two"},
		"X-Forwarded-For": {inside}, "X-Real-Ip": {inside}, "X-Ipallow-Client": {inside}, "X-Ipallow-Key-Id": {w.full.ID},
		"X-Forwarded-Host": {"api.example"}, "X-Forwarded-Proto": {"http"}, "X-Request-Id": {id},
	}, r.Header)
	require.Equal(t, strings.TrimPrefix(up.url, "http://"), r.Host)
	require.NotContains(t, up.bytes.String(), "forged")
	require.Equal(t, "/v1/things", w.record(id).Path)
}

// separators are what a careless reader of names takes for hyphens: every character
// of a token (RFC 9110, section 5.6.2) that is no letter and no digit.
const separators = "_.~+!#$%&'*^|`"

// forgedLines has every name that must not pass, and the most important ones with
// each separator in the place of one or of all hyphens.
func forgedLines() string {
	var lines strings.Builder
	for _, name := range claims.Table() {
		if strings.HasSuffix(name, "-") {
			name += "user"
		}
		switch name {
		case "authorization", "x-api-key": // tested by TestCredentials
			continue
		}
		fmt.Fprintf(&lines, "%s: forged\r\n%s: forged\r\n", name, strings.ToUpper(name))
	}
	for _, name := range []string{"X-Ipallow-Key-Id", "X-Forwarded-For", "X-Real-IP", "Remote-User", "Content-Length", "Transfer-Encoding", "Content-Type"} {
		for _, separator := range separators {
			fmt.Fprintf(&lines, "%s: forged\r\n%s: forged\r\n",
				strings.ReplaceAll(name, "-", string(separator)), strings.Replace(name, "-", string(separator), 1))
		}
	}
	return lines.String()
}

// The same over HTTP/2, with trailers, and where Connection names what is forged.
func TestUpstreamHeaderHTTP2(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, nil)
	server := httptest.NewUnstartedServer(w.gate)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	client := server.Client()
	client.Transport.(*http.Transport).DialContext = dialer(inside).DialContext
	req, err := http.NewRequest("POST", server.URL+"/v1/things", strings.NewReader("body"))
	require.NoError(t, err)
	for line := range strings.SplitSeq(strings.TrimSpace(forgedLines()), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		if name == strings.ToLower(name) && !strings.HasPrefix(name, "proxy-") {
			req.Header[name] = []string{value}
		}
	}
	req.Header["x.ipallow.key.id"] = []string{"forged"}
	req.Header["Cookie"] = []string{"a=b; ipallow_session=forged"}
	req.Header["X-Api-Key"], req.Header["Accept"] = []string{w.full.token}, []string{"text/plain"}
	req.Trailer = http.Header{"x.ipallow.key.id": {"forged"}, "X-Ipallow-Key-Id": {"forged"}, "X-Other": {"forged"}}
	req.ContentLength = -1
	res, err := client.Do(req)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 2, res.ProtoMajor)
	require.Equal(t, 200, res.StatusCode)
	h := up.last(t).Header
	require.Equal(t, []string{w.full.ID}, h["X-Ipallow-Key-Id"])
	require.Equal(t, []string{"a=b"}, h["Cookie"])
	require.Equal(t, []string{"text/plain"}, h["Accept"])
	require.NotContains(t, up.bytes.String(), "forged")

	for _, separator := range separators {
		name := strings.ReplaceAll("X-Ipallow-Key-Id", "-", string(separator))
		got := raw(t, w.addr, inside, "POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: "+w.full.token+"\r\nConnection: close, "+name+", X-Ipallow-Key-Id\r\n"+
			name+": forged\r\nTransfer-Encoding: chunked\r\nTrailer: "+name+"\r\n\r\n1\r\na\r\n0\r\n"+name+": forged\r\n\r\n")
		require.Equal(t, 200, got[0].status, name)
		require.Equal(t, []string{w.full.ID}, up.last(t).Header["X-Ipallow-Key-Id"])
	}
	require.NotContains(t, up.bytes.String(), "forged")
}

// The session of the settings page stays here. Browsers send cookies to every port
// of a host.
func TestSessionCookieIsRemoved(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, nil)
	for lines, want := range map[string][]string{
		"Cookie: a=b; ipallow_session=forged; c=d\r\n":                         {"a=b; c=d"},
		"Cookie: ipallow_session=forged\r\n":                                   nil,
		"Cookie: __Host-ipallow_session=forged; a=\"x y\"\r\n":                 {"a=\"x y\""},
		"Cookie: ipallow_session=forged\r\ncookie: a=b\r\nCOOKIE: c\r\n":       {"a=b", "c"},
		"Cookie: a=b;; c\r\nCookie: a=b; ipallow_sessions=1\r\n":               {"a=b;; c", "a=b; ipallow_sessions=1"},
		"Cookie: a=b\r\nConnection: close, ipallow_session\r\n":                {"a=b"},
		"Cookie: a=b; ipallow_session=forged\r\nConnection: close, Cookie\r\n": nil,
	} {
		got := raw(t, w.addr, inside, "GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: "+w.full.token+"\r\n"+lines+"Connection: close\r\n\r\n")
		require.Equal(t, 200, got[0].status, lines)
		require.Equal(t, want, up.last(t).Header["Cookie"], lines)
	}
	require.NotContains(t, up.bytes.String(), "forged")
}

// Headers that Connection names are removed before the gateway sets its own.
func TestConnectionCannotRemove(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, nil)
	raw(t, w.addr, inside, "GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: "+w.full.token+
		"\r\nConnection: close, X-Forwarded-For, X-Ipallow-Key-Id, X-Ipallow-Client, X-Real-IP, X-API-Key\r\n\r\n")
	require.Equal(t, w.full.ID, up.last(t).Header.Get("X-Ipallow-Key-Id"))
	require.Equal(t, inside, up.last(t).Header.Get("X-Forwarded-For"))
	require.Equal(t, 401, raw(t, w.addr, inside, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-API-Key\r\n\r\n")[0].status)
}

// Behind a trusted proxy its word on host and protocol is passed on, and the
// client's address is the one that was found, not the chain.
func TestUpstreamHeaderBehindProxy(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, trusting(t))
	header := []string{"X-API-Key", w.full.token, "X-Forwarded-For", outside + ", " + inside, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "public.example"}
	require.Equal(t, 200, w.do(trusted, "GET", "/", header...).status)
	r := up.last(t)
	require.Equal(t, []string{inside}, r.Header["X-Forwarded-For"])
	require.Equal(t, []string{"https"}, r.Header["X-Forwarded-Proto"])
	require.Equal(t, []string{"public.example"}, r.Header["X-Forwarded-Host"])

	require.Equal(t, 200, w.do(inside, "GET", "/", header...).status, "not the proxy")
	r = up.last(t)
	require.Equal(t, []string{inside}, r.Header["X-Forwarded-For"])
	require.Equal(t, []string{"http"}, r.Header["X-Forwarded-Proto"])
	require.Equal(t, []string{w.addr}, r.Header["X-Forwarded-Host"])

	require.Equal(t, 200, w.do(trusted, "GET", "/", "X-API-Key", w.open.token, "X-Forwarded-Proto", "gopher", "X-Forwarded-Host", "a, b").status)
	r = up.last(t)
	require.Equal(t, []string{"http"}, r.Header["X-Forwarded-Proto"])
	require.Equal(t, []string{w.addr}, r.Header["X-Forwarded-Host"])
	require.NotContains(t, r.Header, "X-Forwarded-For", "no address was found, and none is claimed")
	require.NotContains(t, r.Header, "X-Ipallow-Client")

	// Port and prefix pass from a trusted peer, and from nobody else; of several
	// schemes counts the one of the proxy that the client reached.
	more := []string{"X-API-Key", w.full.token, "X-Forwarded-For", outside + ", " + inside + ", " + trusted, "X-Forwarded-Proto", "http, WSS, http",
		"X-Forwarded-Port", "8443", "X-Forwarded-Prefix", "/public"}
	require.Equal(t, 200, w.do(trusted, "GET", "/", more...).status)
	r = up.last(t)
	require.Equal(t, []string{"https"}, r.Header["X-Forwarded-Proto"])
	require.Equal(t, []string{"8443"}, r.Header["X-Forwarded-Port"])
	require.Equal(t, []string{"/public"}, r.Header["X-Forwarded-Prefix"])
	require.Equal(t, 200, w.do(inside, "GET", "/", more...).status)
	r = up.last(t)
	require.Equal(t, []string{"http"}, r.Header["X-Forwarded-Proto"])
	require.NotContains(t, r.Header, "X-Forwarded-Port")
	require.NotContains(t, r.Header, "X-Forwarded-Prefix")
}

// Where the client's address comes from another header, nobody but the client need have
// written X-Forwarded-For, and it says nothing about which scheme counts.
func TestSchemeWithoutChain(t *testing.T) {
	for mode, header := range map[clientip.Mode]string{clientip.Forwarded: "for=" + inside, clientip.SingleHeader: inside} {
		up := newUpstream(t, nil)
		source, err := clientip.New(&clientip.Options{
			Mode: mode, Header: map[clientip.Mode]string{clientip.SingleHeader: "X-Real-Ip"}[mode],
			TrustedProxies: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(trusted), 32)},
		})
		require.NoError(t, err)
		w := up.behind(t, func(o *gateway.Options) { o.Source = source })
		for _, chain := range []string{inside + ", " + outside, inside, outside + ", " + trusted} {
			require.Equal(t, 200, w.do(trusted, "GET", "/", "X-API-Key", w.full.token, source.Header(), header,
				"X-Forwarded-For", chain, "X-Forwarded-Proto", "https, http").status)
			r := up.last(t)
			require.Equal(t, []string{"http"}, r.Header["X-Forwarded-Proto"], chain)
			require.Equal(t, []string{inside}, r.Header["X-Forwarded-For"])
		}
	}
}

func TestPreserveHost(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, func(o *gateway.Options) { o.PreserveHost = true })
	raw(t, w.addr, inside, "GET / HTTP/1.1\r\nHost: api.example:8443\r\nConnection: close\r\nX-API-Key: "+w.full.token+"\r\n\r\n")
	require.Equal(t, "api.example:8443", up.last(t).Host)
}

// Paths and queries pass as they came, below the upstream's own path. Those that
// could leave it do not pass.
func TestUpstreamPaths(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, func(o *gateway.Options) { o.Upstream = parse(t, up.url+"/base") })
	for target, want := range map[string]string{
		"/":                          "/base/",
		"/v1/things":                 "/base/v1/things",
		"/v1/a%2Fb":                  "/base/v1/a%2Fb",
		"//v1//things/":              "/base//v1//things/",
		"/v1/a%20b%3Fc":              "/base/v1/a%20b%3Fc",
		"/v1?a=1;b=2&c=%zz&d":        "/base/v1?a=1;b=2&c=%zz&d",
		"/v1?next=/../..":            "/base/v1?next=/../..",
		"/v1/...":                    "/base/v1/...",
		"/v1/..a/a../.well-known/x.": "/base/v1/..a/a../.well-known/x.",
		"/v1/%2e%2e%2e":              "/base/v1/%2e%2e%2e",
		"/v1/%E2%82%AC%00":           "/base/v1/%E2%82%AC%00",
	} {
		got := raw(t, w.addr, inside, "GET "+target+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: "+w.full.token+"\r\n\r\n")
		require.Equal(t, 200, got[0].status, target)
		require.Equal(t, want, up.last(t).RequestURI)
	}
	before := len(up.requests())
	for _, target := range []string{
		"/..", "/.", "/../admin", "/v1/../../admin", "/v1/./x", "/v1/..", "/v1/.", "/%2e%2e/admin", "/%2E%2e/admin", "/.%2e/admin",
		"/v1/%2e./admin", "/..%2fadmin", "/v1%2f..%2f..%2fadmin", `/..\admin`, "/..%5cadmin", "/%5c../admin", "/..;/admin", "/..;a=b/admin",
		"/.;/admin", "/%252e%252e/admin", "/v1/%252e%252e", "/%252e./admin", "/..%3B/admin", "/..%253B/admin", "/..%252fadmin", "/%252e%252e%255cadmin",
	} {
		got := raw(t, w.addr, inside, "GET "+target+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: "+w.full.token+"\r\n\r\n")
		require.Equal(t, 400, got[0].status, target)
		require.Equal(t, "BAD_REQUEST", code(got[0].body), target)
		require.Equal(t, 400, w.record(got[0].header.Get("X-Request-Id")).Status, target)
	}
	require.Len(t, up.requests(), before, "none of these reached the upstream")
}

// What is refused does not reach the upstream.
func TestRefusedStaysOutside(t *testing.T) {
	up := newUpstream(t, nil)
	w := up.behind(t, nil)
	for _, a := range []answer{
		w.do(inside, "GET", "/"),
		w.do(inside, "GET", "/", "X-API-Key", w.revoked.token),
		w.do(inside, "POST", "/", "X-API-Key", w.reader.token),
		w.do(outside, "GET", "/", "X-API-Key", w.full.token),
		w.do(inside, "TRACE", "/", "X-API-Key", w.full.token),
		raw(t, w.addr, inside, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\nX-API-Key: "+w.full.token+"\r\n\r\n")[0],
		raw(t, w.addr, inside, "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: "+w.full.token+"\r\n\r\n")[0],
		raw(t, w.addr, inside, "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: "+w.full.token+"\r\n\r\n")[0],
	} {
		require.GreaterOrEqual(t, a.status, 400)
	}
	require.Empty(t, up.requests())
	require.Empty(t, up.bytes.String())
}

// Bodies, statuses and headers pass both ways.
func TestUpstreamExchange(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Request-Id", "the upstream's own")
		w.Header().Set("X-Answer", r.Method)
		w.Header().Set("Keep-Alive", "timeout=5")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(body)
	})
	w := up.behind(t, nil)
	long := strings.Repeat("0123456789", 100_000)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
		for _, body := range []io.Reader{nil, strings.NewReader(long), io.MultiReader(strings.NewReader(long))} { // none, with a length, chunked
			req, err := http.NewRequest(method, "http://"+w.addr+"/v1/things", body)
			require.NoError(t, err)
			req.Header.Set("Authorization", bearer(w.full))
			a := send(t, inside, req)
			require.Equal(t, http.StatusTeapot, a.status)
			require.Equal(t, method, a.header.Get("X-Answer"))
			require.Empty(t, a.header.Get("Keep-Alive"))
			if body != nil && method != "HEAD" {
				require.Equal(t, long, a.body)
			}
			require.Len(t, a.header["X-Request-Id"], 1)
			r := w.record(a.header.Get("X-Request-Id"))
			require.Equal(t, http.StatusTeapot, r.Status)
			require.Equal(t, method, r.Method)
		}
	}
}

// Trailers of a request do not pass: some servers take them for headers.
func TestRequestTrailers(t *testing.T) {
	var trailer http.Header
	up := newUpstream(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		trailer = r.Trailer.Clone()
	})
	w := up.behind(t, nil)
	got := raw(t, w.addr, inside, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: "+w.full.token+
		"\r\nTransfer-Encoding: chunked\r\nTrailer: X-Ipallow-Key-Id, X-Other\r\n\r\n1\r\na\r\n0\r\nX-Ipallow-Key-Id: forged\r\nX-Other: forged\r\n\r\n")
	require.Equal(t, 200, got[0].status)
	require.Empty(t, trailer)
	require.NotContains(t, up.bytes.String(), "forged")
}

// A response is passed on as it is made: its first event before its last, its
// informational headers before its status.
func TestStreaming(t *testing.T) {
	more := make(chan struct{})
	up := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, "data: 2\n\n")
	})
	w := up.behind(t, nil)
	req, err := http.NewRequest("GET", "http://"+w.addr+"/events", nil)
	require.NoError(t, err)
	req.Header.Set("X-API-Key", w.full.token)
	transport := &http.Transport{DialContext: dialer(inside).DialContext}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	require.NoError(t, err)
	defer res.Body.Close()
	first := make([]byte, len("data: 1\n\n"))
	_, err = io.ReadFull(res.Body, first)
	require.NoError(t, err)
	require.Equal(t, "data: 1\n\n", string(first))
	require.Len(t, res.Header["X-Request-Id"], 1, "also after the early hints")
	require.Empty(t, w.records(), "it has not been answered yet")
	close(more)
	rest, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "data: 2\n\n", string(rest))
	require.Equal(t, 200, w.record(res.Header.Get("X-Request-Id")).Status)
}

// Requests do not mix when there are many.
func TestManyAtOnce(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
		_, _ = io.WriteString(w, " "+r.Header.Get("X-Ipallow-Key-Id")+" "+r.Header.Get("X-Request-Id"))
	})
	w := up.behind(t, nil)
	var all sync.WaitGroup
	for i := range 8 {
		k := []testKey{w.full, w.open, w.writer}[i%3]
		all.Go(func() {
			for j := range 20 {
				req, _ := http.NewRequest("POST", "http://"+w.addr+"/", strings.NewReader(fmt.Sprint(i, j)))
				req.Header.Set("X-API-Key", k.token)
				a := send(t, inside, req)
				if want := fmt.Sprint(i, j) + " " + k.ID + " " + a.header.Get("X-Request-Id"); a.body != want {
					t.Errorf("got %q, want %q", a.body, want)
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, 8*20, len(w.records()))
}
