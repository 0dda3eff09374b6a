package page

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ipallow/ipallow"
	hidden "github.com/ipallow/ipallow/cmd/internal/visible"
)

// visible shows a text of others, on one line.
func visible(s string) string { return hidden.Text(s) }

// short returns a prefix as people write it: a single address without its
// length.
func short(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// count returns "1 entry" or "5 entries".
func count[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return group(fmt.Sprint(n)) + " " + many
}

// group puts commas between thousands.
func group(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// ago returns how long before now t was, in words.
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "never"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return count(int(d/time.Minute), "minute ago", "minutes ago")
	case d < 24*time.Hour:
		return count(int(d/time.Hour), "hour ago", "hours ago")
	case d < 30*24*time.Hour:
		return count(int(d/(24*time.Hour)), "day ago", "days ago")
	}
	return t.UTC().Format("2 Jan 2006")
}

// sentence returns a reason of the engine as a sentence.
func sentence(reason string) string {
	r, size := utf8.DecodeRuneInString(reason)
	if size == 0 {
		return ""
	}
	s := string(unicode.ToUpper(r)) + reason[size:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// limits says in a sentence what a list may hold.
func limits(p ipallow.Policy) string {
	s := fmt.Sprintf("Up to %s. IPv4 networks from /%d, IPv6 networks from /%d.", count(p.MaxEntries, "entry", "entries"), p.MinBits4, p.MinBits6)
	if !p.AllowNonPublic {
		s += " Public addresses only: write the address that requests leave your network from."
	}
	return s
}

// took is a duration as a person reads it, to two digits or three.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Second:
		return group(fmt.Sprint(d.Milliseconds())) + " ms"
	}
	return group(fmt.Sprint(int64(d/time.Second))) + " s"
}
