package natsfeed

import (
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A proxy is a TCP proxy that can cut the line, or let it go dead without a
// word.
type proxy struct {
	listener net.Listener
	target   string

	mu     sync.Mutex
	refuse bool // new connections are closed at once
	conns  map[*proxied]struct{}
	wg     sync.WaitGroup

	toClients, toServer atomic.Int64 // bytes so far

	left     atomic.Int64  // bytes to clients until they have to wait,
	waiting  chan struct{} // closed when they do,
	released chan struct{} // and when they need not wait any more
}

// proxied is one connection. Once it is dead it takes what is sent and gives
// nothing back, and is never closed by the proxy.
type proxied struct {
	client, server net.Conn
	dead           chan struct{}
}

func startProxy(t testing.TB, target string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, target: target, conns: make(map[*proxied]struct{})}
	p.left.Store(math.MaxInt64)
	p.waiting, p.released = make(chan struct{}), make(chan struct{})
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.release()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.DialTimeout("tcp", p.target, time.Second)
		p.mu.Lock()
		if err != nil || p.refuse {
			client.Close()
			if err == nil {
				server.Close()
			}
			p.mu.Unlock()
			continue
		}
		c := &proxied{client: client, server: server, dead: make(chan struct{})}
		p.conns[c] = struct{}{}
		p.wg.Go(func() { p.pipe(c, client, server) })
		p.wg.Go(func() { p.pipe(c, server, client) })
		p.mu.Unlock()
	}
}

func (p *proxy) pipe(c *proxied, from, to net.Conn) {
	defer func() {
		select {
		case <-c.dead: // an end that closes is not told to the other
		default:
			from.Close()
			to.Close()
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-c.dead:
			if err != nil {
				return
			}
			continue // dropped
		default:
		}
		if err != nil {
			return
		}
		if from == c.client {
			p.toServer.Add(int64(n))
		} else {
			p.toClients.Add(int64(n))
			if left := p.left.Add(int64(-n)); left < 0 {
				if left+int64(n) >= 0 {
					close(p.waiting)
				}
				<-p.released
			}
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut closes all connections and refuses new ones.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
	for c := range p.conns {
		c.client.Close()
		c.server.Close()
		delete(p.conns, c)
	}
}

// freeze lets all connections go dead: nothing arrives any more and nothing is
// closed. New connections are refused.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
	for c := range p.conns {
		select {
		case <-c.dead:
		default:
			close(c.dead)
		}
	}
}

// heal lets new connections through. Dead ones stay dead.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = false
}

// hold lets n more bytes through to clients, and then none until release.
func (p *proxy) hold(n int64) { p.left.Store(n) }

func (p *proxy) release() {
	p.left.Store(math.MaxInt64)
	select {
	case <-p.released:
	default:
		close(p.released)
	}
}
