package reqlog

import "net/netip"

// parseAddr is netip.ParseAddr, which would copy the text to the heap, with a
// short way for what logs are full of: plain IPv4, and IPv6 in hexadecimal.
func parseAddr(b []byte) (netip.Addr, bool) {
	if addr, ok := parse4(b); ok {
		return addr, true
	}
	if addr, ok := parse6(b); ok {
		return addr, true
	}
	addr, err := netip.ParseAddr(string(b))
	return addr, err == nil
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
