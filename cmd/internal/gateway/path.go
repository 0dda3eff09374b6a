package gateway

import "strings"

// hasDots reports whether a decoded path has a segment that the upstream could
// take for "." or "..", and so leave the path that Upstream names. Segments end
// at slashes and, as some servers see it, at backslashes; a parameter behind a
// semicolon is not part of them; and a dot may be encoded twice.
//
// Everything else passes as it came. An encoded slash is data to many APIs, and
// "//" a path like any other.
func hasDots(path string) bool {
	if !strings.Contains(path, ".") && !strings.Contains(path, "%") {
		return false
	}
	for path != "" {
		segment := path
		if i := strings.IndexAny(path, `/\`); i >= 0 {
			segment, path = path[:i], path[i+1:]
		} else {
			path = ""
		}
		segment, _, _ = strings.Cut(segment, ";")
		if isDots(segment) {
			return true
		}
	}
	return false
}

func isDots(segment string) bool {
	dots := 0
	for segment != "" {
		n := 1
		switch {
		case segment[0] == '.':
		case len(segment) >= 3 && strings.EqualFold(segment[:3], "%2e"):
			n = 3
		default:
			return false
		}
		segment = segment[n:]
		dots++
	}
	return dots == 1 || dots == 2
}
