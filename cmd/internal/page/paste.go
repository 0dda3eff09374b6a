package page

import (
	"net/netip"
	"strings"
	"unicode"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// pastedLines reads lines of an entry and, behind white space, a comma, a
// semicolon or a #, its label: what people have in notes, spreadsheets and
// firewall rules. Empty lines and those that begin with # are passed over.
//
// A line that means something else, such as a range or an address with a
// netmask, is kept whole as the entry, so that it is a fault with an
// explanation and not a single address with a strange label.
func pastedLines(text string) []manage.ListEntry {
	var list []manage.ListEntry
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r", "\n"), "\n") {
		line = strings.TrimFunc(line, blank)
		if line == "" || line[0] == '#' {
			continue
		}
		entry, label := line, ""
		if i := strings.IndexFunc(line, separates); i >= 0 {
			entry, label = line[:i], strings.TrimLeftFunc(line[i:], separates)
			if goesOn(label) {
				entry, label = line, ""
			}
		}
		list = append(list, manage.ListEntry{Entry: unquote(entry), Label: unquote(strings.TrimRightFunc(label, separates))})
	}
	return list
}

func blank(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' || r == '\u200b' }

func separates(r rune) bool { return blank(r) || r == ',' || r == ';' || r == '#' }

// goesOn reports whether what follows the first word is no label but a part of
// a range, a netmask or a length.
func goesOn(rest string) bool {
	if strings.HasPrefix(rest, "/") {
		return true
	}
	word, _, _ := strings.Cut(strings.TrimLeftFunc(rest, func(r rune) bool {
		return blank(r) || r == '-' || r == '–' || r == '—'
	}), " ")
	if _, err := netip.ParseAddr(word); err == nil {
		return true
	}
	_, err := ipallow.ParseEntry(word)
	return err == nil
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == s[len(s)-1] && (s[0] == '"' || s[0] == '\'') {
		return strings.TrimSpace(s[1 : len(s)-1])
	}
	return s
}
