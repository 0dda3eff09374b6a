package fleettest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A Line is a TCP proxy to a server, which can be cut.
type Line struct {
	listener net.Listener
	mu       sync.Mutex
	down     bool
	conns    map[net.Conn]struct{}
	wg       sync.WaitGroup
}

// StartLine starts a line to the address. The end of the test ends it.
func StartLine(t testing.TB, target string) *Line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	line := &Line{listener: l, conns: make(map[net.Conn]struct{})}
	line.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			line.wg.Go(func() { line.carry(c, target) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		line.Cut()
		line.wg.Wait()
	})
	return line
}

// URL is where NATS is at the end of the line.
func (l *Line) URL() string { return "nats://" + l.listener.Addr().String() }

func (l *Line) carry(client net.Conn, target string) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		return
	}
	l.conns[client], l.conns[server] = struct{}{}, struct{}{}
	l.mu.Unlock()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(server, client) // either end may go
		server.Close()
		close(done)
	}()
	_, _ = io.Copy(client, server)
	client.Close()
	<-done
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, client)
	delete(l.conns, server)
}

// Cut ends all connections and lets no new ones through.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for c := range l.conns {
		c.Close()
	}
}

// Heal lets connections through again.
func (l *Line) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}
