package reqlog

import (
	"bytes"
	"net/netip"
)

// parseAddr reads an address, also with a port as load balancers, Envoy and Go
// write it: 203.0.113.5:443, [2001:db8::1]:443, [2001:db8::1]. It is
// netip.ParseAddr, which would copy the text to the heap, with a fast path for
// what logs are full of: plain IPv4, and IPv6 in hexadecimal. IPv6 without
// brackets has no port: 2001:db8::1:443 is an address.
func parseAddr(b []byte) (netip.Addr, bool) {
	if addr, ok := parseBare(b); ok {
		return addr, true
	}
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || end+1 < len(b) && !isPort(b[end+1:]) {
			return netip.Addr{}, false
		}
		addr, ok := parseBare(b[1:end])
		return addr, ok && addr.Is6()
	}
	if colon := bytes.IndexByte(b, ':'); colon >= 0 && isPort(b[colon:]) {
		return parse4(b[:colon])
	}
	return netip.Addr{}, false
}

// parseBare is parseAddr without a port and brackets.
func parseBare(b []byte) (netip.Addr, bool) {
	if addr, ok := parse4(b); ok {
		return addr, true
	}
	if addr, ok := parse6(b); ok {
		return addr, true
	}
	if bytes.IndexByte(b, ':') < 0 {
		return netip.Addr{}, false // not IPv6, and IPv4 has been tried
	}
	addr, err := netip.ParseAddr(string(b))
	return addr, err == nil
}

// isPort reports whether b is a colon and a port, 0 to 65535.
func isPort(b []byte) bool {
	if len(b) < 2 || len(b) > len(":65535") || b[0] != ':' {
		return false
	}
	port := 0
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return false
		}
		port = 10*port + int(c-'0')
	}
	return port <= 65535
}

// parse4 reads dotted decimal without leading zeros.
func parse4(b []byte) (netip.Addr, bool) {
	if len(b) < len("0.0.0.0") || len(b) > len("255.255.255.255") {
		return netip.Addr{}, false
	}
	var a [4]byte
	n, digits, v := 0, 0, 0
	for _, c := range b {
		if d := c - '0'; d <= 9 {
			if digits > 0 && v == 0 {
				return netip.Addr{}, false // a leading zero
			}
			v = v*10 + int(d)
			digits++
			if v > 255 {
				return netip.Addr{}, false
			}
			continue
		}
		if c != '.' || digits == 0 || n == 3 {
			return netip.Addr{}, false
		}
		a[n] = byte(v)
		n, digits, v = n+1, 0, 0
	}
	if n != 3 || digits == 0 {
		return netip.Addr{}, false
	}
	a[3] = byte(v)
	return netip.AddrFrom4(a), true
}

// parse6 reads groups of hexadecimal digits with at most one ::. It knows
// neither zones nor the dotted form.
func parse6(b []byte) (netip.Addr, bool) {
	var a [16]byte
	n, gap := 0, -1 // bytes of a that are filled, and where the :: was
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap = 0
		b = b[2:]
	}
	for len(b) > 0 {
		if n == len(a) {
			return netip.Addr{}, false
		}
		v, digits := 0, 0
		for digits < len(b) && digits < 5 {
			h := hex(b[digits])
			if h < 0 {
				break
			}
			v = v<<4 | h
			digits++
		}
		if digits == 0 || digits > 4 {
			return netip.Addr{}, false
		}
		a[n], a[n+1] = byte(v>>8), byte(v)
		n += 2
		b = b[digits:]
		if len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return netip.Addr{}, false
		}
		b = b[1:]
		if b[0] == ':' {
			if gap >= 0 {
				return netip.Addr{}, false
			}
			gap = n
			b = b[1:]
		}
	}
	if n < len(a) {
		if gap < 0 {
			return netip.Addr{}, false
		}
		moved := copy(a[len(a)-(n-gap):], a[gap:n])
		clear(a[gap : len(a)-moved])
	} else if gap >= 0 {
		return netip.Addr{}, false // a :: stands for at least one group
	}
	return netip.AddrFrom16(a), true
}
