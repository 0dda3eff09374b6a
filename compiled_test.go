package ipallow_test

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the compiler makes of the fast path is looked at as it is built for amd64, on every
// machine: with the go command, since a test binary may have been built otherwise.

// TestCheckInlines: Engine.Check is at 75 of the 80 that the inliner allows, and a call more
// costs every request some 2 ns.
func TestCheckInlines(t *testing.T) {
	t.Parallel()
	out := goTool(t, "build", "-gcflags=-m=1", ".")
	for _, fn := range []string{"(*Engine).Check", "(*Engine).CheckBatch", "(*Engine).Snapshot", "Verdict.OK"} {
		require.Regexp(t, `can inline `+regexp.QuoteMeta(fn)+`\b`, out)
	}
}

// checkFunc is the function that Engine.Check calls: its package, and its name as a pattern.
const (
	checkPackage = "./internal/index"
	checkFunc    = `^github.com/ipallow/ipallow/internal/index\.\(\*Index\)\.Check$`
)

// checkInstructions is how many machine instructions Check has at most, by the version of Go.
// Where a change needs more, BenchmarkCheck says what they cost.
var checkInstructions = map[string]int{"go1.26": 351}

// TestCheckInstructions holds the size of Check: what is added for keys with exceptions, shared
// lists or ends must not cost the keys that have none of them.
func TestCheckInstructions(t *testing.T) {
	t.Parallel()
	archive := strings.TrimSpace(goTool(t, "list", "-export", "-f", "{{.Export}}", checkPackage))
	out := goTool(t, "tool", "objdump", "-s", checkFunc, archive)
	n := strings.Count(out, "\n  ")
	version := regexp.MustCompile(`^go1\.\d+`).FindString(runtime.Version())
	limit, known := checkInstructions[version]
	if !known {
		limit = checkInstructions["go1.26"] * 21 / 20
		t.Logf("Check was not counted with %s yet; it may have 5%% more instructions than with go1.26", version)
	}
	require.Greater(t, n, limit/2, "objdump has not found Check:\n%s", out)
	require.LessOrEqual(t, n, limit, "instructions of Check, as "+version+" compiles it for amd64")
}

// goTool runs the go command for linux/amd64 and returns all that it writes.
func goTool(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "GOFLAGS=", "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "go %s: %s", strings.Join(args, " "), out)
	return string(out)
}
