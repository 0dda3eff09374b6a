package ci

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func (r *tree) benchdiff(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(r.dir, ".ci/benchdiff"), args...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A Check made slower by hundreds of nanoseconds is named, however busy the machine is.
func TestBenchdiffNamesASlowerCheck(t *testing.T) {
	t.Parallel()
	r := newTree(t)
	r.change("engine.go", func(s string) string {
		check := regexp.MustCompile(`(?m)^func \(e \*Engine\) Check\(key string, addr netip\.Addr\) Verdict \{\n`)
		s = check.ReplaceAllString(s, "${0}\tslower()\n")
		return s + "\nvar burnt uint64\n\nfunc slower() {\n\tfor i := range uint64(2000) {\n\t\tburnt += i\n\t}\n}\n"
	})
	out, err := r.benchdiff("HEAD~1", `^BenchmarkCheck$/^keys=1000$/^entries=5$/^family=4$/^result=mixed$`)
	require.NoError(t, err, "%s", out)
	_, named, ok := strings.Cut(out, "by more than 5%:\n")
	require.True(t, ok, "%s", out)
	require.Contains(t, named, "\tCheck/keys=1000/entries=5/family=4/result=mixed")
	require.Contains(t, named, " sec/op +")
	require.NotContains(t, r.git("worktree", "list"), "base")
}

// An expression that skips a level of the names matches nothing, silently so to go test.
func TestBenchdiffPatternWithoutBenchmarks(t *testing.T) {
	t.Parallel()
	r := newTree(t)
	for _, pattern := range []string{`^BenchmarkCheck$/^keys=1000$/.*/result=mixed`, `^BenchmarkNone$`} {
		out, err := r.benchdiff("HEAD", pattern)
		require.Error(t, err, "%s", out)
		require.Contains(t, out, "No benchmark matches the pattern "+pattern)
	}
}

// The comparison on pull requests measures what it says, also after names have changed.
func TestBenchdiffDefaultPatterns(t *testing.T) {
	t.Parallel()
	script := readFile(t, "../../.ci/benchdiff")
	patterns := regexp.MustCompile(`(?m)^\t\t'(\^Benchmark[^']*)'`).FindAllStringSubmatch(script, -1)
	binary := filepath.Join(t.TempDir(), "bench.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Dir = "../.."
	build.Env = withoutWorkspaceOff()
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var found []string
	for _, p := range patterns {
		// A hundred thousand keys take long to make and have the same names.
		short := strings.NewReplacer("(1000|100000)$", "1000$").Replace(p[1])
		cmd := exec.Command(binary, "-test.short", "-test.run", "^$", "-test.bench", short, "-test.benchtime", "1x")
		cmd.Dir = "../.."
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		names := regexp.MustCompile(`(?m)^(Benchmark\w+)/\S+\s`).FindAllStringSubmatch(string(out), -1)
		require.NotEmpty(t, names, "%s matches no benchmark", p[1])
		found = append(found, names[0][1])
	}
	require.Equal(t, []string{"BenchmarkCheck", "BenchmarkCheckBatch", "BenchmarkLarge", "BenchmarkSet",
		"BenchmarkReplace"}, found)
}
