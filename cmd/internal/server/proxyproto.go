package server

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/ipallow/ipallow/clientip"
)

// proxyHeaderTimeout bounds the wait for a PROXY header, which is sent first.
const proxyHeaderTimeout = 5 * time.Second

// proxied takes the client's address from the PROXY protocol, version 1 or 2, on
// connections of trusted proxies, which must begin with it. On others it is not read:
// whoever is no trusted proxy is the client.
//
// A header that names no client, or one of another family than TCP over IPv4 and IPv6
// (UNKNOWN, LOCAL, UDP, unix), leaves the peer, as nginx and HAProxy have it. A header
// whose TLVs are longer than itself is refused.
func proxied(l net.Listener, trusted []netip.Prefix, trustUnix bool) net.Listener {
	policy := func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		if _, ok := o.Downstream.(*net.UnixAddr); ok {
			if trustUnix {
				return proxyproto.REQUIRE, nil
			}
			return proxyproto.SKIP, nil
		}
		peer := clientip.FromPeer(o.Upstream.String()).Addr
		for _, p := range trusted {
			if p.Contains(peer) {
				return proxyproto.REQUIRE, nil
			}
		}
		return proxyproto.SKIP, nil
	}
	return proxyListener{&proxyproto.Listener{
		Listener: familyListener{l}, ConnPolicy: policy, ReadHeaderTimeout: proxyHeaderTimeout,
		ValidateHeader: func(h *proxyproto.Header) error {
			if h.Command.IsLocal() {
				return nil
			}
			_, err := h.TLVs()
			return err
		},
	}}
}

// A proxyListener accepts connections whose halves can be closed one by one.
type proxyListener struct{ net.Listener }

func (l proxyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if p, ok := c.(*proxyproto.Conn); ok {
		return proxyConn{p}, nil
	}
	return c, err
}

type proxyConn struct{ *proxyproto.Conn }

// CloseWrite is what net/http ends an answer with before it closes.
func (c proxyConn) CloseWrite() error { return c.Raw().(*familyConn).CloseWrite() }

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

// CloseWrite is that of the connection.
func (c *familyConn) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }
