package httpallow_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/httpallow"
)

// The decision is the same for whoever looks: the observer, the handler that is
// served, the one that denies, and a log around the chain.
func TestFromContext(t *testing.T) {
	t.Parallel()
	engine := newEngine(t, nil)
	unloaded := newEngine(t, &ipallow.Options{DenyUntilLoaded: true})
	for _, test := range []struct {
		reason    string
		engine    *ipallow.Engine
		peer, key string
		opts      httpallow.Options
		want      httpallow.Outcome
	}{
		{"served", engine, inside, restricted, httpallow.Options{}, httpallow.Served},
		{"served without a list", engine, outside, unrestricted, httpallow.Options{}, httpallow.Served},
		{"refused", engine, outside, restricted, httpallow.Options{}, httpallow.Refused},
		{"reported", engine, outside, restricted, httpallow.Options{ReportOnly: true}, httpallow.Reported},
		{"not ready", unloaded, inside, restricted, httpallow.Options{}, httpallow.NotReady},
		{"passed", engine, inside, "", httpallow.Options{PassUnauthenticated: true, Context: true}, httpallow.Passed},
		{"a context of its own", engine, inside, restricted, httpallow.Options{
			Context: true, Key: func(*http.Request) (string, bool) { return restricted, true },
		}, httpallow.Served},
	} {
		for _, explain := range []bool{false, true} {
			var seen []httpallow.Decision
			look := func(ctx context.Context) {
				d, ok := httpallow.FromContext(ctx)
				require.True(t, ok, test.reason)
				seen = append(seen, d)
			}
			opts := test.opts
			opts.Explain = explain
			opts.Observe = func(r *http.Request, d httpallow.Decision) {
				seen = append(seen, d)
				look(r.Context())
			}
			opts.Deny = func(_ http.ResponseWriter, r *http.Request, d httpallow.Decision) {
				seen = append(seen, d)
				look(r.Context())
			}
			r := request("GET", test.peer, test.key)
			if test.opts.Key != nil {
				r = r.WithContext(context.Background())
			}
			_, ok := httpallow.FromContext(r.Context())
			require.False(t, ok, "there is none before")
			newMiddleware(t, test.engine, opts).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), time.Minute) // as handlers do
				defer cancel()
				look(ctx)
			})).ServeHTTP(httptest.NewRecorder(), r)
			if test.key != "" && test.opts.Key == nil {
				look(r.Context()) // a log around the chain
			}
			require.GreaterOrEqual(t, len(seen), 2, test.reason)
			for _, d := range seen {
				require.Equal(t, seen[0], d, test.reason)
			}
			d := seen[0]
			require.Equal(t, test.want, d.Outcome, test.reason)
			if test.key != "" {
				require.Equal(t, test.engine.Snapshot().Revision(), d.Revision, test.reason)
			}
			if allowed := explain && d.Verdict == ipallow.Allowed; allowed {
				require.Equal(t, "203.0.113.0/24", d.Entry.String(), test.reason)
			} else {
				require.False(t, d.Entry.Prefix.IsValid(), test.reason)
			}
		}
	}
}

// Without a context that can carry it, and without Options.Context, there is none.
func TestFromContextAbsent(t *testing.T) {
	t.Parallel()
	_, ok := httpallow.FromContext(context.Background())
	require.False(t, ok)
	calls := 0
	m := newMiddleware(t, newEngine(t, nil), httpallow.Options{Key: func(*http.Request) (string, bool) { return restricted, true }})
	r := request("GET", inside, "")
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, served *http.Request) {
		calls++
		require.Same(t, r, served)
		_, ok := httpallow.FromContext(served.Context())
		require.False(t, ok)
	})).ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, 1, calls)
	r = request("GET", inside, restricted)
	m.Check(r)
	_, ok = httpallow.FromContext(r.Context())
	require.False(t, ok, "Check leaves nothing behind")
}

// Verdict, entry, label and revision are of one snapshot, while lists change: each
// revision has an entry with that revision's number as its label.
func TestDecisionOfOneSnapshot(t *testing.T) {
	t.Parallel()
	engine := newEngine(t, nil)
	m := newMiddleware(t, engine, httpallow.Options{Explain: true})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			next := engine.Snapshot().Revision() + 1
			text := fmt.Sprintf("203.0.113.%d/32", next%2*5) // .5 is the client, .0 another one
			entries, err := engine.Policy().ParseEntries([]ipallow.EntryText{{Entry: text, Label: fmt.Sprint(next)}})
			if err == nil {
				err = engine.Set("key_changing", entries)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	seen := make(map[ipallow.Verdict]int)
	deadline := time.Now().Add(20 * time.Second)
	for n := 0; n < 5000 || seen[ipallow.Allowed] < 10 || seen[ipallow.Denied] < 10; n++ {
		d := m.Check(request("GET", inside, "key_changing"))
		seen[d.Verdict]++
		if d.Verdict == ipallow.Unrestricted {
			continue // before the first step
		}
		require.Equal(t, d.Revision%2 == 1, d.Verdict == ipallow.Allowed, "%+v", d)
		if d.Verdict == ipallow.Allowed {
			require.Equal(t, fmt.Sprint(d.Revision), d.Entry.Label)
		}
		require.True(t, time.Now().Before(deadline), "the verdicts stay the same: %v", seen)
	}
	close(stop)
	wg.Wait()
}

// A log around a time-out looks while the handler behind it still runs; run with
// -race.
func TestFromContextBesideTheHandler(t *testing.T) {
	t.Parallel()
	m := newMiddleware(t, newEngine(t, nil), httpallow.Options{})
	release := make(chan struct{})
	done := make(chan struct{})
	chain := http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-release
		m.Handler(okHandler).ServeHTTP(w, r)
		close(done)
	}), time.Millisecond, "")
	r := request("GET", inside, restricted)
	chain.ServeHTTP(httptest.NewRecorder(), r)
	close(release)
	deadline := time.Now().Add(20 * time.Second)
	for {
		if d, ok := httpallow.FromContext(r.Context()); ok {
			require.Equal(t, httpallow.Served, d.Outcome)
			break
		}
		require.True(t, time.Now().Before(deadline), "no decision after 20 s")
	}
	<-done
}

// TestAnswerConstants holds the exported answers to what the handlers write.
func TestAnswerConstants(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		write  func(http.ResponseWriter)
		status int
		body   string
		more   map[string]string
	}{
		{func(w http.ResponseWriter) { httpallow.Deny(w, nil, httpallow.Decision{}) },
			httpallow.DeniedStatus, httpallow.DeniedBody, nil},
		{func(w http.ResponseWriter) { httpallow.Unauthorized(w, nil) }, httpallow.UnauthorizedStatus,
			httpallow.UnauthorizedBody, map[string]string{"WWW-Authenticate": httpallow.WWWAuthenticate}},
		{func(w http.ResponseWriter) { httpallow.Unavailable(w, nil) }, httpallow.UnavailableStatus,
			httpallow.UnavailableBody, map[string]string{"Retry-After": httpallow.RetryAfter}},
	} {
		w := httptest.NewRecorder()
		test.write(w)
		require.Equal(t, test.status, w.Code)
		require.Equal(t, test.body, w.Body.String())
		want := http.Header{}
		want.Set("Content-Type", httpallow.ContentType)
		want.Set("Cache-Control", httpallow.CacheControl)
		for name, value := range test.more {
			want.Set(name, value)
		}
		require.Equal(t, want, w.Header())
	}
	require.Equal(t, deniedBody, httpallow.DeniedBody)
	require.Equal(t, notReadyBody, httpallow.UnavailableBody)
}

func TestFromContextNoAllocs(t *testing.T) {
	ctx := context.Context(request("GET", inside, strings.Clone(restricted)).Context())
	require.Zero(t, testing.AllocsPerRun(100, func() { httpallow.FromContext(ctx) }))
	allow := newMiddleware(t, newEngine(t, nil), httpallow.Options{Explain: true}).Handler(okHandler)
	r := request("GET", inside, strings.Clone(restricted))
	var w http.ResponseWriter = discard{http.Header{}}
	require.Zero(t, testing.AllocsPerRun(100, func() { allow.ServeHTTP(w, r) }), "explained")
}
