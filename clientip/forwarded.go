package clientip

import (
	"net/netip"
	"strings"
)

// lastForwarded splits the rightmost element off a field line of Forwarded.
// more is false when it is the only one.
//
// It looks at nothing to the left of the comma before the element, so that
// text which a client sent cannot change where a proxy's element begins. A
// quoted string without a beginning makes the rest of the line one element,
// which readForwardedElement then refuses.
func lastForwarded(line string) (elem, rest string, more bool) {
	for i := len(line) - 1; i >= 0; i-- {
		switch line[i] {
		case ',':
			return line[i+1:], line[:i], true
		case '"':
			if i = openingQuote(line[:i]); i < 0 {
				return line, "", false
			}
		}
	}
	return line, "", false
}

// openingQuote returns the index in s of the quotation mark that begins the
// quoted string which s, cut off before its closing mark, ends in, or -1. A
// mark after an odd number of backslashes is escaped, and part of the string.
func openingQuote(s string) int {
	for {
		i := strings.LastIndexByte(s, '"')
		if i < 0 {
			return -1
		}
		j := i
		for j > 0 && s[j-1] == '\\' {
			j--
		}
		if (i-j)%2 == 0 {
			return i
		}
		s = s[:j]
	}
}

// readForwardedElement reads a forwarded-element (RFC 7239, section 4) and
// returns the address in its only "for" parameter.
func readForwardedElement(s string) (netip.Addr, Reason) {
	node, ok := forParameter(s)
	if !ok {
		return netip.Addr{}, ElementUnreadable
	}
	if strings.IndexByte(node, '\\') >= 0 { // from a quoted string; tokens have none
		node = unescape(node)
	}
	return readNode(node)
}

// forParameter returns the value of the "for" parameter, still escaped. All of the element
// must be well-formed, and "for" must be in it exactly once.
func forParameter(s string) (value string, ok bool) {
	found := false
	for {
		s = trimSpace(s)
		if s == "" {
			return value, found
		}
		if s[0] == ';' { // the grammar allows empty pairs
			s = s[1:]
			continue
		}
		name, rest := cutToken(s)
		if name == "" || rest == "" || rest[0] != '=' {
			return "", false
		}
		text, rest, ok := cutValue(rest[1:])
		rest = trimSpace(rest)
		if !ok || rest != "" && rest[0] != ';' {
			return "", false
		}
		if equalFold(name, "for") {
			if found {
				return "", false
			}
			value, found = text, true
		}
		s = rest
	}
}

// cutValue splits a token or a quoted string off s. The value is without its
// quotation marks, but still escaped.
func cutValue(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		value, rest = cutToken(s)
		return value, rest, value != ""
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[1:i], s[i+1:], true
		case c == '\\':
			if i++; i == len(s) || !isText(s[i]) {
				return "", "", false
			}
		case !isText(c):
			return "", "", false
		}
	}
	return "", "", false
}

// unescape resolves the quoted pairs (RFC 9110, section 5.6.4) of s, which
// does not end in the middle of one.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// readNode reads a node (RFC 7239, section 6): a name that is an IPv4
// address, an IPv6 address in brackets, "unknown" or an obfuscated
// identifier, and a port that is a number or obfuscated.
func readNode(s string) (netip.Addr, Reason) {
	if s != "" && s[0] == '[' {
		if addr, ok := parseBracketed(s, true); ok {
			return addr, Found
		}
		return netip.Addr{}, ElementUnreadable
	}
	name, port, hasPort := strings.Cut(s, ":")
	switch {
	case hasPort && !isPort(port) && !isObfuscated(port):
		return netip.Addr{}, ElementUnreadable
	case equalFold(name, "unknown") || isObfuscated(name):
		return netip.Addr{}, ElementHidden
	}
	if addr, ok := parseIPv4(name); ok {
		return addr, Found
	}
	return netip.Addr{}, ElementUnreadable
}

// isObfuscated reports whether s is an obfuscated identifier: "_" and then at
// least one letter, digit, ".", "_" or "-" (RFC 7239, section 6.3).
func isObfuscated(s string) bool {
	if len(s) < 2 || s[0] != '_' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !isAlphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// cutToken splits the longest token (RFC 9110, section 5.6.2) off s.
func cutToken(s string) (token, rest string) {
	i := 0
	for i < len(s) && isTokenChar(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isTokenChar(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// isText reports whether c may stand in a quoted string, bare or escaped: a
// tab, a space, visible ASCII or a byte beyond ASCII (RFC 9110, section
// 5.6.4). The caller has dealt with quotation marks and backslashes.
func isText(c byte) bool { return c == '\t' || c >= ' ' && c != 0x7f }
