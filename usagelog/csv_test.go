package usagelog

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"iter"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// sequence yields recs and then err, if it is not nil.
func sequence(err error, recs ...Record) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for _, r := range recs {
			if !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(Record{}, err)
		}
	}
}

func TestWriteCSV(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, WriteCSV(&out, sequence(nil)))
	require.Equal(t, csvHeader, out.String(), "a header also without records")
	out.Reset()
	require.NoError(t, WriteCSV(&out, sequence(nil,
		Record{
			Time: time.Date(2026, 3, 1, 13, 0, 0, 5, time.FixedZone("", 3600)), RequestID: "req-1", KeyID: "key_a", Method: "GET",
			Path: "/v1/items?secret=1", Status: 403, ClientAddr: netip.MustParseAddr("2001:db8::1"), Verdict: ipallow.Denied, Duration: 1234567,
		},
		Record{Time: start, Path: `/a,"b"`, Verdict: ipallow.Unrestricted, Duration: 3 * time.Second, More: 42},
		Record{
			Time: start, ClientAddr: netip.MustParseAddr("203.0.113.5"), Verdict: ipallow.Allowed,
			Entry: netip.MustParsePrefix("203.0.113.0/24"), Label: "Büro; =1", List: "@cloud",
		},
	)))
	require.Equal(t, csvHeader+
		"2026-03-01T12:00:00.000000005Z,req-1,key_a,GET,/v1/items,403,2001:db8::1,denied,1.234567,1,,,\r\n"+
		`2026-03-01T12:00:00.000000000Z,,,,"/a,""b""",,,unrestricted,3000,43,,,`+"\r\n"+
		`2026-03-01T12:00:00.000000000Z,,,,,,203.0.113.5,allowed,0,1,203.0.113.0/24,"Büro;' =1",'@cloud`+"\r\n", out.String())
}

func TestCells(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"/path", "/path"},
		{"a b", "a b"},
		{" a", `" a"`},
		{"a,b", `"a,b"`},
		{`a"b`, `"a""b"`},
		{"=1+1", "'=1+1"},
		{"+1", "'+1"},
		{"-1", "'-1"},
		{"@SUM(A1)", "'@SUM(A1)"},
		{"\t=1", "'\t=1"},
		{"\tx", "'\tx"},
		{"\rx", "\"'\rx\""},
		{"   =1", `"'   =1"`},
		{"\u00a0\u3000=1", "'\u00a0\u3000=1"},
		{"\u200b\ufeff=1", "'\u200b\ufeff=1"},
		{"＝1", "'＝1"}, {"＋1", "'＋1"}, {"－1", "'－1"}, {"＠1", "'＠1"},
		{"﹦1", "'﹦1"}, {"﹢1", "'﹢1"}, {"﹣1", "'﹣1"}, {"﹫1", "'﹫1"}, {"−1", "'−1"},
		{`"=1`, `"'""=1"`},
		{`a;=1`, `"a;'=1"`},
		{`a; "=1;b;-2`, `"a;' ""=1;b;'-2"`},
		{";", `";"`},
		{"'=1", "'=1"},
		{"a=b", "a=b"},
		{"0=1", "0=1"},
		{"日=1", "日=1"},
	} {
		require.Equal(t, c.want, string(appendCell(nil, c.in)), "%q", c.in)
	}
}

func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 1: "0.000001", 100: "0.0001", 999_999: "0.999999", 1_000_000: "1", 1_500_000: "1.5", time.Hour: "3600000", 1_000_001: "1.000001",
	} {
		require.Equal(t, want, string(appendMillis(nil, d)))
	}
}

// A brokenWriter fails, or writes short, after n bytes.
type brokenWriter struct {
	n   int
	err error
}

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.n -= len(b); w.n < 0 {
		return 0, w.err
	}
	return len(b), nil
}

func TestWriteCSVErrors(t *testing.T) {
	fault := errors.New("fault")
	var out bytes.Buffer
	err := WriteCSV(&out, sequence(fault, sample(1), sample(2)))
	require.ErrorIs(t, err, fault)
	require.Contains(t, err.Error(), "after 2 records")
	require.Equal(t, 3, strings.Count(out.String(), "\r\n"), "what came before the error is written")

	many := make([]Record, 2000)
	for i := range many {
		many[i] = sample(i)
	}
	require.ErrorIs(t, WriteCSV(&brokenWriter{50_000, fault}, sequence(nil, many...)), fault)
	require.ErrorIs(t, WriteCSV(&brokenWriter{50_000, nil}, sequence(nil, many...)), io.ErrShortWrite)
	require.ErrorIs(t, WriteCSV(&brokenWriter{0, fault}, sequence(nil)), fault)
}

// triggers is the documented list, spelt out again.
const triggers = "=+-@\t\r\n＝＋－＠﹦﹢﹣﹫−"

// runs reports whether a spreadsheet might run the cell: the simple rule, in
// other words than beginsFormula.
func runs(cell string) bool {
	if cell != "" && strings.ContainsRune("\t\r\n", rune(cell[0])) {
		return true
	}
	cell = strings.TrimLeft(cell, "\" \t\r\n\v\f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u200b\u200c\u200d\u2060\ufeff\u00ad")
	r, _ := utf8.DecodeRuneInString(cell)
	return cell != "" && strings.ContainsRune(triggers, r)
}

func FuzzCSV(f *testing.F) {
	f.Add("/v1/items", "req-1", "key")           // the usual
	f.Add(`=cmd|' /C calc'!A0`, "+1", "-1")      // the classic attacks
	f.Add("@SUM(1)", "\t=1", "\r=1")             // and their variants
	f.Add("＝1+1", "\u3000＋1", "\u200b=1")        // full width, behind invisible characters
	f.Add(`","=1`, `";=1`, "a\r\n=1")            // breaking out of the cell
	f.Add("a;=1;\"=2", "; ;-3", ";")             // spreadsheets that split on semicolons
	f.Add("'=1", "''", "\"")                     // quotes of both kinds
	f.Add("\xff=1", "\xed\xa0\x80", "\x00=1")    // not UTF-8, NUL
	f.Add(strings.Repeat("=", 2000), "日", "…=1") // cut at the limit
	f.Fuzz(func(t *testing.T, path, id, key string) {
		r := Record{Time: start, Path: path, RequestID: id, KeyID: key, Method: id,
			ClientAddr: netip.IPv4Unspecified(), Entry: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Label: path, List: id}
		var out bytes.Buffer
		require.NoError(t, WriteCSV(&out, sequence(nil, r, r)))
		require.True(t, utf8.Valid(out.Bytes()))
		require.Equal(t, 3, strings.Count(out.String(), "\n"))
		require.Equal(t, 3, strings.Count(out.String(), "\r\n"))
		rows, err := csv.NewReader(&out).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, 3)
		require.Equal(t, rows[1], rows[2])
		r = r.Normalize()
		require.Equal(t, []string{
			"2026-03-01T12:00:00.000000000Z", neutral(r.RequestID), neutral(r.KeyID), neutral(r.Method), neutral(r.Path), "", "0.0.0.0", "denied", "0", "1",
			"0.0.0.0/0", neutral(r.Label), neutral(r.List),
		}, rows[1])
		for _, cell := range rows[1] {
			for part := range strings.SplitSeq(cell, ";") {
				if runs(part) {
					t.Fatalf("the cell %q may run as a formula: of %q, %q, %q", cell, path, id, key)
				}
			}
		}
	})
}

// neutral is what WriteCSV documents of a text.
func neutral(s string) string {
	parts := strings.Split(s, ";")
	for i, p := range parts {
		if beginsFormula(strings.Join(parts[i:], ";")) || runs(p) {
			parts[i] = "'" + p
		}
	}
	return strings.Join(parts, ";")
}
