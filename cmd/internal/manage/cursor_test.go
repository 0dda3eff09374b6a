package manage

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCursors(t *testing.T) {
	for _, bad := range []string{"", "0", strings.Repeat("0", 15), strings.Repeat("0", 17), strings.Repeat("0", 31), strings.Repeat("0", 32),
		strings.Repeat("0", 16) + "aaaaaaaaaaaaaaa1", "+" + strings.Repeat("0", 15), "0x" + strings.Repeat("0", 14), "-00000000000000a",
		"ABCDEF0123456789", "00000000_0000000", "' OR 1=1 --     ", strings.Repeat("a", 32<<10)} {
		if bad != "" {
			_, err := parseKeyCursor(bad)
			require.ErrorIs(t, err, ErrCursor, "%.40q", bad)
		}
		if _, err := parseAuditCursor(bad); err == nil {
			t.Errorf("%.40q is a cursor", bad)
		}
	}
	_, err := parseAuditCursor("ffffffffffffffff")
	require.NoError(t, err)
}

// FuzzCursors takes any text for a cursor: one that is taken is exactly what
// a page gives out.
func FuzzCursors(f *testing.F) {
	f.Add(keyCursor{"abcdefghijklmnop", false}.String()) // the next page of keys
	f.Add(keyCursor{"234567abcdefghij", true}.String())  // the one before
	f.Add(auditCursor(7))                                // a page of the audit trail
	f.Add("+000000000000001")                            // what strconv takes and we do not
	f.Add("0000_00000000001")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseKeyCursor(s)
		if err == nil && c.String() != s {
			t.Fatalf("%q is taken for %q", s, c)
		}
		n, err2 := parseAuditCursor(s)
		if err2 == nil && auditCursor(n) != s {
			t.Fatalf("%q is taken for %q", s, auditCursor(n))
		}
	})
}

// FuzzParseList reads any text as a stored list: one that is read is written
// again as it was, but for the spelling of its prefixes.
func FuzzParseList(f *testing.F) {
	f.Add("203.0.113.0/24 office\n2001:db8::1/128\n") // a list
	f.Add("203.0.113.0/24  \n")                       // a label that is a space
	f.Add("203.0.113.0/24")                           // breaks off
	f.Add("\n")                                       // an empty line
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parseList(s)
		if err != nil {
			return
		}
		if len(list) != strings.Count(s, "\n") {
			t.Fatalf("%q has %d entries", s, len(list))
		}
		text := string(formatList(list))
		again, err := parseList(text)
		if err != nil || !slices.Equal(list, again) {
			t.Fatalf("%q is written as %q: %v", s, text, err)
		}
	})
}
