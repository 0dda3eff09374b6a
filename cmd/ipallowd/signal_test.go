package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// An audience collects the names of the requests that were answered.
type audience struct {
	mu  sync.Mutex
	ids map[string]string // request ID -> path
}

func (a *audience) add(id, path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids[id] = path
}

func (a *audience) count(path string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.ids {
		if p == path {
			n++
		}
	}
	return n
}

// ask makes a request on a connection of its own and returns the answer's status, and
// the connection behind its header.
func (a *audience) ask(addr, secret, path, header string) (net.Conn, int, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, 0, err
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: api.example\r\nX-API-Key: %s\r\n%s\r\n", path, secret, header)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		c.Close()
		return nil, 0, err
	}
	a.add(resp.Header.Get("X-Request-Id"), path)
	return c, resp.StatusCode, nil
}

// TestAnsweredRequestsAreInTheLog: whatever signals end the program, under load, with
// streams and WebSockets open, the log has each request whose answer reached its client,
// once. One signal lets streams go on for stopWithin, so they are there for two alone.
func TestAnsweredRequestsAreInTheLog(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stream":
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case "/socket":
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = rw.Flush()
			_, _ = io.Copy(io.Discard, rw)
		default:
			_, _ = io.WriteString(w, "from the API")
		}
	}))
	t.Cleanup(upstream.CloseClientConnections)
	const hour = "1h"
	for _, test := range []struct {
		name, drain string
		signals     []os.Signal
		streams     int
	}{
		{"SIGINT", hour, []os.Signal{os.Interrupt}, 0},
		{"SIGTERM", "300ms", []os.Signal{syscall.SIGTERM}, 0},
		{"SIGINT twice", hour, []os.Signal{os.Interrupt, os.Interrupt}, 3},
		{"SIGTERM twice while it drains", hour, []os.Signal{syscall.SIGTERM, syscall.SIGTERM}, 3},
		{"SIGINT while it drains", hour, []os.Signal{syscall.SIGTERM, os.Interrupt}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			p := start(t, data, "--upstream", upstream.URL, "--drain", test.drain)
			k := p.create("k")
			addr := strings.TrimPrefix(p.gateway, "http://")
			answered := &audience{ids: map[string]string{}}
			var open []net.Conn
			for range test.streams {
				c, status, err := answered.ask(addr, k.Secret, "/stream", "")
				require.NoError(t, err)
				require.Equal(t, 200, status)
				open = append(open, c)
			}
			for range 3 {
				c, status, err := answered.ask(addr, k.Secret, "/socket", "Connection: Upgrade\r\nUpgrade: websocket\r\n")
				require.NoError(t, err)
				require.Equal(t, 101, status)
				open = append(open, c)
			}
			stop := make(chan struct{})
			var load sync.WaitGroup
			for range 4 {
				load.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						_, id, err := p.ping(k.Secret)
						if err == nil {
							answered.add(id, "/")
						}
					}
				})
			}
			enough := func(n int) func() bool { return func() bool { return answered.count("/") >= n } }
			fleettest.Eventually(t, enough(200), p.said)
			for i, s := range test.signals {
				if i > 0 { // the first one has been taken
					said := "stopping"
					if test.signals[0] == syscall.SIGTERM {
						said = "draining"
					}
					fleettest.Eventually(t, func() bool { return strings.Contains(p.said(), said) }, p.said)
				}
				require.NoError(t, p.cmd.Process.Signal(s))
			}
			ended := make(chan error, 1)
			go func() { ended <- p.cmd.Wait() }()
			select {
			case err := <-ended:
				require.NoError(t, err, "%s", p.said())
			case <-time.After(time.Minute):
				require.FailNow(t, "it does not end", "%s", p.said())
			}
			close(stop)
			load.Wait()
			for _, c := range open {
				c.Close()
			}

			p = start(t, data)
			var missing []string
			fleettest.Eventually(t, func() bool {
				ids := p.requestIDs()
				missing = nil
				for id, path := range answered.ids {
					require.LessOrEqual(t, ids[id], 1, "%s is there twice", path)
					if ids[id] == 0 {
						missing = append(missing, path)
					}
				}
				return len(missing) == 0
			}, func() string {
				return fmt.Sprintf("%d of %d are missing: %q", len(missing), len(answered.ids), missing)
			})
			require.Equal(t, test.streams, answered.count("/stream"))
			require.Equal(t, 3, answered.count("/socket"))
		})
	}
}
