package visible

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain – text, “quoted”":     "plain – text, “quoted”",
		"office\u202e4202 gpj.":      "office[U+202E]4202 gpj.",
		"a\u2066b\u2069c":            "a[U+2066]b[U+2069]c",
		"zero\u200bwidth\ufeff":      "zero[U+200B]width[U+FEFF]",
		"nul\x00 bell\a esc\x1b[31m": "nul[U+0000] bell[U+0007] esc[U+001B][31m",
		"bad \xff utf-8":             "bad [U+FFFD] utf-8",
		"two\nlines\tand":            "two[U+000A]lines[U+0009]and",
		"C1 \u009b31m \u0085":        "C1 [U+009B]31m [U+0085]",
		"line\u2028para\u2029":       "line[U+2028]para[U+2029]",

		"\u3164":                          "[U+3164]",
		"a\uffa0b\u115fc\u1160d":          "a[U+FFA0]b[U+115F]c[U+1160]d",
		"pay\u2800roll":                   "pay[U+2800]roll",
		"a\u034fb\u17b4\u17b5":            "a[U+034F]b[U+17B4][U+17B5]",
		"prod\ufe0f":                      "prod[U+FE0F]",
		"a\ufe00b\ufe0ec\U000e0100":       "a[U+FE00]b[U+FE0E]c[U+E0100]",
		"漢\U000e0101":                     "漢[U+E0101]",
		"tag \U000e0041\U000e007f":        "tag [U+E0041][U+E007F]",
		"reserved \u2065\ufff0\U000e0fff": "reserved [U+2065][U+FFF0][U+E0FFF]",
		"private \ue000\U0010fffd":        "private [U+E000][U+10FFFD]",
		"unassigned \u0378 \uffff":        "unassigned [U+0378] [U+FFFF]",
		"null note \U0001d159 \ufffc":     "null note [U+1D159] [U+FFFC]",
		"soft\u00adhyphen \u180e":         "soft[U+00AD]hyphen [U+180E]",
		"join\u200ders in\u200cLatin":     "join[U+200D]ers in[U+200C]Latin",
		"при\u200dвет 漢\u200c字":           "при[U+200D]вет 漢[U+200C]字",
		"two می\u200c\u200cخواهم":         "two می[U+200C][U+200C]خواهم",
		"😀\ufe0f 😀\u200da":                "😀[U+FE0F] 😀[U+200D]a",

		"no\u00a0break":            "no[U+00A0]break",
		"\u00a0a\u00a0":            "[U+00A0]a[U+00A0]",
		"a \u00a0b":                "a [U+00A0]b",
		"em\u2003thin\u2009\u205f": "em[U+2003]thin[U+2009][U+205F]",
		"wide\u3000Latin \u1680":   "wide[U+3000]Latin [U+1680]",

		"e\u0301\u0302\u0303\u0304":                "e\u0301\u0302\u0303[U+0304]",
		"e\u0301\u0301":                            "e\u0301[U+0301]",
		"z" + strings.Repeat("\u0335\u0336", 9):    "z\u0335\u0336\u0335" + strings.Repeat("[U+0336][U+0335]", 7) + "[U+0336]",
		"ก" + "\u0e47\u0e48\u0e49\u0e4a\u0e4b":     "ก\u0e47\u0e48\u0e49\u0e4a[U+0E4B]",
		"\u0301a":                                  "[U+0301]a",
		"a \u0301 .\u0338":                         "a [U+0301] .[U+0338]",
		"ab\u202e\u0301":                           "ab[U+202E][U+0301]",
		"\u093f":                                   "[U+093F]",
		"[U+202E]":                                 "[U+005B]U+202E]",
		"[U+005B]":                                 "[U+005B]U+005B]",
		"[x] [u+202e] [U":                          "[x] [u+202e] [U",
		"Devanagari \u0915\u094d\u200d\u200d":      "Devanagari \u0915\u094d\u200d[U+200D]",
		"keycap 1\ufe0f 1\u20e3":                   "keycap 1[U+FE0F] 1\u20e3",
		"\U0001f3f4\U000e0067\U000e0062\U000e007f": "\U0001f3f4[U+E0067][U+E0062][U+E007F]",
	} {
		require.Equal(t, want, Text(in), "%+q", in)
	}
}

// What people write in every script is left alone.
func TestNormalText(t *testing.T) {
	for _, text := range []string{
		"Café, naïve, Größe, Łódź, Việt Nam", "Vie\u0323\u0302t Nam", "\u03b1\u0314\u0301\u0345 πολυτονικό",
		"Привет, Київ", "שָׁל\u05bc\u05b9\u0591ום", "العَرَبِيَّة \u06dd\u0600", "می\u200cخواهم کار\u200cها", "ه\u200d",
		"हिन्दी क्\u200dष क्\u200cष", "বাংলা র\u200d\u09cd\u09af", "ക\u0d4d\u200d മലയാളം", "ශ්\u200dරී ලංකා", "ภาษาไทย ที่นี่",
		"བོད་སྐད་ བསྒྲུབས", "မြန်မာ ကျွန်ုပ်", "ភាសាខ្មែរ", "日本語　テスト、東京都", "中文（简体）", "한국어",
		"\u182e\u1823\u1829\u182d\u1823\u182f \u1820\u180e\u1820 \u1820\u180b", "ⴰⵎⴰⵣⵉⵖ", "አማርኛ", "ქართული", "Հայերեն",
		"☀️ ❤️ ✔︎ ©️ ↔️ ⚡️ 1️⃣ #️⃣", "👩‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 👩🏽‍🚀 🏃‍♀️‍➡️ ❤️‍🔥 🇮🇸 \U0001fae9",
		"10\u00a0% ; prix\u00a0: 5\u202f€, 1\u202f000, «\u00a0oui\u00a0»", "a+b=c <x> \"y\" 'z' \\ & [x]", "",
	} {
		require.Equal(t, text, Text(text), "%+q", text)
		require.Equal(t, text, Parse(text))
		if !strings.ContainsAny(text, "\\\"") && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			require.Equal(t, `"`+text+`"`, Quote(text))
		}
	}
}

// corpus has the characters that hide, and some of the others, in several places.
func corpus(yield func(string) bool) {
	for r := rune(1); r <= unicode.MaxRune; r++ {
		hides := r < 0x20000 && (!unicode.IsPrint(r) && unicode.IsGraphic(r) || isHidden(r) && (r < 0x3000 || r%97 == 0) || unicode.In(r, unicode.M) && r%5 == 0)
		switch {
		case r == 0xd800:
			r = 0xe000
		case r == 0x20000:
			r = 0xdffff
		case r > 0xe0fff:
			r += 4999
		case !hides && r%499 != 0:
			continue
		}
		r = min(r, unicode.MaxRune)
		for _, s := range []string{string(r), "a" + string(r) + "b", "ب" + string(r) + "ب", "क\u094d" + string(r), "☀" + string(r), string([]rune{r, r, r, r, r, r})} {
			if !yield(s) {
				return
			}
		}
	}
}

// Nothing that Unicode calls ignorable, a format or a control gets through beside
// letters of Latin, whatever the tables say of single ones.
func TestEveryIgnorableCharacter(t *testing.T) {
	n := 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		switch r { // a sample of what is unassigned, and of private use
		case 0x32000:
			r = 0xe0000
		case 0xe1000:
			r = unicode.MaxRune - 9
		}
		if !unicode.In(r, unicode.C, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) ||
			unicode.Is(unicode.Prepended_Concatenation_Mark, r) || r >= 0xd800 && r < 0xe000 ||
			r >= 0x1f000 && r < 0x1fb00 { // room for new pictures
			continue
		}
		n++
		if want := fmt.Sprintf("a[U+%04X]b", r); Text("a"+string(r)+"b") != want {
			require.Equal(t, want, Text("a"+string(r)+"b"))
		}
	}
	require.Greater(t, n, 10_000)
}

func TestParseIsTheInverse(t *testing.T) {
	for s := range corpus {
		if shown := Text(s); Parse(shown) != s {
			require.Equal(t, s, Parse(shown), "%+q", s)
		}
		if shown := Lines(s + "\r\n\t" + s); Parse(shown) != s+"\r\n\t"+s {
			require.Equal(t, s+"\r\n\t"+s, Parse(shown), "%+q", s)
		}
	}
	for _, s := range []string{"[U+202E]", "[U+005B]U+202E]", "[[U+[U+0041]", "a\u202eb[U+202E]", "[U+"} {
		require.Equal(t, s, Parse(Text(s)), "%+q", s)
	}
	for in, want := range map[string]string{
		"admin[U+202E]gpj": "admin\u202egpj", "[U+0041]": "[U+0041]", "[U+FFFFFF]": "[U+FFFFFF]", "[U+D800]": "[U+D800]", "[U+0001]": "\x01",
	} {
		require.Equal(t, want, Parse(in))
	}
}

func TestQuoteIsTheSameText(t *testing.T) {
	for s := range corpus {
		q := Quote(s)
		back, err := strconv.Unquote(q)
		if err != nil || back != s || q != `"`+q[1:len(q)-1]+`"` {
			require.Equal(t, s, back, q)
		}
	}
	require.Equal(t, `"a\u3164\"\n\U000e0041\xff"`, Quote("a\u3164\"\n\U000e0041\xff"))
}

func TestJSONIsTheSameData(t *testing.T) {
	for s := range corpus {
		text, err := json.Marshal(s)
		require.NoError(t, err)
		escaped := JSON(text)
		var back string
		if json.Unmarshal(escaped, &back) != nil || back != s {
			require.Equal(t, s, back, "%s", escaped)
		}
	}
	require.Equal(t, `{"a":"\u202e\u009b\udb40\udc41é"}`, string(JSON([]byte("{\"a\":\"\u202e\u009b\U000e0041é\"}"))))
}

// A template that forgets a text shows it all the same.
func TestHTML(t *testing.T) {
	page := template.Must(template.New("").Parse("<p title=\"{{.}}\">\n\t{{.}} “é”</p><input value=\"{{.}}\">"))
	for _, text := range []string{"a\u202eb", "\u3164", "\u0301", "x\ufe0f", "'\u0301\U000e0041"} {
		var b bytes.Buffer
		require.NoError(t, page.Execute(&b, text))
		got := html.UnescapeString(string(HTML(b.Bytes())))
		require.Equal(t, 3, strings.Count(got, Text(text)), got)
		require.NotContains(t, got, text)
		require.Contains(t, got, "\n\t")
		require.Contains(t, got, "“é”")
	}
}

func TestWriter(t *testing.T) {
	var b bytes.Buffer
	w := Writer(&b)
	for _, part := range []string{"a\u202eb\x1b[31m\n", "\tc", "\u0301", "\u0302\u0303\u0304\n", "\u0301"} {
		n, err := w.Write([]byte(part))
		require.NoError(t, err)
		require.Equal(t, len(part), n)
	}
	require.Equal(t, "a[U+202E]b[U+001B][31m\n\tc\u0301\u0302\u0303[U+0304]\n[U+0301]", b.String())
}
