package usagelog

import (
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// csvHeader is the first row of WriteCSV. Columns are only ever added at the end.
const csvHeader = "time,request_id,key_id,method,path,status,client_addr,verdict,duration_ms,requests,entry,label,list\r\n"

// csvTime is RFC 3339 with all nine digits, so that every row is as wide and
// text order is time order.
const csvTime = "2006-01-02T15:04:05.000000000Z07:00"

// csvBuffer is how much WriteCSV collects for one Write.
const csvBuffer = 32 << 10

// WriteCSV writes a header row and the records of seq to w as CSV: RFC 4180,
// rows ending in CRLF, UTF-8 without a byte order mark. Records are normalised
// first. A Status of 0 and the zero ClientAddr are empty cells; the duration
// is in milliseconds, exact to the nanosecond. Requests is how many
// requests the row stands for: 1, but where a flood was summed up. Entry, label and
// list are those of the Record.
//
// A spreadsheet runs a cell that looks like a formula, and a client chooses its
// path, so texts are neutralised: an apostrophe is put before a text that
// begins with one of = + - @ or their full-width (U+FF1D, U+FF0B, U+FF0D,
// U+FF20) or small (U+FE66, U+FE62, U+FE63, U+FE6B) forms, or with U+2212, also
// when white space, invisible characters or double quotes come before it. The
// same is done to such a character after a semicolon inside a text, because
// many locales split rows there. An apostrophe that was in a text already stays
// as it is, so the change cannot be undone from the file; programs that need
// the exact texts read them from the Store.
//
// WriteCSV stops at the first error of seq or w and returns it, wrapped with
// the number of records before it. The rows written by then are whole or, if w
// failed, cut anywhere. It holds 32 KiB, whatever the length of seq.
func WriteCSV(w io.Writer, seq iter.Seq2[Record, error]) error {
	buf := make([]byte, 0, csvBuffer+4*(maxFrame+256))
	buf = append(buf, csvHeader...)
	rows := 0
	var fault error
	for r, err := range seq {
		if err != nil {
			fault = err
			break
		}
		r = r.Normalize()
		buf = appendRow(buf, &r)
		rows++
		if len(buf) >= csvBuffer {
			if err := writeAll(w, buf); err != nil {
				return fmt.Errorf("usagelog: CSV stopped within %d records: %w", rows, err)
			}
			buf = buf[:0]
		}
	}
	if err := writeAll(w, buf); err != nil {
		return fmt.Errorf("usagelog: CSV stopped within %d records: %w", rows, err)
	}
	if fault != nil {
		return fmt.Errorf("usagelog: CSV stopped after %d records: %w", rows, fault)
	}
	return nil
}

// writeAll is w.Write for writers that break their contract by a short write
// without an error.
func writeAll(w io.Writer, b []byte) error {
	n, err := w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// appendRow appends the row of r, which is normalised. Only the texts can
// hold what a client or an operator chose; the other cells are made of digits,
// lower-case letters, "-", ":", "." and begin with a digit, a letter or ":".
func appendRow(b []byte, r *Record) []byte {
	b = r.Time.AppendFormat(b, csvTime)
	b = append(b, ',')
	b = append(appendCell(b, r.RequestID), ',')
	b = append(appendCell(b, r.KeyID), ',')
	b = append(appendCell(b, r.Method), ',')
	b = append(appendCell(b, r.Path), ',')
	if r.Status != 0 {
		b = strconv.AppendInt(b, int64(r.Status), 10)
	}
	b = append(b, ',')
	if r.ClientAddr.IsValid() {
		b = r.ClientAddr.AppendTo(b)
	}
	b = append(b, ',')
	b = append(b, r.Verdict.String()...)
	b = append(b, ',')
	b = appendMillis(b, r.Duration)
	b = append(b, ',')
	b = strconv.AppendInt(b, r.Requests(), 10)
	b = append(b, ',')
	if r.Entry.IsValid() {
		b = r.Entry.AppendTo(b)
	}
	b = append(b, ',')
	b = append(appendCell(b, r.Label), ',')
	b = appendCell(b, r.List)
	return append(b, '\r', '\n')
}

// appendMillis appends d, which is not negative, in milliseconds, with the
// decimals it needs.
func appendMillis(b []byte, d time.Duration) []byte {
	b = strconv.AppendInt(b, int64(d/time.Millisecond), 10)
	frac := int64(d % time.Millisecond)
	if frac == 0 {
		return b
	}
	b = append(b, '.')
	for div := int64(time.Millisecond) / 10; frac > 0; div /= 10 {
		b = append(b, byte('0'+frac/div))
		frac %= div
	}
	return b
}

// appendCell appends a text cell, neutralised and quoted where it has to be.
func appendCell(b []byte, s string) []byte {
	quote := strings.ContainsAny(s, "\",;\r\n") || strings.HasPrefix(s, " ") || strings.HasSuffix(s, " ")
	if quote {
		b = append(b, '"')
	}
	for {
		if beginsFormula(s) {
			b = append(b, '\'')
		}
		part, rest, more := strings.Cut(s, ";")
		for {
			before, after, found := strings.Cut(part, `"`)
			b = append(b, before...)
			if !found {
				break
			}
			b = append(b, `""`...)
			part = after
		}
		if !more {
			break
		}
		b = append(b, ';')
		s = rest
	}
	if quote {
		b = append(b, '"')
	}
	return b
}

// beginsFormula reports whether a spreadsheet might take s for a formula.
func beginsFormula(s string) bool {
	if s == "" || (s[0] > '@' && s[0] < 0x80) || s[0] == '/' {
		return false // a letter or a path, which is nearly always so
	}
	for i, r := range s {
		switch r {
		case '=', '+', '-', '@',
			'\uff1d', '\uff0b', '\uff0d', '\uff20',
			'\ufe66', '\ufe62', '\ufe63', '\ufe6b', '\u2212':
			return true
		case '\t', '\r', '\n':
			if i == 0 {
				return true
			}
		case '"':
		default:
			if unicode.IsGraphic(r) && !unicode.Is(unicode.Z, r) {
				return false
			}
		}
	}
	return false
}
