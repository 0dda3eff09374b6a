package entrytext

import (
	"net/netip"
	"strings"
	"unicode"
)

// What stands around an entry where it was copied from: other entries, a comment, quotation marks,
// a URL.

// tryLines reads a few lines of a file, those that are a comment left out.
func tryLines(s string) *Refusal {
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
func trySeparated(s string) *Refusal {
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
func trySpaced(s string) *Refusal { return several(s, strings.Fields(s)) }

// several is the refusal of a text that is made of two parts or more and could be read if each was
// written alone. It is nil for others.
func several(s string, parts []string) *Refusal {
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
		if len(inner.Networks) == 0 || inner.Either || len(r.Networks) > MaxMeant {
			return nil
		}
		for _, p := range inner.Networks {
			if !seen[p] {
				seen[p] = true
				r.Networks = append(r.Networks, p)
			}
		}
	}
	return r
}

// tryComment reads what a line of a file has around an entry.
func tryComment(s string) *Refusal {
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
func tryQuotes(s string) *Refusal {
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
func trySpace(s string) *Refusal {
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
func tryURL(s string) *Refusal {
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

func tryBrackets(s string) *Refusal {
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
