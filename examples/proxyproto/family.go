package proxyproto

import (
	"bytes"
	"io"
	"net"
)

// A familyListener accepts familyConns.
type familyListener struct{ net.Listener }

func (l familyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &familyConn{Conn: c}, nil
}

// A familyConn makes LOCAL of a version 2 header of a family that names no TCP client,
// which the library would refuse.
type familyConn struct {
	net.Conn
	begun bool
}

// signature begins a header of version 2.
var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

const (
	local = 0x20 // version 2, LOCAL
	tcp4  = 0x11
	tcp6  = 0x21
)

func (c *familyConn) Read(b []byte) (int, error) {
	const least = 14 // to the family; no header of version 1 and no request is shorter
	if c.begun || len(b) < least {
		return c.Conn.Read(b)
	}
	c.begun = true
	n, err := io.ReadAtLeast(c.Conn, b, least)
	if err != nil {
		if n > 0 {
			err = nil // it comes again with the next call
		}
		return n, err
	}
	if bytes.HasPrefix(b, signature) && b[12] == local+1 && b[13] != tcp4 && b[13] != tcp6 {
		b[12], b[13] = local, 0
	}
	return n, nil
}
