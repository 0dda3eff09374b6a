package server

import "math"

// spareDescriptors is how many descriptors are kept for what is no connection: databases,
// files of the log, NATS, and a few that the runtime needs.
const spareDescriptors = 32

// A budget divides the descriptors that the process may open.
type budget struct {
	gateway    int // connections of clients
	upstream   int // connections to the API behind; 0: no bound
	management int // connections of management, or of the status listener; and as many of ext_authz
}

// budget returns how many connections each listener may have. The gateway gets what is
// left when the others have theirs, and each of its connections one more to the
// upstream; MaxConnections is a bound that the operator chose.
func (c *Config) budget(limit uint64) budget {
	n := int(min(limit, math.MaxInt32))
	b := budget{management: min(max(n/16, 8), 4096)}
	rest := n - spareDescriptors - b.management
	if c.AuthzListen != "" {
		rest -= b.management
	}
	if c.Upstream != "" {
		rest /= 2
		b.upstream = max(rest, 1)
	}
	b.gateway = max(rest, 1)
	if c.MaxConnections > 0 {
		b.gateway = min(b.gateway, c.MaxConnections)
	}
	return b
}
