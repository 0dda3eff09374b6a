package reqlog

import "bytes"

const (
	nginxNoKey   = "the line has fewer than four quoted fields; the fourth, after the user agent, is the key (see the log_format in the help)"
	nginxUneven  = "a quoted field does not end"
	nginxNoSpace = "there is no space after the address"

	// nginxQuoted is how many quoted fields a line has at least: the
	// request, the referer, the user agent and the key.
	nginxQuoted = 4
)

// An nginxParser reads lines of the combined format with the key in one more
// pair of quotation marks.
type nginxParser struct{ key []byte }

func (p *nginxParser) parse(line []byte) (key, addr []byte, reason string) {
	n := bytes.IndexByte(line, ' ')
	if n < 0 {
		return nil, nil, nginxNoSpace
	}
	addr = line[:n]
	if bytes.IndexByte(line, '\\') >= 0 {
		key, reason = p.slow(line)
		return key, addr, reason
	}
	switch quotes := bytes.Count(line, quote); {
	case quotes%2 != 0:
		return nil, nil, nginxUneven
	case quotes < 2*nginxQuoted:
		return nil, nil, nginxNoKey
	}
	end := bytes.LastIndexByte(line, '"')
	begin := bytes.LastIndexByte(line[:end], '"')
	return nginxKey(line[begin+1 : end]), addr, ""
}

var quote = []byte{'"'}

// slow finds the key of any line. nginx writes a quotation mark inside a
// value as \x22 and a backslash as \x5C; other servers write \" and \\.
func (p *nginxParser) slow(line []byte) (key []byte, reason string) {
	quotes, begin := 0, 0
	var raw []byte
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++ // what it escapes is no mark
		case '"':
			if quotes++; quotes%2 == 1 {
				begin = i + 1
			} else {
				raw = line[begin:i]
			}
		}
	}
	switch {
	case quotes%2 != 0:
		return nil, nginxUneven
	case quotes < 2*nginxQuoted:
		return nil, nginxNoKey
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return nginxKey(raw), ""
	}
	p.key = unescape(p.key[:0], raw)
	return p.key, ""
}

// nginxKey is the key in a field: nginx writes - where a value is missing.
func nginxKey(field []byte) []byte {
	if len(field) == 1 && field[0] == '-' {
		return nil
	}
	return field
}

// unescape appends raw to dst with \xHH, \" and \\ resolved. Any other
// backslash stands for itself.
func unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '\\' && i+1 < len(raw) {
			switch next := raw[i+1]; {
			case next == '"' || next == '\\':
				c = next
				i++
			case next == 'x' && i+3 < len(raw) && hex(raw[i+2]) >= 0 && hex(raw[i+3]) >= 0:
				c = byte(hex(raw[i+2])<<4 | hex(raw[i+3]))
				i += 3
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// hex is the value of a hexadecimal digit, or -1.
func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
