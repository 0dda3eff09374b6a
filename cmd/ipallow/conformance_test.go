package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipallow/ipallow/conformance"
	"github.com/stretchr/testify/require"
)

// stdioEnv makes TestServeStdioProcess the program that its value names.
const stdioEnv = "IPALLOW_STDIO_PROGRAM"

// TestServeStdioProcess is no test but the program that the tests below
// start: the test binary again, with this test alone.
func TestServeStdioProcess(t *testing.T) {
	switch os.Getenv(stdioEnv) {
	case "serve-stdio":
		os.Exit(run(t.Context(), []string{"serve-stdio"}, os.Stdin, os.Stdout, os.Stderr))
	case "sleep":
		time.Sleep(time.Hour)
	}
}

// conformanceOf runs the command on the program of that name.
func conformanceOf(t *testing.T, program string, flags ...string) (status int, stdout, stderr string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	t.Setenv(stdioEnv, program)
	args := append([]string{"conformance", "--exec", self}, flags...)
	args = append(args, "--", "-test.run=^TestServeStdioProcess$")
	var out, errOut bytes.Buffer
	status = run(t.Context(), args, strings.NewReader(""), &out, &errOut)
	return status, out.String(), errOut.String()
}

func TestConformanceOfItself(t *testing.T) {
	status, stdout, stderr := conformanceOf(t, "serve-stdio")
	require.Zero(t, status, stdout+stderr)
	require.Contains(t, stdout, "The program conforms.")
	require.Empty(t, stderr, "no progress in a pipe")

	v, err := conformance.Load()
	require.NoError(t, err)
	status, stdout, _ = conformanceOf(t, "serve-stdio", "--json")
	require.Zero(t, status)
	var report struct {
		OK     bool
		Passed int
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &report))
	require.True(t, report.OK)
	require.Equal(t, len(v.Cases), report.Passed)
}

// TestConformanceOfAnother runs a program that is none: the test binary
// without a test to run, which says so in text.
func TestConformanceOfAnother(t *testing.T) {
	status, stdout, _ := conformanceOf(t, "none")
	require.Equal(t, 1, status)
	require.Contains(t, stdout, "The program does not conform.")
	require.Contains(t, stdout, "cases were not answered")

	status, stdout, _ = conformanceOf(t, "none", "--json")
	require.Equal(t, 1, status)
	var report struct {
		OK         bool
		Unanswered []string
		Faults     []string
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &report))
	require.False(t, report.OK)
	require.NotEmpty(t, report.Unanswered)
	require.NotEmpty(t, report.Faults)
}

func TestConformanceUsage(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		says   string
		why    string
	}{
		{[]string{"conformance"}, 2, "exec", "the program is missing"},
		{[]string{"conformance", "--exec", "x", "--timeout", "0s"}, 2, "--timeout", "no program answers in no time"},
		{[]string{"conformance", "--exec", "x", "--timeout", "soon"}, 2, "--timeout", "not a duration"},
		{[]string{"conformance", "--exec", "./there-is-no-such-program"}, 2, "there-is-no-such-program", "it cannot be started"},
		{[]string{"serve-stdio", "extra"}, 2, "extra", "it takes no arguments"},
	} {
		var out, errOut bytes.Buffer
		status := run(t.Context(), c.args, strings.NewReader(""), &out, &errOut)
		require.Equal(t, c.status, status, "%s: %s", c.why, errOut.String())
		require.Contains(t, errOut.String(), c.says, c.why)
	}
}

// TestConformanceCancelled ends the run as an interrupt does.
func TestConformanceCancelled(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	t.Setenv(stdioEnv, "sleep")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var out, errOut bytes.Buffer
	status := run(ctx, []string{"conformance", "--exec", self, "--", "-test.run=^TestServeStdioProcess$"}, strings.NewReader(""), &out, &errOut)
	require.Equal(t, 1, status)
	require.Contains(t, errOut.String(), "deadline exceeded")
	require.Empty(t, out.String(), "half a report would be taken for a whole one")
}

func TestServeStdioLines(t *testing.T) {
	var out, errOut bytes.Buffer
	in := `{"version":1,"id":"a","kind":"entry","entry":"::ffff:203.0.113.5"}` + "\n"
	require.Zero(t, run(t.Context(), []string{"serve-stdio"}, strings.NewReader(in), &out, &errOut))
	require.JSONEq(t, `{"id":"a","canonical":"203.0.113.5/32"}`, out.String())

	out.Reset()
	require.Equal(t, 1, run(t.Context(), []string{"serve-stdio"}, strings.NewReader("hello\n"), &out, &errOut))
	require.Contains(t, errOut.String(), "line 1")
	require.Empty(t, out.String())
}
