// Package visible shows texts of others as what they are. A name, a label, a path or
// a node's message may hold characters that nobody sees, that move others, or that
// draw over them, and so pass for another text. Each of those becomes its code point
// in brackets, [U+202E], wherever a person reads it: Text and Lines for a value, HTML
// for a whole page, Writer for a terminal, Quote inside a message. JSON, which programs
// read, escapes them and stays the same data.
//
// # What is shown
//
//   - characters of the Unicode categories Cc, Cf, Cn, Co, Cs, Zl and Zp, and bytes that
//     are not UTF-8: controls, bidirectional controls, tags, private use
//   - Default_Ignorable_Code_Point (the fillers of Hangul, U+034F, variation selectors),
//     and symbols and letters with an empty glyph (U+2800)
//   - spaces that look like U+0020 or like nothing
//   - a combining mark without a letter or symbol to stand on, a mark that repeats the one
//     before it, the fourth of the marks that any script may use, and the fifth of all
//
// # What stays
//
// What a script is written with: U+200C and U+200D after a virama and where the letters
// of Arabic and its like join, the selectors of Mongolian, signs such as U+06DD; U+FE0E
// and U+FE0F after a symbol that has both a picture and an outline, and U+200D between
// pictures; U+00A0 and U+202F beside a digit or punctuation, U+3000 beside an ideograph.
// Flags made of tags, and variants of ideographs, are shown by their code points.
//
// Letters that look alike (Latin a, Cyrillic а) are not what this package is about.
package visible

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns s on one line with every hidden character shown. Texts that differ have
// results that differ, unless they differ only in bytes that are not UTF-8.
func Text(s string) string { return rewrite(s, "", "[U+", show) }

// Lines is Text for a text of several lines: line ends and tabs stay.
func Lines(s string) string { return rewrite(s, "\n\r\t", "[U+", show) }

// HTML returns a page with every hidden character shown that nobody has shown before,
// in its text and in the values of its fields.
func HTML(page []byte) []byte {
	if isPlain(page) {
		return page
	}
	return []byte(rewrite(string(page), "\n\r\t", "", show))
}

// JSON returns a JSON text with every hidden character escaped: the same data.
func JSON(text []byte) []byte {
	if isPlain(text) {
		return text
	}
	return []byte(rewrite(string(text), "\n\r\t", "", func(b *strings.Builder, r rune) {
		if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
			fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
		} else {
			fmt.Fprintf(b, `\u%04x`, r)
		}
	}))
}

// Quote is strconv.Quote with every hidden character escaped.
func Quote(s string) string {
	b := append(make([]byte, 0, len(s)+2), '"')
	var sc scanner
	for len(s) > 0 {
		_, size, hidden := sc.next(s)
		quoted := strconv.Quote(s[:size])
		if hidden {
			quoted = strconv.QuoteToASCII(s[:size])
		}
		b = append(b, quoted[1:len(quoted)-1]...)
		s = s[size:]
	}
	return string(append(b, '"'))
}

// Writer returns a writer for what people read on a terminal: text of several lines,
// with every hidden character shown. A Write holds whole characters.
func Writer(w io.Writer) io.Writer { return &writer{w: w} }

type writer struct {
	w  io.Writer
	sc scanner
}

func (w *writer) Write(p []byte) (int, error) {
	var b strings.Builder
	w.sc.rewrite(&b, string(p), "\n\r\t", "", show)
	if _, err := io.WriteString(w.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

var shown = regexp.MustCompile(`\[U\+([0-9A-F]{4,6})\]`)

// Parse returns the text that Text or Lines shows as s, and s itself if there is none:
// what a person reads in a field can be sent back, and edited, as it is.
func Parse(s string) string {
	if !strings.Contains(s, "[U+") {
		return s
	}
	text := shown.ReplaceAllStringFunc(s, func(m string) string {
		r, err := strconv.ParseInt(m[3:len(m)-1], 16, 32)
		if err != nil || !utf8.ValidRune(rune(r)) {
			return m
		}
		return string(rune(r))
	})
	if Text(text) == s || Lines(text) == s {
		return text
	}
	return s
}

func show(b *strings.Builder, r rune) { fmt.Fprintf(b, "[U+%04X]", r) }

// rewrite returns s with hidden characters but those in keep written by write, and with
// the bracket of what looks like one that was: mark is how those begin.
func rewrite(s, keep, mark string, write func(*strings.Builder, rune)) string {
	if isPlain(s) && (mark == "" || !strings.Contains(s, mark)) && (keep != "" || !strings.ContainsAny(s, "\n\r\t")) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 64)
	var sc scanner
	sc.rewrite(&b, s, keep, mark, write)
	return b.String()
}

func (sc *scanner) rewrite(b *strings.Builder, s, keep, mark string, write func(*strings.Builder, rune)) {
	for len(s) > 0 {
		r, size, hidden := sc.next(s)
		switch {
		case mark != "" && strings.HasPrefix(s, mark):
			write(b, r)
		case hidden && !strings.ContainsRune(keep, r):
			write(b, r)
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
}

// isPlain reports whether s is printable ASCII and white space.
func isPlain[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x7f || c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}
