package clientip

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The zero Source, the nil *Source and New(nil) take the TCP peer.
func TestZeroSource(t *testing.T) {
	made, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "203.0.113.9:41000"
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", ""} {
		r.Header[http.CanonicalHeaderKey(name)] = []string{"6.6.6.6"}
	}
	want := Result{netip.MustParseAddr("203.0.113.9"), Found}
	for name, src := range map[string]*Source{"nil": nil, "zero": {}, "New(nil)": made} {
		if got := src.FromRequest(r); got != want {
			t.Errorf("%s: FromRequest: %v", name, got)
		}
		if got := src.From(r.RemoteAddr, r.Header); got != want {
			t.Errorf("%s: From: %v", name, got)
		}
		if got := src.FromValues(r.RemoteAddr, []string{"6.6.6.6"}); got != want {
			t.Errorf("%s: FromValues: %v", name, got)
		}
		if got := src.From("@", nil); got != (Result{Reason: PeerWithoutAddress}) {
			t.Errorf("%s: unix socket: %v", name, got)
		}
	}
}

func TestResult(t *testing.T) {
	var zero Result
	if zero.OK() || zero.Addr.IsValid() || zero.Reason != Unset || zero.String() != "none (unset)" {
		t.Errorf("zero Result: %v", zero)
	}
	if r := (Result{Reason: Found}); r.OK() {
		t.Errorf("a Result without an address is OK: %v", r)
	}
	if r := (Result{Addr: netip.MustParseAddr("::1")}); r.OK() {
		t.Errorf("a Result that was not found is OK: %v", r)
	}
	if got := FromPeer("[::1]:80").String(); got != "::1" {
		t.Errorf("got %q", got)
	}
	seen := map[string]bool{}
	for r := range numReasons {
		if s := r.String(); s == "" || s == "invalid" || seen[s] {
			t.Errorf("reason %d is %q", r, s)
		}
		seen[r.String()] = true
	}
	if numReasons.String() != "invalid" {
		t.Errorf("a reason out of range is %q", numReasons)
	}
}

// A header is found under its canonical name only, as net/http keeps it.
func TestFromNeedsCanonicalKeys(t *testing.T) {
	src := mustNew(t, Options{Mode: XForwardedFor, TrustedProxies: testProxies})
	got := src.From("10.0.0.1:1", http.Header{"x-forwarded-for": {"203.0.113.9"}})
	if got != (Result{Reason: HeaderMissing}) {
		t.Errorf("got %v", got)
	}
	got = src.From("10.0.0.1:1", http.Header{"X-Forwarded-For": {}})
	if got != (Result{Reason: HeaderMissing}) {
		t.Errorf("no values: got %v", got)
	}
}

// whoami answers with the client's address.
func whoami(src *Source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, src.FromRequest(r))
	})
}

// TestThroughReverseProxy sends forged headers through a real proxy, and past
// it.
func TestThroughReverseProxy(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	byHops := httptest.NewServer(whoami(mustNew(t, Options{Mode: XForwardedFor, TrustedProxies: loopback, TrustedHops: 1})))
	defer byHops.Close()
	direct := httptest.NewServer(whoami(mustNew(t, Options{Mode: XForwardedFor, TrustedProxies: testProxies})))
	defer direct.Close()

	target, err := url.Parse(byHops.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(httputil.NewSingleHostReverseProxy(target))
	defer proxy.Close()

	for _, test := range []struct {
		reason, url string
		header      http.Header
		want        string
	}{
		{"through the proxy", proxy.URL, nil, "127.0.0.1"},
		{"forged list", proxy.URL, http.Header{"X-Forwarded-For": {"6.6.6.6, 7.7.7.7"}}, "127.0.0.1"},
		{"forged lines", proxy.URL, http.Header{"X-Forwarded-For": {"6.6.6.6", "", "7.7.7.7"}}, "127.0.0.1"},
		{"look-alike", proxy.URL, http.Header{"X_Forwarded_For": {"6.6.6.6"}}, "127.0.0.1"},
		{"hop-by-hop: the header that arrives is the proxy's own", proxy.URL,
			http.Header{"X-Forwarded-For": {"6.6.6.6"}, "Connection": {"X-Forwarded-For"}}, "127.0.0.1"},
		{"too many elements", proxy.URL, http.Header{"X-Forwarded-For": {strings.Repeat("6.6.6.6,", 32)}}, "none (too_many_elements)"},
		{"past the proxy, which is not trusted here", direct.URL, http.Header{"X-Forwarded-For": {"6.6.6.6"}}, "127.0.0.1"},
	} {
		req, err := http.NewRequest("GET", test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range test.header {
			req.Header[name] = values
		}
		if got := send(t, http.DefaultClient, req); got != test.want {
			t.Errorf("%s: got %s, want %s", test.reason, got, test.want)
		}
	}
}

// send returns the answer's text.
func send(t *testing.T, client *http.Client, req *http.Request) string {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	line, _ := bufio.NewReader(resp.Body).ReadString('\n')
	return line
}

// TestUnixSocket connects from sockets with names that look like addresses.
func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, test := range map[string]struct {
		src  *Source
		want string
	}{
		"peer.sock":      {nil, "none (peer_without_address)"},
		"untrusted.sock": {mustNew(t, Options{Mode: XForwardedFor, TrustedProxies: testProxies}), "none (peer_without_address)"},
		"trusted.sock":   {mustNew(t, Options{Mode: XForwardedFor, TrustUnixPeer: true}), "203.0.113.9"},
	} {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: whoami(test.src)}}
		srv.Start()
		for i, local := range []string{"", "10.0.0.1:80", "198.51.100.7:80", "[2001:db8::7]:80"} {
			var laddr *net.UnixAddr
			if local != "" {
				laddr = &net.UnixAddr{Net: "unix", Name: local}
			}
			conn, err := net.DialUnix("unix", laddr, &net.UnixAddr{Net: "unix", Name: name})
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Transport: &http.Transport{
				DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
				DisableKeepAlives: true,
			}}
			req, err := http.NewRequest("GET", "http://server/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Forwarded-For", "6.6.6.6, 203.0.113.9")
			if got := send(t, client, req); got != test.want {
				t.Errorf("%s, client %d bound to %q: got %s, want %s", name, i, local, got, test.want)
			}
		}
		srv.Close()
		removeAll(t, "10.0.0.1:80", "198.51.100.7:80", "[2001:db8::7]:80")
	}
}

func TestNoAllocs(t *testing.T) {
	for _, c := range commonPaths {
		src := mustNew(t, c.opts)
		header := http.Header{src.Header(): c.lines}
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Header = c.peer, header
		if got := src.FromRequest(r).String(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		peer, values := addrPort(t, c.peer), byteValues(c.lines)
		for name, f := range map[string]func(){
			"FromRequest":  func() { src.FromRequest(r) },
			"From":         func() { src.From(c.peer, header) },
			"FromValues":   func() { src.FromValues(c.peer, c.lines) },
			"FromAddrPort": func() { src.FromAddrPort(peer, values) },
		} {
			if n := testing.AllocsPerRun(100, f); n != 0 {
				t.Errorf("%s: %s: %v allocations", c.name, name, n)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { FromPeer("[2001:db8::9]:41000") }); n != 0 {
		t.Errorf("FromPeer: %v allocations", n)
	}
}

// removeAll removes files of the working directory.
func removeAll(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// A zone is what the system calls an interface, and is text.
func TestZonesOfPeers(t *testing.T) {
	for peer, want := range map[string]Reason{
		"[fe80::1%Ethernet 2]:443":                 Found,
		"[fe80::1%vEthernet (Default Switch)]:443": Found,
		"[fe80::1%\ufffd]:443":                     Found,
		"[fe80::1%\xff]:443":                       PeerUnreadable,
		"[fe80::1%a\xe2\x82]:443":                  PeerUnreadable,
		"fe80::1%\xff":                             PeerUnreadable,
		"[fe80::1%]:443":                           PeerUnreadable,
		"[fe80::1% ]:443":                          Found,
	} {
		if got := FromPeer(peer).Reason; got != want {
			t.Errorf("FromPeer(%q) is %v, want %v", peer, got, want)
		}
	}
}
