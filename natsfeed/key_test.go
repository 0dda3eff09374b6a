package natsfeed

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

func TestKeyName(t *testing.T) {
	for key, want := range map[string]string{
		"ipk_7Hq-x":         "ipk_7Hq-x",
		"acct/7.key.1":      "acct/7.key.1",
		"a b":               "a=20b",
		"a=20b":             "a=3D20b",
		".":                 "=2E",
		".a.":               "=2Ea=2E",
		"a..b":              "a.=2Eb",
		"a...b":             "a.=2E=2Eb",
		"*":                 "=2A",
		">":                 "=3E",
		"$KV":               "=24KV",
		"ключ":              "=D0=BA=D0=BB=D1=8E=D1=87",
		"\x00\xff":          "=00=FF",
		"x@example.com":     "x=40example.com",
		"=confirm":          "=3Dconfirm",
		"2001:db8::1":       "2001=3Adb8=3A=3A1",
		"with\nline\tbreak": "with=0Aline=09break",
	} {
		got, err := KeyName(key)
		require.NoError(t, err, "%q", key)
		require.Equal(t, want, got, "%q", key)
		back, err := NameKey(got)
		require.NoError(t, err, "%q", key)
		require.Equal(t, key, back)
	}
	longest := strings.Repeat("\xff", ipallow.MaxKeyLen)
	name, err := KeyName(longest)
	require.NoError(t, err)
	require.Len(t, name, MaxName)
	for _, key := range []string{"", longest + "x"} {
		_, err := KeyName(key)
		require.ErrorIs(t, err, ipallow.ErrKeyLength)
	}
}

func TestNameKeyFaults(t *testing.T) {
	for _, name := range []string{
		"", strings.Repeat("x", MaxName+1), strings.Repeat("x", ipallow.MaxKeyLen+1),
		"=", "=2", "a=", "a=2", // cut off
		"=2e", "a=3d", // lower case: another encoding of the same key
		"=41",              // "A" needs no escape
		"a=2Eb",            // nor does this dot
		"a..b", ".a", "a.", // NATS has no such names
		"a b", "ä", "a*", // bytes that stand for nothing
		reservedConfirm, "=zz",
	} {
		_, err := NameKey(name)
		require.ErrorIs(t, err, ErrName, "%q", name)
	}
}

// natsKey is what nats.go takes as a key of a bucket, besides its rules for
// dots.
var natsKey = regexp.MustCompile(`^[-/_=\.a-zA-Z0-9]+$`)

func FuzzKeyName(f *testing.F) {
	for _, s := range []string{
		"ipk_7", "a.b", ".", "..", "a..b", // dots at the ends and beside one another
		"=20", "=2e", "=confirm", // what looks like an escape, or like a reserved name
		"\x00", "é", "*", ">", "$JS.API", // what NATS would take for something else
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name, err := KeyName(s); err == nil {
			require.Regexp(t, natsKey, name)
			require.NotContains(t, name, "..")
			require.NotEqual(t, byte('.'), name[0])
			require.NotEqual(t, byte('.'), name[len(name)-1])
			require.LessOrEqual(t, len(name), MaxName)
			back, err := NameKey(name)
			require.NoError(t, err)
			require.Equal(t, s, back)
		} else {
			require.ErrorIs(t, err, ipallow.ErrKeyLength)
		}
		if key, err := NameKey(s); err == nil {
			name, err := KeyName(key)
			require.NoError(t, err)
			require.Equal(t, s, name, "two names for one key")
		}
	})
}
