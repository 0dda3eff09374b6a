package visible

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxMarks is as many as Hebrew with points and accents has on a letter.
	maxMarks = 4
	// maxCommon is as many of the marks for any script as polytonic Greek and
	// vocalised Arabic have.
	maxCommon = 3
)

// A scanner tells hidden characters, one after the other, by what is around them.
type scanner struct {
	last   rune // the one before; 0: none, or hidden
	base   rune // the last one that was no mark, joiner or selector; 0: none
	marks  int  // after base
	common int  // of them for any script
}

// next returns the first character of s, which is not empty, its length, and whether
// it is hidden.
func (sc *scanner) next(s string) (r rune, size int, hidden bool) {
	r, size = utf8.DecodeRuneInString(s)
	if r < utf8.RuneSelf {
		if hidden = r < ' ' || r == 0x7f; hidden {
			*sc = scanner{}
		} else {
			*sc = scanner{last: r, base: r}
		}
		return r, size, hidden
	}
	after, _ := utf8.DecodeRuneInString(s[size:])
	if size == len(s) {
		after = 0
	}
	switch {
	case r == utf8.RuneError && size == 1:
		hidden = true
	case r == zwnj || r == zwj:
		hidden = !sc.joins(r, after)
	case r == 0xfe0e || r == 0xfe0f:
		hidden = !unicode.Is(pictures, sc.last) && !(isKeycap(sc.last) && after == 0x20e3)
	case unicode.Is(unicode.Variation_Selector, r) || r == 0x180e:
		hidden = !unicode.Is(unicode.Mongolian, sc.last) || r == 0x180e && !unicode.Is(unicode.Mongolian, after)
	case unicode.Is(unicode.Zs, r):
		hidden = !sc.separates(r, after)
		*sc = scanner{last: ' ', base: ' '}
		return r, size, hidden
	case isHidden(r):
		hidden = true
	case unicode.In(r, unicode.Mn, unicode.Me):
		if hidden = !sc.stacks(r); !hidden {
			sc.last = r
			return r, size, false
		}
	case unicode.Is(unicode.Mc, r):
		if hidden = sc.base == 0 || sc.base == ' '; !hidden {
			sc.last = r
			return r, size, false
		}
	default:
		*sc = scanner{last: r, base: r}
		return r, size, false
	}
	if hidden {
		*sc = scanner{}
	} else {
		sc.last = r
	}
	return r, size, hidden
}

// isHidden is about characters that are hidden wherever they stand.
func isHidden(r rune) bool {
	if unicode.IsPrint(r) {
		return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, blank)
	}
	// Newer pictures than the tables know stay, and so do the signs of Arabic and
	// others that stand before the number they are for.
	return !(r >= 0x1f000 && r < 0x1fb00) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// stacks counts a mark and reports whether it is seen where it stands.
func (sc *scanner) stacks(r rune) bool {
	if sc.base < utf8.RuneSelf && !isAlnum(sc.base) && !(r == 0x20e3 && isKeycap(sc.base)) || r == sc.last {
		return false
	}
	sc.marks++
	if unicode.Is(unicode.Inherited, r) {
		sc.common++
	}
	return sc.marks <= maxMarks && sc.common <= maxCommon
}

const (
	zwnj = 0x200c
	zwj  = 0x200d
)

// joins reports whether a joiner between what came and after is part of how something
// is written. Virama and joining letters are as in RFC 5892, appendices A.1 and A.2,
// with the habits of Bengali (a joiner before the virama) and Persian (a non-joiner
// after any letter).
func (sc *scanner) joins(r, after rune) bool {
	letter := unicode.Is(joining, sc.base)
	switch {
	case sc.last == 0 || sc.last == zwnj || sc.last == zwj:
		return false
	case isVirama(sc.last):
		return true
	case r == zwnj:
		return letter && unicode.Is(joining, after)
	case isVirama(after):
		return unicode.IsLetter(sc.base)
	}
	return letter != unicode.Is(joining, after) || isPicture(sc.base) && isPicture(after)
}

// separates reports whether a space that is not U+0020 is there for how a text is set.
func (sc *scanner) separates(r, after rune) bool {
	if sc.last == 0 || unicode.IsSpace(sc.last) || after == 0 || unicode.IsSpace(after) || isHidden(after) {
		return false
	}
	switch r {
	case 0x3000:
		return unicode.Is(wide, sc.base) || unicode.Is(wide, after)
	case 0x202f, 0xa0:
		return !unicode.IsLetter(sc.base) || !unicode.IsLetter(after) ||
			unicode.Is(unicode.Mongolian, sc.base) && unicode.Is(unicode.Mongolian, after)
	}
	return false
}

func isVirama(r rune) bool {
	return r >= utf8.RuneSelf && norm.NFD.PropertiesString(string(r)).CCC() == 9
}

func isKeycap(r rune) bool { return r >= '0' && r <= '9' || r == '#' || r == '*' }

func isAlnum(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

func isPicture(r rune) bool {
	return r >= 0x1f000 && r < 0x1fb00 || unicode.Is(pictures, r)
}
