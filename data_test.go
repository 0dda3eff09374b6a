package ipallow

import (
	"bufio"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/naive"
	"github.com/stretchr/testify/require"
)

// readData returns the lines of a file in testdata without its comments.
func readData(t testing.TB, name string) []string {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	require.NoError(t, err)
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		r, err = gzip.NewReader(f)
		require.NoError(t, err)
	}
	var lines []string
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		if !strings.HasPrefix(sc.Text(), "#") {
			lines = append(lines, sc.Text())
		}
	}
	require.NoError(t, sc.Err())
	return lines
}

// Published prefix sets: all of them parse, the default policy accepts as
// many as testdata/README.md says, and a list of all of them answers as the
// loop over netip.Prefix.Contains.
func TestPublishedPrefixes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file             string
		v4, v6, ok4, ok6 int
	}{
		{"cloudflare.txt", 15, 7, 15, 0},
		{"openai.txt", 254, 0, 254, 0},
		{"google.txt.gz", 1109, 257, 1109, 246},
		{"github.txt.gz", 5953, 1641, 5953, 1639},
		{"aws.txt.gz", 7904, 3108, 7904, 3107},
		{"bgp-sample.txt.gz", 16933, 3067, 16933, 2534},
	} {
		t.Run(c.file, func(t *testing.T) {
			lines := readData(t, c.file)
			policy := DefaultPolicy()
			policy.MaxEntries = len(lines)

			var n4, n6 int
			list := make([]naive.Entry, len(lines))
			for i, line := range lines {
				e, err := ParseEntry(line)
				require.NoError(t, err)
				list[i].Prefix = e.Prefix
				if e.Prefix.Addr().Is4() {
					n4++
				} else {
					n6++
				}
			}
			require.Equal(t, [2]int{c.v4, c.v6}, [2]int{n4, n6})

			faults := 0
			if _, err := policy.ParseList(lines); err != nil {
				var v *ValidationError
				require.ErrorAs(t, err, &v)
				faults = len(v.Entries)
				for _, f := range v.Entries {
					require.Contains(t, []Code{CodeTooBroad, CodeNotPublic}, f.Code)
					p := prefix(lines[f.Index])
					if p.Addr().Is4() {
						n4--
					} else {
						n6--
					}
				}
			}
			require.Equal(t, [2]int{c.ok4, c.ok6}, [2]int{n4, n6})
			require.Equal(t, c.v4+c.v6-c.ok4-c.ok6, faults)

			l, stored := newListUnderTest(t, list)
			require.True(t, stored)
			r, seen := rand.New(rand.NewPCG(11, 12)), tally{}
			for range 200 {
				if l.check(t, gen.Addr(r, list)) {
					seen["allowed"]++
				} else {
					seen["denied"]++
				}
			}
			seen.require(t, 20, "allowed", "denied")
		})
	}
}
