package ipallow

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file finds words for a text that is not an entry: what is wrong with it, and what was
// probably meant. It runs only after parsePrefix has refused the text, so nothing here can let an
// entry through, and it looks into decorations by reading what is inside them as an entry.

// A refusal says why a text or a prefix is not an entry, before a policy is applied to what is
// suggested in its place.
type refusal struct {
	code     Code
	reason   string
	networks []netip.Prefix // canonical: what was probably meant; none where nothing is evident
	either   bool           // one of networks was meant; otherwise all of them together
}

// fault is the refusal of input under a policy, which may be nil for none: what the policy
// refuses is not suggested. Networks that belong together are suggested all or not at all.
func (r *refusal) fault(input string, policy *Policy) *EntryError {
	e := &EntryError{Input: input, Code: r.code, Reason: r.reason}
	if policy != nil && len(r.networks) > policy.MaxEntries && (!r.either || policy.MaxEntries < 1) {
		if policy.MaxEntries > 0 {
			e.Reason += "; it stands for " + strconv.Itoa(len(r.networks)) + " networks, and a list may have " +
				strconv.Itoa(policy.MaxEntries) + " entries"
		}
		return e
	}
	var texts []string
	refused := ""
	for _, p := range r.networks {
		if policy != nil {
			if code := policy.refuses(p); code != "" {
				refused = "; " + entryText(p) + " would be refused too (" + string(code) + ")"
				continue
			}
		}
		texts = append(texts, entryText(p))
	}
	switch {
	case refused != "" && (len(texts) == 0 || !r.either):
		e.Reason += refused
		return e
	case r.either:
		e.Suggestion = strings.Join(texts, " or ")
	case len(texts) == 1:
		e.Suggestion = texts[0]
	}
	e.Suggestions = texts
	return e
}

func badSyntax(reason string, networks ...netip.Prefix) *refusal {
	return &refusal{code: CodeInvalidSyntax, reason: reason, networks: networks}
}

const fourForms = "write an IPv4 address (203.0.113.5), an IPv4 network (203.0.113.0/24), " +
	"an IPv6 address (2001:db8::1) or an IPv6 network (2001:db8::/48)"

// maxExplained is the length of the longest text that is searched for several entries, and
// maxMeant how many networks are looked for in one text, so that what a text costs has a bound.
const (
	maxExplained = 4096
	maxMeant     = 4096
)

// explainSyntax says why s is none of the four forms.
func explainSyntax(s string) *refusal {
	switch {
	case s == "":
		return badSyntax("it is empty; " + fourForms)
	case len(s) > maxExplained:
		return badSyntax("it is too long to be an address or network")
	case !utf8.ValidString(s):
		return badSyntax("it is not text in UTF-8; " + fourForms)
	case len(s) > maxEntryText:
		for _, try := range []func(string) *refusal{tryLines, trySeparated, trySpaced} {
			if r := try(s); r != nil && len(r.networks) > 0 {
				return r
			}
		}
		return badSyntax("it is too long to be an address or network")
	}
	for _, try := range []func(string) *refusal{
		tryMask, tryLines, tryComment, trySeparated, tryRange, tryQuotes, trySpaced, tryURL, tryBrackets,
		trySpace, tryKind, tryWildcard, tryZone, tryPort, tryNumbers, tryLength,
	} {
		if r := try(s); r != nil {
			return r
		}
	}
	if hasNameLetter(s) {
		return badSyntax("it looks like a host name, and names are not looked up; write the addresses it stands for")
	}
	return badSyntax("it is not an address or network; " + fourForms)
}

// within is the refusal of a text s of which only inside was meant. What is not shorter is not
// read, so that no text is explained by itself.
func within(reason, s, inside string) *refusal {
	r := badSyntax(reason)
	if len(inside) >= len(s) {
		return r
	}
	p, inner := parsePrefix(inside)
	if inner == nil {
		r.networks = []netip.Prefix{p}
	} else {
		r.networks, r.either = inner.networks, inner.either
	}
	return r
}

// network is the refusal of a text that stands for the network of n bits around addr.
func network(reason, addr string, n int) *refusal {
	r := badSyntax(reason)
	a, err := netip.ParseAddr(addr)
	if p, ok := canonicalPrefix(netip.PrefixFrom(a, n)); ok && err == nil {
		r.networks = []netip.Prefix{p}
	}
	return r
}

// tryLines reads a few lines of a file, those that are a comment left out.
func tryLines(s string) *refusal {
	var lines []string
	for line := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return several(s, lines)
}

// trySeparated reads entries with separators between them. A separator at the end alone belongs to
// the file that one entry was copied from.
func trySeparated(s string) *refusal {
	list := s
	if s[0] == '[' && s[len(s)-1] == ']' && strings.Count(s, "]") == 1 && strings.ContainsAny(s, `"',`) {
		list = s[1 : len(s)-1] // a JSON array
	}
	parts := strings.FieldsFunc(list, isSeparator)
	switch {
	case len(parts) == 1 && parts[0] == s:
		return nil
	case len(parts) == 1:
		return within("it holds a separator or the brackets of a list; write the entry without", s, strings.TrimSpace(parts[0]))
	case len(parts) == 0:
		return badSyntax("it holds separators and no entry; " + fourForms)
	}
	if r := several(s, parts); r != nil {
		return r
	}
	return badSyntax("it holds several entries, and not all of them can be read; write one at a time")
}

func isSeparator(r rune) bool { return r == ',' || r == ';' || r == '|' }

// trySpaced reads entries with white space between them.
func trySpaced(s string) *refusal { return several(s, strings.Fields(s)) }

// several is the refusal of a text that is made of two parts or more and could be read if each was
// written alone. It is nil for others.
func several(s string, parts []string) *refusal {
	if len(parts) < 2 {
		return nil
	}
	r := badSyntax("it holds several entries; write one at a time")
	seen := make(map[netip.Prefix]bool)
	for _, part := range parts {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		inner := within("", s, part)
		if len(inner.networks) == 0 || inner.either || len(r.networks) > maxMeant {
			return nil
		}
		for _, p := range inner.networks {
			if !seen[p] {
				seen[p] = true
				r.networks = append(r.networks, p)
			}
		}
	}
	return r
}

// tryComment reads what a line of a file has around an entry.
func tryComment(s string) *refusal {
	if inside, ok := strings.CutPrefix(s, "- "); ok {
		return within("the mark of a list is not part of an entry; write it without", s, strings.TrimSpace(inside))
	}
	for _, mark := range []string{" #", "\t#", " //", "\t//"} {
		if entry, _, ok := strings.Cut(s, mark); ok && !strings.Contains(s, "\n") {
			return within("it holds a comment; write the entry alone, and the comment as its label", s, strings.TrimSpace(entry))
		}
	}
	return nil
}

// tryQuotes reads an entry copied with the marks around it.
func tryQuotes(s string) *refusal {
	t := strings.TrimRight(strings.TrimSpace(s), ",;")
	n := len(t) - 1
	if n < 1 {
		return nil
	}
	switch t[:1] + t[n:] {
	case `""`, "''", "``", "<>":
		if strings.Count(t, t[:1]) > 2 {
			return nil // several, each in its own
		}
		return within("quotation marks are not part of an entry; write it without them", s, t[1:n])
	}
	return nil
}

// trySpace reads an entry with white space or invisible characters in it, but not where they
// separate digits: "203.0.113.5 6" does not stand for 203.0.113.56.
func trySpace(s string) *refusal {
	var b strings.Builder
	joins := false
	last, blank := rune(' '), false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			blank = true
			continue
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			continue
		}
		joins = joins || blank && isWord(last) && isWord(r)
		b.WriteRune(r)
		last, blank = r, false
	}
	switch t := b.String(); {
	case t == s:
		return nil
	case joins:
		return badSyntax("it contains white space; write one address or network alone, and what it is as its label")
	default:
		return within("it contains white space or invisible characters; write it without them", s, t)
	}
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// tryURL reads the host of a URL.
func tryURL(s string) *refusal {
	_, rest, ok := strings.Cut(s, "://")
	if !ok {
		return nil
	}
	host := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host = rest[:i]
	}
	const reason = "it is a URL; write only the address of the host"
	if ap, err := netip.ParseAddrPort(host); err == nil {
		host = ap.Addr().String()
	}
	return within(reason, s, strings.Trim(host, "[]"))
}

func tryBrackets(s string) *refusal {
	if !strings.ContainsAny(s, "[]") {
		return nil
	}
	inside, after, _ := strings.Cut(strings.TrimPrefix(s, "["), "]")
	if rest, ok := strings.CutPrefix(after, "/"); ok {
		inside += "/" + rest
	} else if port, ok := strings.CutPrefix(after, ":"); after != "" && !(ok && isNumber(port)) {
		return badSyntax("brackets belong to URLs, not to entries; " + fourForms)
	}
	return within("brackets and ports belong to URLs, not to entries; write the address alone", s, inside)
}

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
func tryKind(s string) *refusal {
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

func tryZone(s string) *refusal {
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

func tryPort(s string) *refusal {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.Count(s, ":") > 1 || s[i+1:] != "*" && !isNumber(s[i+1:]) {
		return nil
	}
	r := within("an entry has no port; write the address or network alone", s, s[:i])
	if len(r.networks) == 0 {
		return nil // a name, or worse
	}
	return r
}

// tryNumbers reads dotted numbers that are not an IPv4 address: short ones, padded ones, and those
// written in octal or hexadecimal.
func tryNumbers(s string) *refusal {
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
func tryLength(s string) *refusal {
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
