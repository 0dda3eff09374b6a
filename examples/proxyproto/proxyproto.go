// Package proxyproto takes the client's address from the PROXY protocol, which a
// TCP load balancer writes before the first byte of a connection. The address
// stands in http.Request.RemoteAddr then, as if the client had connected itself,
// so the Source of the allowlist stays the default: the peer.
package proxyproto

import (
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// Listen wraps listener for the proxies at the trusted addresses, each an address
// or a network in CIDR notation.
//
// A connection from a trusted proxy must begin with a PROXY header, version 1 or
// 2; without one it is closed, since the proxy's address would be taken for the
// client's. A connection from anywhere else is closed at once, so that nobody can
// write a header of their own. A server that is also reached directly needs
// another listener for that.
//
// A header that names no client (LOCAL, UNKNOWN), or one of another family than TCP
// over IPv4 and IPv6, leaves the proxy's own address, as in nginx and HAProxy: health
// checks come so. Keep the proxy's address off the allowlists. A header whose TLVs are
// longer than itself is refused.
func Listen(listener net.Listener, trusted []string) (net.Listener, error) {
	policy, err := proxyproto.TrustProxyHeaderFromRanges(trusted)
	if err != nil {
		return nil, err
	}
	return &proxyproto.Listener{
		Listener:          familyListener{listener},
		ConnPolicy:        policy,
		ReadHeaderTimeout: 5 * time.Second,
		ValidateHeader: func(h *proxyproto.Header) error {
			if h.Command.IsLocal() {
				return nil
			}
			_, err := h.TLVs()
			return err
		},
	}, nil
}
