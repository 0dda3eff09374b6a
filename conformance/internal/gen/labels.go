package main

import "strings"

func times(s string, n int) string { return strings.Repeat(s, n) }

// labelled is a list of one good entry with the label.
func labelled(label string) []text { return []text{{Entry: "203.0.113.5", Label: label}} }

func goodLabel(name, label, reason string) listCase {
	return keep("label: "+name, reason, labelled(label), []text{{Entry: "203.0.113.5/32", Label: label}})
}

func badLabel(name, label, code, reason string) listCase {
	return reject("label: "+name, reason, labelled(label), at(0, code))
}

func labelCases() []listCase {
	return []listCase{
		goodLabel("99 characters", times("x", 99), "one below the limit"),
		goodLabel("100 characters", times("x", 100), "exactly the limit"),
		badLabel("101 characters", times("x", 101), labelTooLong, "one above the limit"),
		goodLabel("99 of two bytes", times("\u00e9", 99), "code points count, not bytes"),
		goodLabel("100 of two bytes", times("\u00e9", 100), "200 bytes are 100 code points"),
		badLabel("101 of two bytes", times("\u00e9", 101), labelTooLong, "one above the limit"),
		goodLabel("100 of three bytes", times("\u6771", 100), "300 bytes are 100 code points"),
		badLabel("101 of three bytes", times("\u6771", 101), labelTooLong, "one above the limit"),
		goodLabel("99 of four bytes", times("\U0001f3e2", 99), "one below the limit, though 198 UTF-16 units"),
		goodLabel("100 of four bytes", times("\U0001f3e2", 100), "200 UTF-16 units are 100 code points"),
		badLabel("101 of four bytes", times("\U0001f3e2", 101), labelTooLong, "one above the limit"),
		goodLabel("50 letters with accents of their own", times("e\u0301", 50), "a combining accent is a code point"),
		badLabel("51 letters with accents of their own", times("e\u0301", 51), labelTooLong, "51 characters to the eye are 102 code points; nothing is composed first"),
		goodLabel("emoji of several code points", times("\U0001f469\u200d\U0001f4bb", 33)+"!", "33 emoji of three code points each, and one more"),
		badLabel("emoji of several code points, too many", times("\U0001f469\u200d\U0001f4bb", 34), labelTooLong, "34 to the eye are 102 code points"),
		goodLabel("mixed widths", times("x\u00e9\u6771\U0001f3e2", 25), "25 of each width"),
		badLabel("mixed widths, too many", times("x\u00e9\u6771\U0001f3e2", 25)+"x", labelTooLong, "101 code points"),
		goodLabel("5 under a limit of 5", "abcde", "exactly the limit").with(policy{"max_label": 5}),
		badLabel("6 under a limit of 5", "abcdef", labelTooLong, "one above the limit").with(policy{"max_label": 5}),
		goodLabel("empty under a limit of 0", "", "no label is always right").with(policy{"max_label": 0}),
		badLabel("1 under a limit of 0", "x", labelTooLong, "one above the limit").with(policy{"max_label": 0}),
		goodLabel("101 under a limit of 101", times("x", 101), "the limit can be widened").with(policy{"max_label": 101}),

		goodLabel("spaces are kept", "  office  ", "a label is text; nothing is trimmed"),
		goodLabel("markup is kept", `<b>"office" & 'home'</b>`, "a label is text; escaping it is for those who show it"),
		goodLabel("looks like an entry", "10.0.0.0/8", "a label is never read as an entry"),
		goodLabel("no-break space", "head\u00a0office", "the first character after the control characters"),
		goodLabel("replacement character", "\ufffd", "well-formed UTF-8, though decoders write it where the input was not"),
		goodLabel("highest code point", "\U0010ffff", "valid UTF-8, assigned or not"),
		goodLabel("tilde", "~", "the last character before DEL"),
		badLabel("nul", "a\u0000b", labelInvalid, "control character U+0000"),
		badLabel("tab", "a\tb", labelInvalid, "control character U+0009"),
		badLabel("line feed", "a\nb", labelInvalid, "control character U+000A; it would forge a line of a log"),
		badLabel("carriage return", "a\rb", labelInvalid, "control character U+000D"),
		badLabel("escape", "\u001b[31m", labelInvalid, "control character U+001B; it would colour a terminal"),
		badLabel("last of the low ones", "a\u001fb", labelInvalid, "control character U+001F"),
		badLabel("delete", "a\u007f", labelInvalid, "control character U+007F"),
		badLabel("first of the high ones", "\u0080", labelInvalid, "control character U+0080"),
		badLabel("next line", "a\u0085b", labelInvalid, "control character U+0085, white space to some character tests"),
		badLabel("last of the high ones", "\u009f", labelInvalid, "control character U+009F"),
		badLabel("control character at the end", "office\n", labelInvalid, "a pattern that ends in $ lets it pass in some languages"),
		badLabel("too long and with a control character", times("x", 100)+"\n", labelInvalid, "a label that is no text has no length in characters"),
	}
}

// bytesLabel is a list whose label is given byte by byte, because JSON has no
// way to write what is not UTF-8.
func bytesLabel(hex string) []text { return []text{{Entry: "203.0.113.5", LabelHex: &hex}} }

func labelByteCases() []listCase {
	bad := func(name, hex, reason string) listCase {
		return reject("label bytes: "+name, reason, bytesLabel(hex), at(0, labelInvalid))
	}
	good := func(name, hex, label, reason string) listCase {
		return keep("label bytes: "+name, reason, bytesLabel(hex), []text{{Entry: "203.0.113.5/32", Label: label}})
	}
	return []listCase{
		good("ascii", "6f6666696365", "office", "the label_hex member is read"),
		good("two bytes", "c3a9", "\u00e9", "valid UTF-8"),
		good("four bytes", "f09f8fa2", "\U0001f3e2", "valid UTF-8"),
		good("none", "", "", "no bytes are the empty label"),
		bad("ff", "61ff62", "a byte that UTF-8 never has"),
		bad("latin-1", "636166e9", "an accented letter in another encoding"),
		bad("continuation alone", "80", "a continuation byte without a start"),
		bad("cut after two of three", "6fe69d", "the end is missing"),
		bad("bad continuation", "c328", "the second byte is no continuation"),
		bad("overlong nul", "c080", "U+0000 in two bytes, as Java's modified UTF-8 has it"),
		bad("overlong slash", "e080af", "U+002F in three bytes"),
		bad("surrogate", "eda080", "U+D800 is no character"),
		bad("pair of surrogates", "eda0bdedb080", "CESU-8 is not UTF-8"),
		bad("beyond the last code point", "f4908080", "U+110000"),
		bad("too long as well", times("ff", 101), "a label that is no text has no length in characters"),
	}
}
