package main

import (
	"io"
	"net"
	"sync"
	"time"
)

// A line is a TCP proxy between a node and a NATS server. It can be cut, go dead
// without a word, and be made slow.
type line struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	cond  *sync.Cond
	cut   bool // connections are closed, and new ones at once
	dead  bool // nothing arrives any more, and nothing is closed
	rate  int  // bytes a second to the node; 0: no limit
	conns map[net.Conn]struct{}
}

func newLine(target string) (*line, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &line{listener: l, target: target, conns: make(map[net.Conn]struct{})}
	p.cond = sync.NewCond(&p.mu)
	go p.serve()
	return p, nil
}

func (p *line) url() string { return "nats://" + p.listener.Addr().String() }

func (p *line) serve() {
	for {
		node, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.connect(node)
	}
}

func (p *line) connect(node net.Conn) {
	defer node.Close()
	server, err := net.DialTimeout("tcp", p.target, time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	if p.cut {
		p.mu.Unlock()
		return
	}
	p.conns[node], p.conns[server] = struct{}{}, struct{}{}
	p.mu.Unlock()
	ended := make(chan struct{}, 2)
	go func() { p.pipe(server, node, false); ended <- struct{}{} }()
	go func() { p.pipe(node, server, true); ended <- struct{}{} }()
	<-ended
	p.mu.Lock()
	for p.dead { // an end that closes is not told to the other
		p.cond.Wait()
	}
	delete(p.conns, node)
	delete(p.conns, server)
	p.mu.Unlock()
}

// pipe carries bytes from one end to the other.
func (p *line) pipe(to io.Writer, from io.Reader, down bool) {
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		for p.dead {
			p.cond.Wait()
		}
		rate := p.rate
		p.mu.Unlock()
		if down && rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// set changes the state of the line. What is cut or dead loses its connections.
func (p *line) set(cut, dead bool, rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cut || (p.dead && !dead) {
		for c := range p.conns {
			c.Close()
		}
	}
	p.cut, p.dead, p.rate = cut, dead, rate
	p.cond.Broadcast()
}

// A lines is all lines of a node, one to each NATS server.
type lines []*line

func (l lines) cut() {
	for _, p := range l {
		p.set(true, false, 0)
	}
}

// freeze lets all connections go dead. New ones are taken and are as dead.
func (l lines) freeze() {
	for _, p := range l {
		p.set(false, true, 0)
	}
}

// slow lets so many bytes a second through to the node, on each line.
func (l lines) slow(rate int) {
	for _, p := range l {
		p.set(false, false, rate)
	}
}

// heal lets everything through again.
func (l lines) heal() { l.slow(0) }

func (l lines) close() {
	for _, p := range l {
		p.listener.Close()
	}
	l.cut()
}
