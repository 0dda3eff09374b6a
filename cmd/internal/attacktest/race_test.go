package attacktest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/server"
)

// TestRevokedInFlight: a request that was let in goes on, and from the moment at
// which the revocation is answered no other one is let in.
func TestRevokedInFlight(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	var served atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if r.URL.Path == "/wait" {
			close(entered)
			<-leave
		}
		_, _ = io.WriteString(w, "done")
	}))
	t.Cleanup(upstream.Close)
	s := start(t, func(c *server.Config) { c.Upstream = upstream.URL })
	k := s.key("a")
	flight := make(chan answer, 1)
	go func() { flight <- s.do(inside, "GET", "http://"+s.gateway+"/wait", "", "X-API-Key", k.Secret) }()
	<-entered
	require.Equal(t, 200, s.api("DELETE", "/api/v1/keys/"+k.ID, "").StatusCode)
	before := served.Load()
	for range 20 {
		require.Equal(t, 401, s.ping(inside, k.Secret).StatusCode)
	}
	require.Equal(t, before, served.Load())
	close(leave)
	a := <-flight
	require.Equal(t, 200, a.StatusCode)
	require.Equal(t, "done", a.text)
}

// TestNoOpenMoment: while a list is replaced again and again by lists without the
// address, no request from it is served.
func TestNoOpenMoment(t *testing.T) {
	t.Parallel()
	s := start(t)
	k := s.key("a")
	stop := make(chan struct{})
	var all sync.WaitGroup
	var asked, open atomic.Int64
	for range 4 {
		all.Go(func() {
			c := client(t, outside)
			for {
				select {
				case <-stop:
					return
				default:
				}
				req, _ := http.NewRequest("GET", "http://"+s.gateway+"/v1/ping", nil)
				req.Header.Set("X-API-Key", k.Secret)
				res, err := c.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				asked.Add(1)
				if res.StatusCode != 403 {
					open.Add(1)
				}
			}
		})
	}
	for i := range 50 {
		body := []string{`{"entries":[{"entry":"127.0.0.2"}],"confirm_lockout":true}`, `{"entries":[{"entry":"127.0.0.4"},{"entry":"127.0.0.5"}],"confirm_lockout":true}`}[i%2]
		a := s.api("PUT", "/api/v1/keys/"+k.ID+"/allowlist", body)
		if a.StatusCode != 200 {
			t.Error(a.text)
			break
		}
	}
	close(stop)
	all.Wait()
	require.Positive(t, asked.Load())
	require.Zero(t, open.Load())
}
