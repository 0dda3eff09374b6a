package gateway_test

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/usagelog"
)

// Paths are recorded as they were sent, without the query, and with nothing in
// them that opens a door.
func TestRecordedPaths(t *testing.T) {
	w := newWorld(t, nil)
	id, secret, _ := keyring.ParseToken(w.full.token)
	blotted := "ipk_" + id + "..."
	for _, test := range []struct{ target, want string }{
		{"/v1/ping?key=" + w.full.token, "/v1/ping"},
		{"/a%2Fb/%2e%2e/c", "/a%2Fb/%2e%2e/c"},
		{"//a//b", "//a//b"},
		{"/%3Fa=b", "/"}, // the log keeps nothing that could be a query
		{"/by-mistake/" + w.full.token, "/by-mistake/" + blotted},
		{"/" + w.full.token + "/x/" + w.full.token, "/" + blotted + "/x/" + blotted},
		{"/" + w.full.token[:30], "/" + blotted},
		{"/ipk_short", "/ipk_short"},
		{"/ipk%5F" + w.full.token[4:], "/" + blotted},
		{"/a%2Fb/" + w.full.token, "/a/b/" + blotted},
		{"/ipk_" + w.full.token + ";v=1", "/ipk_" + w.full.token[:16] + "...;v=1"},
		{"/" + w.full.token + secret, "/" + blotted},
		{"/" + strings.Repeat("a", 3000), "/" + strings.Repeat("a", usagelog.MaxPath-1-len(usagelog.TruncationMark)) + usagelog.TruncationMark},
	} {
		a := w.do(inside, "GET", test.target, "X-API-Key", w.full.token)
		got := w.record(a.header.Get("X-Request-Id")).Path
		require.Equal(t, test.want, got)
	}
}

// A record says which entry let its address in, also where the scope refused, and
// none where no entry did.
func TestRecordedEntry(t *testing.T) {
	w := newWorld(t, nil)
	want := netip.PrefixFrom(netip.MustParseAddr(inside), 32)
	for _, test := range []struct {
		name, from, method string
		key                testKey
		status             int
		entry              netip.Prefix
	}{
		{"served", inside, "GET", w.full, 200, want},
		{"out of scope", inside, "POST", w.reader, 403, want},
		{"a list that is only reported", inside, "GET", w.watched, 200, want},
		{"reported", outside, "GET", w.watched, 200, netip.Prefix{}},
		{"blocked", outside, "GET", w.full, 403, netip.Prefix{}},
		{"no list", outside, "GET", w.open, 200, netip.Prefix{}},
		{"revoked", inside, "GET", w.revoked, 401, netip.Prefix{}},
	} {
		a := w.do(test.from, test.method, "/v1/ping", "X-API-Key", test.key.token)
		require.Equal(t, test.status, a.status, test.name)
		r := w.record(a.header.Get("X-Request-Id"))
		label := ""
		if test.entry.IsValid() {
			label = "Büro"
		}
		require.Equal(t, test.entry, r.Entry, test.name)
		require.Equal(t, label, r.Label, test.name)
		require.Empty(t, r.List, test.name)
	}
}

// The entry that a record names is one of the list that decided, while lists change.
func TestRecordedEntryIsOfTheDecision(t *testing.T) {
	w := newWorld(t, calm)
	addr := netip.MustParseAddr(inside)
	in := []ipallow.Entry{{Prefix: netip.PrefixFrom(addr, 32), Label: "in"}}
	out := []ipallow.Entry{{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Label: "out"}}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = w.engine.Set(w.full.ID, [][]ipallow.Entry{in, out}[i%2])
			}
		}
	}()
	answer := &sink{header: http.Header{}}
	for range 10000 {
		w.gate.ServeHTTP(answer, pingRequest(w.full, inside))
	}
	close(stop)
	<-done
	allowed, denied := 0, 0
	for _, r := range w.records() {
		switch r.Verdict {
		case ipallow.Allowed:
			allowed++
			require.Contains(t, []string{"in", "Büro"}, r.Label)
			require.Equal(t, in[0].Prefix, r.Entry)
		case ipallow.Denied:
			denied++
			require.False(t, r.Entry.IsValid())
		}
	}
	require.Positive(t, allowed)
	require.Positive(t, denied)
}

// Identifiers of requests are the server's, whatever the client sends.
func TestRequestIDs(t *testing.T) {
	w := newWorld(t, nil)
	seen := map[string]bool{}
	for range 20 {
		a := w.do(inside, "GET", "/v1/ping", "X-Request-Id", "chosen-by-the-client")
		id := a.header.Get("X-Request-Id")
		require.Len(t, a.header["X-Request-Id"], 1)
		require.Regexp(t, "^[0-9a-f]{32}$", id)
		require.False(t, seen[id])
		seen[id] = true
	}
}

// The observer is told of each request once, with what the log is told.
func TestObserve(t *testing.T) {
	var mu sync.Mutex
	var events []gateway.Event
	w := newWorld(t, func(o *gateway.Options) {
		o.Observe = func(e gateway.Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		}
	})
	w.do(inside, "GET", "/v1/ping")
	w.do(outside, "GET", "/v1/ping", "X-API-Key", w.full.token)
	w.do(inside, "GET", "/v1/ping", "X-API-Key", w.full.token)
	w.records() // the answer may be there before its record
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, events, 3)
	for i, want := range []gateway.Event{
		{Authenticated: false, Verdict: ipallow.Denied, Status: 401},
		{Authenticated: true, Verdict: ipallow.Denied, Status: 403},
		{Authenticated: true, Verdict: ipallow.Allowed, Status: 200},
	} {
		require.Positive(t, events[i].Duration)
		want.Duration = events[i].Duration
		require.Equal(t, want, events[i])
	}
}

// A handler that panics is recorded: here the observer of another gateway's
// request stands in for a fault anywhere behind the decision.
func TestPanicIsRecorded(t *testing.T) {
	w := newWorld(t, nil)
	addr := serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.gate.ServeHTTP(&faulty{rw}, r)
	}), w.said)
	got := raw(t, addr, inside, "GET /v1/ping HTTP/1.1\r\nHost: a\r\nX-API-Key: "+w.full.token+"\r\n\r\n")
	require.Empty(t, got)
	r := w.recordOf("/v1/ping")
	require.Equal(t, w.full.ID, r.KeyID)
	require.Equal(t, 200, r.Status, "it was being written")
	require.Contains(t, w.said.String(), "panic serving")
}

type faulty struct{ http.ResponseWriter }

func (f *faulty) Write([]byte) (int, error) { panic("a fault") }

// Many clients at once, while lists and keys change: every answer is one that
// some moment allows, and every request is recorded once.
func TestConcurrency(t *testing.T) {
	w := newWorld(t, nil)
	entries := [2][]ipallow.Entry{}
	for i, addr := range []string{inside, outside} {
		var err error
		entries[i], err = w.engine.Policy().ParseList([]string{addr})
		require.NoError(t, err)
	}
	stop := make(chan struct{})
	var changes sync.WaitGroup
	changes.Go(func() {
		often := time.NewTicker(200 * time.Microsecond)
		defer often.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-often.C:
			}
			if err := w.engine.Set(w.full.ID, entries[i%2]); err != nil {
				t.Error(err)
				return
			}
			w.ring.Remove(w.open.ID)
			w.ring.Put(w.open.Key)
		}
	})
	const clients, each = 8, 25
	var sent sync.WaitGroup
	var served, refused atomic.Int64
	for c := range clients {
		from := []string{inside, outside}[c%2]
		sent.Go(func() {
			for range each {
				for _, k := range []testKey{w.full, w.open, w.reader} {
					switch status := w.do(from, "GET", "/v1/ping", "X-API-Key", k.token).status; status {
					case 200:
						served.Add(1)
					case 401, 403:
						refused.Add(1)
					default:
						t.Errorf("status %d", status)
					}
				}
			}
		})
	}
	sent.Wait()
	close(stop)
	changes.Wait()
	require.Positive(t, served.Load())
	require.Positive(t, refused.Load())
	seen := map[string]bool{}
	for _, r := range w.records() {
		seen[r.RequestID] = true
	}
	require.Equal(t, clients*each*3, len(seen))
	require.Zero(t, w.log.Stats().Lost.Total())
}
