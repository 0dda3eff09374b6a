package usagelog

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// cleanText returns s with everything that is not printable replaced by
// U+FFFD, cut and marked at limit bytes.
func cleanText(s string, limit int) string {
	if len(s) <= limit && (isPlain(s) || isPrintable(s)) {
		return s
	}
	return rewrite(s, limit, false)
}

// cleanPath returns the part of s before a query or a fragment, with
// everything that is not printable or looks like nothing percent-encoded, cut and
// marked at limit bytes. A '?' that was percent-encoded in the request and decoded
// by the server is cut as well: losing the end of an odd path is harmless, keeping
// a query is not.
func cleanPath(s string, limit int) string {
	plain := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '?' || c == '#' {
			s = s[:i]
			break
		}
		if c < ' ' || c > '~' {
			plain = false
		}
		if i > limit {
			break // what follows is cut in any case
		}
	}
	if plain && len(s) <= limit {
		return s
	}
	return rewrite(s, limit, true)
}

// isPlain reports whether s is printable ASCII, which is nearly always so.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isPrintable reports whether cleanText leaves s as it is, as the labels of people who
// write no English.
func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// rewrite is the slow path of cleanText and cleanPath. It looks at no more of
// s than fits the limit, so an enormous input costs nothing extra.
func rewrite(s string, limit int, percent bool) string {
	const hexDigits = "0123456789ABCDEF"
	out := make([]byte, 0, limit+3*utf8.UTFMax)
	cut := 0 // the longest whole prefix of out that leaves room for the mark
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		invalid := r == utf8.RuneError && n == 1
		switch {
		case !invalid && unicode.IsPrint(r) && !(percent && isBlank(r)):
			out = append(out, s[i:i+n]...)
		case percent:
			for _, c := range []byte(s[i : i+n]) {
				out = append(out, '%', hexDigits[c>>4], hexDigits[c&15])
			}
		default:
			out = utf8.AppendRune(out, utf8.RuneError)
		}
		if len(out) > limit {
			return string(append(out[:cut], TruncationMark...))
		}
		if len(out) <= limit-len(TruncationMark) {
			cut = len(out)
		}
		i += n
	}
	return string(out)
}

// isBlank reports whether r, which is printable, looks like nothing: fillers, variation
// selectors, a Braille pattern without dots.
func isBlank(r rune) bool {
	return r == 0x2800 || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
