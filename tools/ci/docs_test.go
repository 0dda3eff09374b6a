package ci

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	fenced  = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// Links from one document to another lead to a file and a heading that are there.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("git", "-C", "../..", "ls-files", "-c", "-o", "--exclude-standard", "*.md").Output()
	require.NoError(t, err)
	checked := 0
	for file := range strings.FieldsSeq(string(out)) {
		from := filepath.Join("../..", file)
		data, err := os.ReadFile(from)
		if os.IsNotExist(err) {
			continue // deleted and not yet committed
		}
		require.NoError(t, err)
		text := fenced.ReplaceAllString(string(data), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			to := from
			if path != "" {
				to = filepath.Join(filepath.Dir(from), path)
			}
			info, err := os.Stat(to)
			if err != nil {
				t.Errorf("%s: the link %s leads nowhere", file, m[1])
				continue
			}
			checked++
			if anchor != "" && !info.IsDir() && !anchors(t, to)[anchor] {
				t.Errorf("%s: the link %s names a heading that %s does not have", file, m[1], path)
			}
		}
	}
	require.Greater(t, checked, 20)
}

// anchors are the names that GitHub gives to the headings of a document.
func anchors(t *testing.T, file string) map[string]bool {
	all := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(readFile(t, file), ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z', r > 127:
				return r
			case r >= 'A' && r <= 'Z':
				return r + 'a' - 'A'
			}
			return -1
		}, link.ReplaceAllString(m[1], "]"))
		all[name] = true
	}
	return all
}
