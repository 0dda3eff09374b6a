package alike

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	t.Parallel()
	all := []string{"key-1", "key-2", "other", "ipk_live_1", "a", ""}
	for name, want := range map[string][]string{
		"kye-1": {"key-1", "key-2"}, "ipk_live": {"ipk_live_1"}, "othr": {"other"}, "nothing like it": nil,
		"key-1": {"key-1", "key-2"},
	} {
		require.Equal(t, want, Names(all, name), name)
	}
	require.Empty(t, DidYouMean(nil))
	require.Equal(t, `; did you mean "a" or "b"?`, DidYouMean([]string{"a", "b"}))
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "acb", 2}, {"abc", "ab", 1}, {"abc", "xabc", 1}, {"abc", "abd", 1}, {"a", "bcdef", 4}} {
		require.Equal(t, c.want, distance(c.a, c.b, 3), "%q %q", c.a, c.b)
		require.Equal(t, c.want, distance(c.b, c.a, 3), "%q %q", c.b, c.a)
	}
}
