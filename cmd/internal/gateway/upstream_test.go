package gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/gateway"
)

// An upstream is an API behind the gateway, over a real socket.
type upstream struct {
	url   string
	bytes output // all that it was sent

	mu   sync.Mutex
	seen []*http.Request
}

// newUpstream starts an upstream. It answers by handler, or "hello" where that is
// nil, and keeps the requests.
func newUpstream(t testing.TB, handler http.HandlerFunc) *upstream {
	up := new(upstream)
	if handler == nil {
		handler = func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "hello")
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up.mu.Lock()
		up.seen = append(up.seen, r.Clone(r.Context()))
		up.mu.Unlock()
		handler(w, r)
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(&tap{listener, &up.bytes}) }()
	t.Cleanup(func() {
		server.Close()
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	up.url = "http://" + listener.Addr().String()
	return up
}

// behind starts a gateway in front of the upstream.
func (up *upstream) behind(t testing.TB, change func(*gateway.Options)) *world {
	w := newWorld(t, func(o *gateway.Options) {
		o.Upstream = parse(t, up.url)
		if change != nil {
			change(o)
		}
	})
	t.Cleanup(func() { _, _ = io.WriteString(&w.seen, up.bytes.String()); w.noSecretAnywhere() })
	return w
}

func (up *upstream) requests() []*http.Request {
	up.mu.Lock()
	defer up.mu.Unlock()
	return up.seen
}

// last returns the newest request.
func (up *upstream) last(t testing.TB) *http.Request {
	all := up.requests()
	require.NotEmpty(t, all, "nothing reached the upstream")
	return all[len(all)-1]
}

// A tap keeps what is read from each connection.
type tap struct {
	net.Listener
	to io.Writer
}

func (l *tap) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tapped{conn, l.to}, nil
}

type tapped struct {
	net.Conn
	to io.Writer
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	_, _ = c.to.Write(p[:n])
	return n, err
}

// rawUpstream starts an upstream that does with each connection what serve does.
func rawUpstream(t testing.TB, serve func(net.Conn, *bufio.Reader)) *upstream {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	up := &upstream{url: "http://" + listener.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				serve(conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() { listener.Close(); running.Wait() })
	return up
}
