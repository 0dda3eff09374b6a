package ipallow

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file finds words for a text that is not an entry: what is wrong with
// it, and the form that was probably meant. It runs only after parsePrefix
// has refused the text, so nothing here can let an entry through; a
// suggestion is given only if parsePrefix accepts it.

func syntaxError(s, reason, suggestion string) *EntryError {
	return &EntryError{Input: s, Code: CodeInvalidSyntax, Reason: reason, Suggestion: suggestion}
}

const fourForms = "write an IPv4 address (203.0.113.5), an IPv4 network (203.0.113.0/24), " +
	"an IPv6 address (2001:db8::1) or an IPv6 network (2001:db8::/48)"

// explainSyntax says why s is none of the four forms.
func explainSyntax(s string) *EntryError {
	if s == "" {
		return syntaxError(s, "it is empty; "+fourForms, "")
	}
	if !utf8.ValidString(s) {
		return syntaxError(s, "it is not text in UTF-8; "+fourForms, "")
	}
	for _, try := range []func(string) (reason, suggestion string){
		tryNetmask, trySpace, tryQuotes, tryURL, tryBrackets, tryRange, tryWildcard, trySeparator, tryZone, tryPort, tryNumbers,
	} {
		if reason, suggestion := try(s); reason != "" {
			return syntaxError(s, reason, checked(suggestion))
		}
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r >= 'g' && r <= 'z' || r >= 'G' && r <= 'Z' }) {
		return syntaxError(s, "it looks like a host name, and names are not looked up; write the addresses it stands for", "")
	}
	return syntaxError(s, "it is not an address or network; "+fourForms, "")
}

// explainLength says why length is not a prefix length for the address addr,
// which has been read without fault.
func explainLength(s, addr, length string, max int) *EntryError {
	limit := strconv.Itoa(max)
	switch {
	case strings.ContainsAny(length, ",;|"):
		reason, suggestion := trySeparator(s)
		return syntaxError(s, reason, checked(suggestion))
	case length == "":
		return syntaxError(s, "the length after the slash is missing; write one from /0 to /"+limit+", or no slash", checked(addr))
	case strings.ContainsAny(length, ".:") && isAddr(length):
		if n, ok := maskLength(length); ok {
			return syntaxError(s, "netmasks are not read; write the length in bits",
				checked(maskedText(addr, n)))
		}
		return syntaxError(s, "netmasks are not read; write the length in bits, from /0 to /"+limit, "")
	}
	trimmed := strings.TrimLeft(strings.TrimPrefix(strings.TrimSpace(length), "+"), "0")
	if trimmed == "" && strings.Contains(length, "0") {
		trimmed = "0"
	}
	if n, ok := parseLength(trimmed); ok && n <= max && trimmed != length {
		return syntaxError(s, "the length must be plain digits, without sign, spaces or leading zeros",
			checked(maskedText(addr, n)))
	}
	if n, ok := parseLength(length); ok && n > max {
		return syntaxError(s, "the length is at most /"+limit+" for this kind of address", "")
	}
	return syntaxError(s, "the length after the slash must be digits from 0 to "+limit, "")
}

func trySpace(s string) (reason, suggestion string) {
	t := strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == 0xa0 || r >= 0x2000 && r <= 0x200f || r == 0x3000 || r == 0xfeff {
			return -1
		}
		return r
	}, s)
	if t == s {
		return "", ""
	}
	return "it contains white space or invisible characters", t
}

// tryQuotes reads an entry copied with the marks around it.
func tryQuotes(s string) (reason, suggestion string) {
	t := strings.TrimRight(s, ",;")
	n := len(t) - 1
	if n < 1 {
		return "", ""
	}
	switch t[:1] + t[n:] {
	case `""`, "''", "``", "<>":
		return "quotation marks are not part of an entry; write it without them", t[1:n]
	}
	return "", ""
}

// tryURL reads the host of a URL.
func tryURL(s string) (reason, suggestion string) {
	_, rest, ok := strings.Cut(s, "://")
	if !ok {
		return "", ""
	}
	host, _, _ := strings.Cut(rest, "/")
	reason = "it is a URL; write only the address of the host"
	if ap, err := netip.ParseAddrPort(host); err == nil {
		return reason, ap.Addr().String()
	}
	return reason, strings.Trim(host, "[]")
}

func tryBrackets(s string) (reason, suggestion string) {
	if !strings.ContainsAny(s, "[]") {
		return "", ""
	}
	t := strings.TrimPrefix(s, "[")
	inside, after, _ := strings.Cut(t, "]")
	if rest, ok := strings.CutPrefix(after, "/"); ok {
		inside += "/" + rest
	}
	return "brackets belong to URLs, not to entries", inside
}

// tryRange reads a-b, and suggests the one network that is exactly a to b.
func tryRange(s string) (reason, suggestion string) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		return "", ""
	}
	a, err := netip.ParseAddr(from)
	if err != nil {
		return "", ""
	}
	reason = "ranges are not read; write the networks that make it up"
	b, err := netip.ParseAddr(to)
	if err != nil || a.BitLen() != b.BitLen() || b.Less(a) {
		return reason, ""
	}
	for n := 0; n <= a.BitLen(); n++ {
		p := netip.PrefixFrom(a, n)
		if p.Masked().Addr() == a && lastAddr(p) == b {
			return reason, entryText(p)
		}
	}
	return reason, ""
}

// tryWildcard reads 203.0.113.* and the like.
func tryWildcard(s string) (reason, suggestion string) {
	if !strings.ContainsAny(s, "*xX?") || strings.Contains(s, ":") && !strings.ContainsAny(s, "*?") {
		return "", ""
	}
	parts := strings.Split(s, ".")
	wild := func(p string) bool { return p == "*" || p == "x" || p == "X" || p == "?" }
	if strings.ContainsAny(s, "xX") && !wild(parts[len(parts)-1]) {
		return "", "" // a hexadecimal number or a host name
	}
	reason = "wildcards are not read; write a network"
	if len(parts) > 4 {
		return reason, ""
	}
	fixed := 0
	for fixed < len(parts) && !wild(parts[fixed]) {
		fixed++
	}
	for _, p := range parts[fixed:] {
		if !wild(p) {
			return reason, ""
		}
	}
	if fixed == 0 || fixed == 4 {
		return reason, ""
	}
	quad := append(append([]string{}, parts[:fixed]...), "0", "0", "0", "0")[:4]
	return reason, strings.Join(quad, ".") + "/" + strconv.Itoa(8*fixed)
}

// tryNetmask reads an address and a mask with a space between them, as
// routers print them.
func tryNetmask(s string) (reason, suggestion string) {
	f := strings.Fields(s)
	if len(f) != 2 || !isAddr(f[0]) {
		return "", ""
	}
	n, ok := maskLength(f[1])
	if !ok {
		return "", ""
	}
	return "netmasks are not read; write the length in bits", maskedText(f[0], n)
}

func trySeparator(s string) (reason, suggestion string) {
	if strings.ContainsAny(s, ",;|") {
		return "it holds a separator; write one entry at a time", strings.TrimRight(s, ",;|")
	}
	return "", ""
}

func tryZone(s string) (reason, suggestion string) {
	text, length, isNet := strings.Cut(s, "/")
	bare, _, zoned := strings.Cut(text, "%")
	if !zoned {
		return "", ""
	}
	if isNet {
		bare += "/" + length
	}
	return "what follows the % is not a zone, and zones are not allowed", bare
}

func tryPort(s string) (reason, suggestion string) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return "an entry has no port", ap.Addr().String()
	}
	// 203.0.113.0/24:443
	if i := strings.LastIndexByte(s, ':'); i > 0 && strings.Count(s, ":") == 1 {
		return "an entry has no port", s[:i]
	}
	return "", ""
}

// tryNumbers reads dotted numbers that are not an IPv4 address: short ones,
// padded ones, and those written in octal or hexadecimal.
func tryNumbers(s string) (reason, suggestion string) {
	text, length, isNet := strings.Cut(s, "/")
	suffix := ""
	if isNet {
		suffix = "/" + length
	}
	parts := strings.Split(text, ".")
	for _, p := range parts {
		if len(p) > 1 && (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
			return "hexadecimal numbers are not read; write four decimal numbers", ""
		}
	}
	if text == "" || strings.Trim(text, "0123456789.") != "" {
		return "", ""
	}
	for _, p := range parts {
		if p == "" {
			return "a number of the IPv4 address is missing", ""
		}
	}
	if len(parts) > 4 {
		return "an IPv4 address has four numbers", ""
	}
	if len(parts) < 4 {
		quad := append(parts, "0", "0", "0")[:4]
		if isNet {
			return "an IPv4 address has four numbers", strings.Join(quad, ".") + suffix
		}
		return "an IPv4 address has four numbers", ""
	}
	for i, p := range parts {
		if len(p) > 1 && p[0] == '0' {
			// 010 is 8 to one reader and 10 to another: no suggestion.
			return "numbers with leading zeros are read as octal by some programs; write them without", ""
		}
		if n, err := strconv.Atoi(p); err != nil || n > 255 {
			return "number " + strconv.Itoa(i+1) + " of the IPv4 address is over 255", ""
		}
	}
	return "", ""
}
