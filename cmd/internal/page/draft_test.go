package page

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

func TestPastedLines(t *testing.T) {
	for text, want := range map[string][]manage.ListEntry{
		"":                          nil,
		"\n \n# a comment\n\t\n":    nil,
		"203.0.113.5":               {{Entry: "203.0.113.5"}},
		"203.0.113.0/24  Office":    {{Entry: "203.0.113.0/24", Label: "Office"}},
		"203.0.113.0/24\tMain hall": {{Entry: "203.0.113.0/24", Label: "Main hall"}},
		"203.0.113.0/24,Office":     {{Entry: "203.0.113.0/24", Label: "Office"}},
		"203.0.113.0/24;Office;":    {{Entry: "203.0.113.0/24", Label: "Office"}},
		"203.0.113.0/24 # Office":   {{Entry: "203.0.113.0/24", Label: "Office"}},
		`"203.0.113.0/24","Office, 2nd floor"`: {
			{Entry: "203.0.113.0/24", Label: "Office, 2nd floor"},
		},
		"1.1.1.1\r\n1.0.0.1 b\r2001:db8::/48 c\n": {{Entry: "1.1.1.1"}, {Entry: "1.0.0.1", Label: "b"}, {Entry: "2001:db8::/48", Label: "c"}},
		"\ufeff1.1.1.1 x":                         {{Entry: "1.1.1.1", Label: "x"}},
		"1.1.1.1, ":                               {{Entry: "1.1.1.1"}},
		"office 203.0.113.5":                      {{Entry: "office 203.0.113.5"}},
		// What means several addresses is not cut to one of them.
		"203.0.113.1 - 203.0.113.9":   {{Entry: "203.0.113.1 - 203.0.113.9"}},
		"203.0.113.1 – 203.0.113.9":   {{Entry: "203.0.113.1 – 203.0.113.9"}},
		"203.0.113.0 255.255.255.0":   {{Entry: "203.0.113.0 255.255.255.0"}},
		"203.0.113.0 / 24":            {{Entry: "203.0.113.0 / 24"}},
		"203.0.113.0 /24":             {{Entry: "203.0.113.0 /24"}},
		"203.0.113.1, 203.0.113.2":    {{Entry: "203.0.113.1, 203.0.113.2"}},
		"203.0.113.0/24 1st floor":    {{Entry: "203.0.113.0/24", Label: "1st floor"}},
		"203.0.113.0/24 10.1 network": {{Entry: "203.0.113.0/24", Label: "10.1 network"}},
		"2001:db8::1 cafe":            {{Entry: "2001:db8::1", Label: "cafe"}},
		"2001:db8::1 - lab":           {{Entry: "2001:db8::1", Label: "- lab"}},
	} {
		require.Equal(t, want, pastedLines(text), "%q", text)
	}
}

func TestPasteForm(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "127.0.0.1 here").Key.ID
	path := keyURL(key, "allowlist")
	a := b.press(b.press(b.get(path), path, "row"), path, "paste", set("paste", "203.0.113.0/24 Office\n203.0.113.1 - 203.0.113.9\n127.0.0.1 again"))
	require.Equal(t, []string{"127.0.0.1", "203.0.113.0/24", "203.0.113.1 - 203.0.113.9", "127.0.0.1"}, a.form()["entry"], "the empty row is used")
	require.Contains(t, a.body, "2 rows need a correction")
	require.Len(t, r.list(key), 1)

	require.Contains(t, b.press(a, path, "paste", set("paste", " \n# nothing\n")).body, "There is no line to add")
	var lines string
	for range r.page.maxRows() {
		lines += "1.1.1.1\n"
	}
	a = b.press(b.get(path), path, "paste", set("paste", lines))
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Contains(t, a.body, "too many lines at once")
	require.Len(t, a.form()["entry"], 1)
	require.Contains(t, a.body, "1.1.1.1\n1.1.1.1", "the lines are still there")
}

func TestTryAddress(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	key := r.create("Billing", "127.0.0.1 here").Key.ID
	path := keyURL(key, "allowlist")
	for _, c := range []struct {
		entries []string
		test    string
		want    string
	}{
		{[]string{"", "203.0.113.0/24", "203.0.113.7"}, "203.0.113.7", "by row 3, <code>203.0.113.7</code>"},
		{[]string{"", "203.0.113.0/24", "203.0.113.7"}, "203.0.113.8", "by row 2, <code>203.0.113.0/24</code>"},
		{[]string{"203.0.113.0/24"}, "::ffff:203.0.113.8", "<code>203.0.113.8</code> would be <b>served</b>"},
		{[]string{"2001:db8::/48"}, "2001:db8::1%eth0", "<code>2001:db8::1</code> would be <b>served</b>"},
		{[]string{"203.0.113.0/24"}, "127.0.0.1", "would be <b>refused</b>"},
		{[]string{"", ""}, "127.0.0.1", "every address is: the list is empty"},
		{[]string{"203.0.113.5/24"}, "127.0.0.1", "Correct the list first"},
		{[]string{"203.0.113.0/24"}, "", "Write an address to test"},
		{[]string{"203.0.113.0/24"}, "203.0.113.0/24", "not an IP address"},
		{[]string{"203.0.113.0/24"}, "example.org", "not an IP address"},
	} {
		for _, where := range []string{path, "/keys/new"} {
			a := b.press(b.get(where), where, "test", rows(c.entries...), set("test", c.test))
			require.Equal(t, http.StatusOK, a.StatusCode)
			require.Contains(t, a.body, c.want, "%v %s", c.entries, c.test)
		}
	}
	// Enter in the field is the button; elsewhere it is not.
	a := b.press(b.get(path), path, "enter", set("test", "192.0.2.1"))
	require.Contains(t, a.body, "would be <b>refused</b>")
	a = b.press(a, path, "enter", rows("127.0.0.1", "192.0.2.1"))
	require.Contains(t, a.body, "Saved: 2 entries")
	require.Len(t, r.list(key), 2)
}

func TestDiff(t *testing.T) {
	before := []manage.ListEntry{{Entry: "203.0.113.0/24", Label: "a"}, {Entry: "192.0.2.1/32", Label: "b"}, {Entry: "2001:db8::/48"}}
	after := []manage.ListEntry{{Entry: "2001:db8::/48"}, {Entry: "192.0.2.1", Label: "c"}, {Entry: "198.51.100.7", Label: "d"}, {Entry: "not an entry"}}
	require.Equal(t, []change{
		{Kind: removed, Entry: "203.0.113.0/24", Label: "a"},
		{Kind: kept, Entry: "2001:db8::/48"},
		{Kind: relabelled, Entry: "192.0.2.1", Label: "c", OldLabel: "b"},
		{Kind: added, Entry: "198.51.100.7", Label: "d"},
		{Kind: added, Entry: "not an entry"},
	}, diff(before, after))
	require.Empty(t, diff(nil, nil))
}
