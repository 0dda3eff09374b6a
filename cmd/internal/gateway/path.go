package gateway

import "strings"

// hasDots reports whether a decoded path has a segment that the upstream could
// take for "." or "..", and so leave the path that Upstream names. Segments end
// at slashes and, as some servers see it, at backslashes; a parameter behind a
// semicolon is not part of them; and all of this may be encoded twice.
//
// Everything else passes as it came. An encoded slash is data to many APIs, and
// "//" a path like any other.
func hasDots(path string) bool {
	if strings.Contains(path, ".") && hasDotSegment(path) {
		return true
	}
	return strings.Contains(path, "%") && hasDotSegment(decodeAgain(path))
}

func hasDotSegment(path string) bool {
	for more := true; more; {
		segment := path
		i := strings.IndexAny(path, `/\`)
		if more = i >= 0; more {
			segment, path = path[:i], path[i+1:]
		}
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// decodeAgain decodes what a decoded path still has encoded, and leaves what is
// no encoding as it is.
func decodeAgain(path string) string {
	b := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			high, low := hexDigit(path[i+1]), hexDigit(path[i+2])
			if high >= 0 && low >= 0 {
				b = append(b, byte(high<<4|low))
				i += 2
				continue
			}
		}
		b = append(b, path[i])
	}
	return string(b)
}

// hexDigit returns the value of a hexadecimal digit, or -1.
func hexDigit(c byte) int {
	if 'A' <= c && c <= 'F' {
		c += 'a' - 'A'
	}
	return strings.IndexByte("0123456789abcdef", c)
}
