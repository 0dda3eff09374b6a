package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// After SIGTERM a server is unready at once, and answers all that comes for as long as --drain
// says, on new connections too. What runs then is brought to its end.
func TestDrain(t *testing.T) {
	t.Parallel()
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "from the API")
	}))
	t.Cleanup(upstream.Close)
	const drain = 2 * time.Second
	p := start(t, t.TempDir(), "--upstream", upstream.URL, "--drain", drain.String())
	k := p.create("k")
	get := func(c *http.Client, path string) (status int, closes bool, err error) {
		req, err := http.NewRequest("GET", p.gateway+path, nil)
		if err != nil {
			return 0, false, err
		}
		req.Header.Set("X-API-Key", k.Secret)
		resp, err := c.Do(req)
		if err != nil {
			return 0, false, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, resp.Close, err
	}
	fresh := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	kept := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	status, closes, err := get(kept, "/x")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.False(t, closes)
	require.True(t, p.ready())
	slow := make(chan error, 1)
	go func() {
		status, _, err := get(fresh, "/slow")
		if err == nil && status != 200 {
			t.Errorf("the request that ran: status %d", status)
		}
		slow <- err
	}()
	<-entered

	told := time.Now()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	fleettest.Eventually(t, func() bool { return !p.ready() }, p.said)
	n := 0
	for ; time.Since(told) < drain-200*time.Millisecond; n++ {
		for _, c := range []*http.Client{fresh, kept} {
			status, closes, err := get(c, "/x")
			if err != nil && time.Since(told) > drain { // a slow machine
				break
			}
			require.NoError(t, err, "%v after the signal", time.Since(told))
			require.Equal(t, 200, status)
			require.True(t, closes, "connections are given up")
		}
	}
	require.Positive(t, n)
	fleettest.Eventually(t, func() bool { _, _, err := get(fresh, "/x"); return err != nil }, p.said)
	require.GreaterOrEqual(t, time.Since(told), drain-50*time.Millisecond)
	select {
	case err := <-slow:
		require.FailNow(t, "the request that ran was cut off", "%v", err)
	default:
	}
	close(release)
	require.NoError(t, <-slow)
	require.NoError(t, p.cmd.Wait(), "%s", p.said())
	require.Contains(t, p.said(), "draining")
}

// Records that nothing has taken when a gateway ends are said, so that nobody deletes
// them with its directory.
func TestRecordsLeftAreSaid(t *testing.T) {
	t.Parallel()
	nats := fleettest.Start(t)
	nats.Stop()
	data := t.TempDir()
	gate := launch(t, "gateway", "--nats", nats.URL(), "--data", data, "--name", "gate", "--listen", "127.0.0.1:0",
		"--status-listen", "127.0.0.1:0", "--drain", "0s")
	for range 3 {
		_, _, err := gate.ping("ipk_x")
		require.NoError(t, err)
	}
	require.NoError(t, gate.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, gate.cmd.Wait(), "%s", gate.said())
	require.Regexp(t, `level=WARN msg="usage records wait in the write-ahead files.*records=3`, gate.said())
}
