package httpallow_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/httpallow"
)

func TestDecisions(t *testing.T) {
	loaded := newEngine(t, nil)
	waiting := newEngine(t, &ipallow.Options{DenyUntilLoaded: true})
	always := func(string) bool { return true }
	never := func(string) bool { return false }
	tooLong := strings.Repeat("k", ipallow.MaxKeyLen+1)
	proxied := httpallow.Options{Source: proxySource(t)}
	for _, test := range []struct {
		reason  string
		engine  *ipallow.Engine
		opts    httpallow.Options
		peer    string
		forward string // X-Forwarded-For
		key     string
		verdict ipallow.Verdict
		outcome httpallow.Outcome
		status  int
	}{
		{reason: "on the list", peer: inside, key: restricted, verdict: ipallow.Allowed, outcome: httpallow.Served, status: 204},
		{reason: "IPv6 on the list", peer: "[2001:db8:1::9]:1", key: restricted, verdict: ipallow.Allowed, outcome: httpallow.Served, status: 204},
		{reason: "IPv4-mapped is IPv4", peer: "[::ffff:203.0.113.5]:1", key: restricted, verdict: ipallow.Allowed, outcome: httpallow.Served, status: 204},
		{reason: "not on the list", peer: outside, key: restricted, outcome: httpallow.Refused, status: 403},
		{reason: "IPv6 beside the list", peer: "[2001:db8:2::9]:1", key: restricted, outcome: httpallow.Refused, status: 403},
		{reason: "no list", peer: outside, key: unrestricted, verdict: ipallow.Unrestricted, outcome: httpallow.Served, status: 204},
		{reason: "no address closes a list", peer: "garbage", key: restricted, outcome: httpallow.Refused, status: 403},
		{reason: "no address opens nothing where no list is", peer: "garbage", key: unrestricted, verdict: ipallow.Unrestricted, outcome: httpallow.Served, status: 204},
		{reason: "a unix socket has no address", peer: "@", key: restricted, outcome: httpallow.Refused, status: 403},
		{reason: "an empty peer has no address", peer: "", key: restricted, outcome: httpallow.Refused, status: 403},
		{reason: "no key, on the list", peer: inside, outcome: httpallow.NoKey, status: 401},
		{reason: "no key, no address", peer: "garbage", outcome: httpallow.NoKey, status: 401},
		{reason: "an empty key is none", peer: outside, opts: httpallow.Options{Key: func(*http.Request) (string, bool) { return "", true }}, outcome: httpallow.NoKey, status: 401},
		{reason: "a key that is not ok is none", peer: inside, opts: httpallow.Options{Key: func(*http.Request) (string, bool) { return restricted, false }}, outcome: httpallow.NoKey, status: 401},
		{reason: "no key passes where asked for", peer: outside, opts: httpallow.Options{PassUnauthenticated: true}, outcome: httpallow.Passed, status: 204},
		{reason: "a list holds where no key passes", peer: outside, key: restricted, opts: httpallow.Options{PassUnauthenticated: true}, outcome: httpallow.Refused, status: 403},
		{reason: "a peer's header is not read by default", peer: outside, forward: "203.0.113.5", key: restricted, outcome: httpallow.Refused, status: 403},
		{reason: "an allowed peer cannot lose its place by a header", peer: inside, forward: "198.51.100.7", key: restricted, verdict: ipallow.Allowed, outcome: httpallow.Served, status: 204},
		{reason: "behind a proxy", peer: "10.20.0.1:1", forward: "203.0.113.5", opts: proxied, key: restricted, verdict: ipallow.Allowed, outcome: httpallow.Served, status: 204},
		{reason: "behind a proxy, forged to the left", peer: "10.20.0.1:1", forward: "203.0.113.5, 198.51.100.7", opts: proxied, key: restricted, outcome: httpallow.Refused, status: 403},
		{reason: "past the proxy", peer: outside, forward: "203.0.113.5", opts: proxied, key: restricted, outcome: httpallow.Refused, status: 403},
		{reason: "a proxy without header", peer: "10.20.0.1:1", opts: proxied, key: restricted, outcome: httpallow.Refused, status: 403},
		{reason: "a proxy without header, no list", peer: "10.20.0.1:1", opts: proxied, key: unrestricted, verdict: ipallow.Unrestricted, outcome: httpallow.Served, status: 204},
		{reason: "nothing is served before the first load", engine: waiting, peer: inside, key: restricted, outcome: httpallow.NotReady, status: 503},
		{reason: "no key is open before the first load", engine: waiting, peer: inside, key: unrestricted, outcome: httpallow.NotReady, status: 503},
		{reason: "no address before the first load", engine: waiting, peer: "garbage", key: restricted, outcome: httpallow.NotReady, status: 503},
		{reason: "a key too long to have a list, before the first load", engine: waiting, peer: inside, key: tooLong, outcome: httpallow.NotReady, status: 503},
		{reason: "report-only serves nothing before the first load", engine: waiting, peer: inside, key: unrestricted, opts: httpallow.Options{ReportOnly: true}, outcome: httpallow.NotReady, status: 503},
		{reason: "report-only of this key serves nothing before the first load", engine: waiting, peer: inside, key: restricted, opts: httpallow.Options{ReportOnlyKey: always}, outcome: httpallow.NotReady, status: 503},
		{reason: "authentication is asked before the engine's state", engine: waiting, peer: inside, outcome: httpallow.NoKey, status: 401},
		{reason: "no key passes where asked for, before the first load", engine: waiting, peer: inside, opts: httpallow.Options{PassUnauthenticated: true}, outcome: httpallow.Passed, status: 204},
		{reason: "the zero engine waits", engine: new(ipallow.Engine), peer: inside, key: unrestricted, outcome: httpallow.NotReady, status: 503},
		{reason: "report-only serves", peer: outside, key: restricted, opts: httpallow.Options{ReportOnly: true}, outcome: httpallow.Reported, status: 204},
		{reason: "report-only serves without an address", peer: "garbage", key: restricted, opts: httpallow.Options{ReportOnly: true}, outcome: httpallow.Reported, status: 204},
		{reason: "report-only is no authentication", peer: outside, opts: httpallow.Options{ReportOnly: true}, outcome: httpallow.NoKey, status: 401},
		{reason: "report-only has nothing to report", peer: inside, key: restricted, opts: httpallow.Options{ReportOnly: true}, verdict: ipallow.Allowed, outcome: httpallow.Served, status: 204},
		{reason: "report-only of this key", peer: outside, key: restricted, opts: httpallow.Options{ReportOnlyKey: always}, outcome: httpallow.Reported, status: 204},
		{reason: "report-only of another key", peer: outside, key: restricted, opts: httpallow.Options{ReportOnlyKey: never}, outcome: httpallow.Refused, status: 403},
		{reason: "report-only of all goes first", peer: outside, key: restricted, opts: httpallow.Options{ReportOnly: true, ReportOnlyKey: never}, outcome: httpallow.Reported, status: 204},
	} {
		t.Run(test.reason, func(t *testing.T) {
			var observed []httpallow.Decision
			test.opts.Observe = func(_ *http.Request, d httpallow.Decision) { observed = append(observed, d) }
			if test.engine == nil {
				test.engine = loaded
			}
			m := newMiddleware(t, test.engine, test.opts)
			r := request("GET", test.peer, test.key)
			if test.forward != "" {
				r.Header.Set("X-Forwarded-For", test.forward)
			}

			d := m.Check(r)
			require.Equal(t, test.verdict, d.Verdict)
			require.Equal(t, test.outcome, d.Outcome)
			require.Equal(t, test.key, d.Key)
			require.Equal(t, test.status == 204, d.OK())
			require.Equal(t, test.opts.Source.FromRequest(r), d.Client)
			require.Empty(t, observed, "Check told the observer")

			next := &counter{}
			w := httptest.NewRecorder()
			m.Handler(next).ServeHTTP(w, r)
			require.Equal(t, test.status, w.Code)
			require.Equal(t, d.OK(), next.calls == 1)
			require.Equal(t, []httpallow.Decision{d}, observed)
		})
	}
}

func TestReportOnlyKeyIsAskedOnlyOfRefusals(t *testing.T) {
	var asked []string
	m := newMiddleware(t, newEngine(t, nil), httpallow.Options{ReportOnlyKey: func(key string) bool {
		asked = append(asked, key)
		return true
	}})
	for _, r := range []*http.Request{
		request("GET", inside, restricted), request("GET", outside, unrestricted), request("GET", outside, ""),
	} {
		require.NotEqual(t, httpallow.Reported, m.Check(r).Outcome)
	}
	require.Empty(t, asked)
	require.Equal(t, httpallow.Reported, m.Check(request("GET", outside, restricted)).Outcome)
	require.Equal(t, []string{restricted}, asked)
}

// The change of a list is in force for the next request.
func TestListsChange(t *testing.T) {
	engine := newEngine(t, nil)
	m := newMiddleware(t, engine, httpallow.Options{})
	r := request("GET", outside, restricted)
	require.Equal(t, httpallow.Refused, m.Check(r).Outcome)
	entries, err := engine.Policy().ParseList([]string{"198.51.100.7"})
	require.NoError(t, err)
	require.NoError(t, engine.Set(restricted, entries))
	require.Equal(t, ipallow.Allowed, m.Check(r).Verdict)
	engine.Delete(restricted)
	require.Equal(t, ipallow.Unrestricted, m.Check(r).Verdict)
}

func TestNewFaults(t *testing.T) {
	engine := ipallow.New(nil)
	key := httpallow.KeyFromContext
	for _, test := range []struct {
		reason string
		engine *ipallow.Engine
		opts   *httpallow.Options
		want   []error
	}{
		{"nothing at all", nil, nil, []error{ipallow.ErrNoEngine, httpallow.ErrNoKeyFunc}},
		{"no engine", nil, &httpallow.Options{Key: key}, []error{ipallow.ErrNoEngine}},
		{"no options", engine, nil, []error{httpallow.ErrNoKeyFunc}},
		{"no key function", engine, &httpallow.Options{}, []error{httpallow.ErrNoKeyFunc}},
		{"a handler that is never reached", engine, &httpallow.Options{Key: key, PassUnauthenticated: true, Unauthenticated: http.NotFoundHandler()}, []error{httpallow.ErrUnauthenticated}},
		{"everything", nil, &httpallow.Options{PassUnauthenticated: true, Unauthenticated: http.NotFoundHandler()}, []error{ipallow.ErrNoEngine, httpallow.ErrNoKeyFunc, httpallow.ErrUnauthenticated}},
	} {
		m, err := httpallow.New(test.engine, test.opts)
		require.Nil(t, m, test.reason)
		require.Error(t, err, test.reason)
		require.Len(t, strings.Split(err.Error(), "\n"), len(test.want), test.reason)
		for _, want := range test.want {
			require.ErrorIs(t, err, want, test.reason)
		}
	}
}

// Options are copied: what the caller changes afterwards changes nothing.
func TestOptionsAreCopied(t *testing.T) {
	opts := &httpallow.Options{Key: httpallow.KeyFromContext}
	m, err := httpallow.New(newEngine(t, nil), opts)
	require.NoError(t, err)
	*opts = httpallow.Options{ReportOnly: true, PassUnauthenticated: true}
	require.Equal(t, httpallow.Refused, m.Check(request("GET", outside, restricted)).Outcome)
	require.Equal(t, httpallow.NoKey, m.Check(request("GET", inside, "")).Outcome)
}

// A middleware that nobody set up opens nothing.
func TestZeroMiddlewareRefuses(t *testing.T) {
	for _, m := range []*httpallow.Middleware{nil, {}} {
		for _, key := range []string{"", restricted, unrestricted} {
			next := &counter{}
			w := httptest.NewRecorder()
			m.Handler(next).ServeHTTP(w, request("GET", inside, key))
			require.Equal(t, http.StatusUnauthorized, w.Code)
			require.Zero(t, next.calls)
		}
	}
	require.False(t, httpallow.Decision{}.OK(), "the zero Decision must refuse")
}

func TestNilHandlerPanics(t *testing.T) {
	m := newMiddleware(t, ipallow.New(nil), httpallow.Options{})
	require.PanicsWithValue(t, "httpallow: the next handler is nil; give Handler the handler to protect", func() { m.Handler(nil) })
}

func TestOutcomeNames(t *testing.T) {
	names := map[httpallow.Outcome]string{
		httpallow.Refused: "refused", httpallow.NoKey: "no_key", httpallow.Served: "served",
		httpallow.Reported: "reported", httpallow.Passed: "passed",
		httpallow.NotReady: "not_ready", 77: "Outcome(77)",
	}
	for outcome, name := range names {
		text, err := outcome.MarshalText()
		require.NoError(t, err)
		require.Equal(t, name, string(text))
		require.Equal(t, name, outcome.String())
	}
	for n := range 256 {
		outcome := httpallow.Outcome(n)
		known := outcome == httpallow.Served || outcome == httpallow.Reported || outcome == httpallow.Passed
		require.Equal(t, known, outcome.OK(), "%v", outcome)
	}
}

// A source of another kind is asked, and its reason reaches the observer.
func TestObserverSeesWhyThereIsNoAddress(t *testing.T) {
	var got httpallow.Decision
	m := newMiddleware(t, newEngine(t, nil), httpallow.Options{
		Source:  proxySource(t),
		Observe: func(_ *http.Request, d httpallow.Decision) { got = d },
	})
	w := httptest.NewRecorder()
	require.False(t, m.Enforce(w, request("GET", "10.20.0.1:1", restricted)).OK())
	require.Equal(t, clientip.HeaderMissing, got.Client.Reason)
	require.Equal(t, 403, w.Code)
}
