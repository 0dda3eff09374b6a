package fleet

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/usagelog"
)

// A record's ID in the log is that of its node: the same again for the same
// record, another one for another node, and in runs as the Writer counted.
func TestOwn(t *testing.T) {
	now := time.Now()
	of := func(node string, epoch uint64) []usagelog.Record {
		list := append(numbered(epoch, 0, 3), numbered(epoch+1, 7, 2)...)
		own(node, list, now)
		return list
	}
	a := of("a", 1)
	require.Equal(t, a, of("a", 1))
	seen := map[string]bool{}
	for _, list := range [][]usagelog.Record{a, of("b", 1), of("a", 100), of("", 1), of("a.b", 1)} {
		for _, r := range list {
			require.False(t, seen[r.ID.String()])
			seen[r.ID.String()] = true
		}
		require.Equal(t, list[0].ID[:8], list[2].ID[:8])
		require.NotEqual(t, list[2].ID[:8], list[3].ID[:8])
		require.EqualValues(t, 2, list[2].ID[15])
		require.EqualValues(t, 8, list[4].ID[15])
	}
	// A clock that is ahead by years would have its records stand first for years.
	late := numbered(1, 0, 3)
	late[0].Time, late[1].Time, late[2].Time = now.Add(5*time.Minute), now.Add(11*time.Minute), now.AddDate(100, 0, 0)
	own("a", late, now)
	require.Equal(t, now.Add(5*time.Minute), late[0].Time)
	require.Equal(t, now, late[1].Time)
	require.Equal(t, now, late[2].Time)
}

func TestFileOf(t *testing.T) {
	seen := map[string]string{}
	for _, node := range []string{"gate-1", "gate-1.", "gate=201", "../../etc/passwd", "a/b", "a_b", strings.Repeat("x", 600), strings.Repeat("x", 601), "", "ä"} {
		name := fileOf(node)
		require.NotContains(t, name, "/")
		require.Less(t, len(name), 100)
		require.Empty(t, seen[name], node)
		seen[name] = node
	}
	for a := range seen { // none counts as another's
		for b := range seen {
			require.False(t, a != b && strings.HasPrefix(a, b), "%q %q", a, b)
		}
	}
}
