// Package canon has the form in which the programs compare and show client addresses. It is that of
// the engine, whose own is internal to its module.
package canon

import "net/netip"

// Addr returns a as IPv4 where it is IPv4-mapped (RFC 4291, section 2.5.5.2), and without a zone.
func Addr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
