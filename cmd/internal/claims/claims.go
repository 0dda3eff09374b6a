// Package claims knows the headers by which a client could speak in a gateway's
// name: what the API behind would take for a gateway's word on the user, the key,
// the client's address or the original request. None of them passes.
//
//	if claims.Header(name) {
//		delete(header, name)
//	}
//
// # Names
//
// CGI, FastCGI, PHP and WSGI make one variable of names that differ only in case and
// in characters that are neither letters nor digits: X-Real-IP, X_Real_IP and
// X.Real.IP are all HTTP_X_REAL_IP (RFC 3875, section 4.1.18). So a name with any
// character other than letters, digits and hyphens is a claim, whatever it says;
// RFC 9110, section 5.1, advises against such names. The rest are in a table, by
// their names and by the beginnings of families (see the file table.go).
//
// # Concurrency and cost
//
// The functions may be called from any number of goroutines. [Header] allocates
// nothing and takes about 50 ns a name (BenchmarkHeader).
package claims

import (
	"maps"
	"slices"
	"strings"
)

// Header reports whether a header of this name must not pass from a client to an
// API. Case does not matter.
func Header(name string) bool {
	var buf [64]byte
	lower := buf[:0]
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
		default:
			return true
		}
		if i >= longest {
			continue // nothing in the table is as long, but a bad character still counts
		}
		lower = append(lower, c)
		if c == '-' && table[string(lower)] {
			return true
		}
	}
	return len(name) <= longest && table[string(lower)]
}

// Table returns the names in the table, sorted and in lower case. One that ends with
// a hyphen stands for every name that begins so.
func Table() []string { return slices.Sorted(maps.Keys(table)) }

// Same reports whether a careless reader could take a header's name for another one,
// which is given in lower case: without case, and with every character that is no
// letter and no digit for a hyphen.
func Same(name, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		default:
			c = '-'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// SessionCookie is the name of the cookie that opens the settings page. Over TLS it
// has the prefix __Host-.
const SessionCookie = "ipallow_session"

// Cookies returns the value of a Cookie header without the session of the settings
// page, which a browser also sends to other ports of the host (RFC 6265, section
// 8.5). The other cookies are as they were; the result is empty where none is left.
func Cookies(value string) string {
	if !strings.Contains(value, SessionCookie) {
		return value
	}
	var kept []string
	for pair := range strings.SplitSeq(value, ";") {
		name, _, _ := strings.Cut(pair, "=")
		name = strings.TrimPrefix(strings.Trim(name, " \t"), "__Host-")
		if name != SessionCookie {
			kept = append(kept, pair)
		}
	}
	return strings.TrimLeft(strings.Join(kept, ";"), " \t")
}
