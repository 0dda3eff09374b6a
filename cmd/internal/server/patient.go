package server

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// writeStall is how long a client may leave the server waiting until it takes
// any part of an answer. An answer may take as long as it likes, as an event
// stream does, but a client that sends requests and never reads would otherwise
// hold its connection, and a goroutine in the middle of a write, for ever.
const writeStall = 30 * time.Second

// writePiece is how much of an answer a slow client must take within writeStall.
const writePiece = 64 << 10

// began is what the time is counted from, so that a clock that is set does not
// matter.
var began = time.Now()

// A streamConn is a *net.TCPConn or a *net.UnixConn.
type streamConn interface {
	net.Conn
	CloseWrite() error
}

// A patientConn gives each write a deadline, unless a handler has set its own.
type patientConn struct {
	streamConn
	own   atomic.Bool  // a handler has set a deadline
	last  atomic.Int64 // nanoseconds from began to when the present deadline was set; 0: there is none
	close func()       // called once
}

func newPatientConn(c streamConn, closed func()) *patientConn {
	return &patientConn{streamConn: c, close: sync.OnceFunc(closed)}
}

// Close closes the connection, and gives its place back.
func (c *patientConn) Close() error {
	err := c.streamConn.Close()
	c.close()
	return err
}

func (c *patientConn) Write(b []byte) (n int, err error) {
	for {
		piece := b[n:min(len(b), n+writePiece)]
		c.extend()
		m, err := c.streamConn.Write(piece)
		if n += m; err != nil || n == len(b) {
			return n, err
		}
	}
}

// extend moves the deadline, which costs about as much as a small write, only
// when a good part of it has gone by.
func (c *patientConn) extend() {
	if c.own.Load() {
		return
	}
	now := int64(time.Since(began))
	if last := c.last.Load(); last == 0 || now-last > int64(writeStall/4) {
		// A connection that is closed says so when it is written to.
		_ = c.streamConn.SetWriteDeadline(time.Now().Add(writeStall))
		c.last.Store(now)
	}
}

// SetWriteDeadline is for handlers; the zero Time goes back to writeStall.
func (c *patientConn) SetWriteDeadline(t time.Time) error {
	c.own.Store(!t.IsZero())
	c.last.Store(0)
	return c.streamConn.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *patientConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// ReadFrom hides that of a *net.TCPConn, which has one deadline for all of it.
func (c *patientConn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}
