package entrytext

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// What is nearly an address: another product's notation, a port, a number too many.

// kinds are the words with which other products name what is not an address.
var kinds = map[string]string{
	"country": countries, "countries": countries, "geo": countries, "geoip": countries, "geoip2": countries,
	"region": countries, "continent": countries, "city": countries, "location": countries,
	"as": systems, "asn": systems,
}

const (
	countries = "countries and places are not looked up; write the networks that requests come from"
	systems   = "AS numbers are not looked up; write the networks that requests come from"
)

// tryKind reads what other products put in the place of an address: a country, an AS number, the
// address of a network card, or a word in front of an address.
func tryKind(s string) *Refusal {
	word, rest, ok := strings.Cut(strings.ToLower(s), ":")
	if !ok {
		word, rest, ok = strings.Cut(strings.ToLower(s), "=")
	}
	switch number := strings.TrimLeft(word, "asn"); {
	case ok && kinds[word] != "":
		return badSyntax(kinds[word])
	case ok && (word == "ip" || word == "ip4" || word == "ip6" || word == "ipv4" || word == "ipv6" || word == "cidr"):
		return within("the word in front of it is not part of an entry; write the address or network alone", s, strings.TrimSpace(rest))
	case !ok && len(s) == 2 && isLetter(s[0]) && isLetter(s[1]):
		return badSyntax("it looks like a country code; " + countries)
	case !ok && isNumber(number) && (word == "as"+number || word == "asn"+number):
		return badSyntax(systems)
	}
	if pairs := strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == '-' }); len(pairs) == 6 && len(s) == 17 {
		for _, p := range pairs {
			if _, err := strconv.ParseUint(p, 16, 8); err != nil || len(p) != 2 {
				return nil
			}
		}
		return badSyntax("it is the hardware address of a network card (MAC), which servers do not see; " + fourForms)
	}
	return nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// hasNameLetter reports whether a letter of s is in no address.
func hasNameLetter(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r|0x20 >= 'g' && r|0x20 <= 'z' || r > 0x7f && unicode.IsLetter(r) })
}

func tryZone(s string) *Refusal {
	text, length, isNet := strings.Cut(s, "/")
	bare, _, zoned := strings.Cut(text, "%")
	if !zoned {
		if length, _, zoned = strings.Cut(length, "%"); !zoned {
			return nil
		}
	}
	if isNet {
		bare += "/" + length
	}
	return within("what follows the % is not a zone, and zones are not allowed", s, bare)
}

func tryPort(s string) *Refusal {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.Count(s, ":") > 1 || s[i+1:] != "*" && !isNumber(s[i+1:]) {
		return nil
	}
	r := within("an entry has no port; write the address or network alone", s, s[:i])
	if len(r.Networks) == 0 {
		return nil // a name, or worse
	}
	return r
}

// tryNumbers reads dotted numbers that are not an IPv4 address: short ones, padded ones, and those
// written in octal or hexadecimal.
func tryNumbers(s string) *Refusal {
	text, length, isNet := strings.Cut(s, "/")
	parts := strings.Split(text, ".")
	for _, p := range parts {
		if len(p) > 1 && p[0] == '0' && p[1]|0x20 == 'x' {
			return badSyntax("hexadecimal numbers are not read; write four decimal numbers")
		}
	}
	if text == "" || strings.Trim(text, "0123456789.") != "" {
		return nil
	}
	for _, p := range parts {
		if p == "" {
			return badSyntax("a number of the IPv4 address is missing")
		}
	}
	switch {
	case len(parts) < 4 && isNet:
		n, ok := parseLength(length)
		if !ok {
			n = -1
		}
		return network("an IPv4 address has four numbers", strings.Join(append(parts, "0", "0", "0")[:4], "."), n)
	case len(parts) != 4:
		return badSyntax("an IPv4 address has four numbers with dots between them")
	}
	for i, p := range parts {
		if len(p) > 1 && p[0] == '0' {
			// 010 is 8 to one reader and 10 to another: no suggestion.
			return badSyntax("numbers with leading zeros are read as octal by some programs; write them without")
		}
		if n, err := strconv.Atoi(p); err != nil || n > 255 {
			return badSyntax("number " + strconv.Itoa(i+1) + " of the IPv4 address is over 255")
		}
	}
	return nil
}

// tryLength says why what follows the slash is not a prefix length, if the address before it is one.
func tryLength(s string) *Refusal {
	text, length, isNet := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || !isNet || addr.Zone() != "" {
		return nil
	}
	limit := strconv.Itoa(addr.BitLen())
	if length == "" {
		return within("the length after the slash is missing; write one from /0 to /"+limit+", or no slash", s, text)
	}
	trimmed := strings.TrimLeft(strings.TrimPrefix(length, "+"), "0")
	if trimmed == "" && strings.Contains(length, "0") {
		trimmed = "0"
	}
	n, ok := parseLength(trimmed)
	switch {
	case ok && n > addr.BitLen():
		return badSyntax("the length is at most /" + limit + " for this kind of address")
	case ok && trimmed != length:
		return network("the length must be plain digits, without sign or leading zeros", text, n)
	}
	return badSyntax("the length after the slash must be digits from 0 to " + limit)
}
