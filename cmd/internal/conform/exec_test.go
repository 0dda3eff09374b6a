package conform

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// run puts the cases to a helper in a process of its own.
func run(t *testing.T, name string, timeout time.Duration) *Result {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	r, err := Exec(t.Context(), self, nil, load(t), Options{
		Timeout: timeout,
		Env:     append(os.Environ(), helperEnv+"="+name),
	})
	require.NoError(t, err)
	return r
}

func printed(t *testing.T, r *Result) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, r.Print(&b))
	return b.String()
}

const patient = 2 * time.Minute // a busy machine must not fail a right program

func TestExecRight(t *testing.T) {
	for _, c := range []struct{ name, why string }{
		{"right", "the project's own implementation, in a process of its own"},
		{"reversed", "answers are matched by ID, so the order is free"},
		{"no last line feed", "the last line may lack its end"},
	} {
		r := run(t, c.name, patient)
		require.True(t, r.OK, "%s: %s\n%s", c.name, c.why, printed(t, r))
		require.Equal(t, len(load(t)), r.Passed)
		require.Zero(t, r.Failed)
		require.Empty(t, r.Failures)
		require.Empty(t, r.Faults)
		require.Contains(t, printed(t, r), "The program conforms.")
	}
}

// TestExecWrong checks that programs with well-known faults fail, and in the
// cases that are there because of them.
func TestExecWrong(t *testing.T) {
	for _, c := range []struct {
		name  string
		cases []string // must be among those that fail
		files []string // the only ones with failures
	}{
		{"naive cidr", []string{"host bits: ipv4 /24", "host bits: ipv6 /64", "order: host bits before too broad"}, []string{"entries"}},
		{"zone trap", []string{"zone: interface name", "zone: with a length", "zone: length too long"}, []string{"entries"}},
		{"not unmapped", []string{"family: mapped client", "zone on client: mapped", "specific: mapped client"}, []string{"verdicts"}},
		{"opens on bad data", []string{"sequence: failing set: bad syntax", "sequence: failing set: too many"}, []string{"sequences"}},
		{"says error", []string{"sequence: set", "sequence: replace: nothing"}, []string{"sequences"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, c.name, patient)
			require.False(t, r.OK)
			require.Empty(t, r.Faults, "it keeps the protocol")
			require.Empty(t, r.Unanswered)
			require.Equal(t, len(r.Failures), r.Failed)
			require.Equal(t, len(load(t)), r.Passed+r.Failed)
			require.Positive(t, r.Passed, "most of it is right")
			var failed []string
			for _, f := range r.Failures {
				failed = append(failed, f.Name)
				require.Contains(t, c.files, f.File, f.Name)
			}
			require.Subset(t, failed, c.cases)

			text := printed(t, r)
			require.Contains(t, text, "The program does not conform.")
			require.Contains(t, text, r.Failures[0].Reason)
			require.Contains(t, text, r.Failures[0].Want)
			require.NotContains(t, text, "\x1b", "nothing of the program steers the terminal")
		})
	}
}

// TestExecProtocol checks that whatever a program does, the run ends and the
// result says what was wrong.
func TestExecProtocol(t *testing.T) {
	all := len(load(t))
	for _, c := range []struct {
		name    string
		timeout time.Duration
		passed  int    // -1: not said
		fault   string // in one of the faults
		stderr  string
	}{
		{"too few", patient, all - 3, "", ""},
		{"too many", patient, all, `answers "nobody asked", which was not asked`, ""},
		{"twice", patient, 5, "again", ""},
		{"exit status", patient, all, "ended with exit status 5", ""},
		{"crash", patient, 10, "ended with exit status 3", "out of cheese"},
		{"crash at once", patient, 0, "ended with exit status 7", "no configuration"},
		{"reads nothing and ends", patient, 0, "", ""},
		{"hang", time.Second, -1, "without an answer", ""},
		{"deaf", 300 * time.Millisecond, 0, "without an answer", ""},
		{"lingers", 2 * time.Second, -1, "it was stopped", ""},
		{"closes its output and lingers", 2 * time.Second, -1, "it was stopped", ""},
		{"garbage", patient, 0, "line 1 is no answer", ""},
		{"babble", patient, 0, "after 100 faulty lines", ""},
		{"endless line", 300 * time.Millisecond, 0, "without an answer", ""},
		{"long line", patient, all, "line 1: the line is longer than 1048576 bytes", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of them wait
			begin := time.Now()
			r := run(t, c.name, c.timeout)
			require.Less(t, time.Since(begin), time.Minute, "the run must end")
			require.False(t, r.OK)
			if c.passed >= 0 {
				require.Equal(t, c.passed, r.Passed)
			}
			require.Equal(t, all, r.Passed+r.Failed)
			require.Len(t, r.Unanswered, r.Failed-len(r.Failures))
			if c.fault == "" {
				require.Empty(t, r.Faults)
			} else {
				require.True(t, slices.ContainsFunc(r.Faults, func(f string) bool { return strings.Contains(f, c.fault) }), r.Faults)
				require.LessOrEqual(t, len(r.Faults), maxFaults+1)
			}
			require.Contains(t, r.Stderr, c.stderr)
			text := printed(t, r)
			require.NotContains(t, text, "\x1b")
			require.NotContains(t, text, "\x00")
			if len(r.Unanswered) > 0 {
				require.Contains(t, text, "were not answered")
			}
		})
	}
}

// TestExecUnreadable checks that an answer which cannot be read fails its
// case, and that long ones are not kept.
func TestExecUnreadable(t *testing.T) {
	r := run(t, "misspelt member", patient)
	require.False(t, r.OK)
	require.Empty(t, r.Unanswered)
	require.Contains(t, r.Failures[0].Got, "cannonical")

	r = run(t, "long answers", patient)
	require.False(t, r.OK)
	for _, f := range r.Failures {
		require.LessOrEqual(t, len(f.Got), maxGot+len("..."))
	}
}

func TestExecNotStarted(t *testing.T) {
	_, err := Exec(t.Context(), filepath.Join(t.TempDir(), "missing"), nil, load(t), Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestExecCancelled(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = Exec(ctx, self, nil, load(t), Options{Env: append(os.Environ(), helperEnv+"=deaf")})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestExecProgress(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cases, last := load(t), 0
	_, err = Exec(t.Context(), self, nil, cases, Options{
		Env: append(os.Environ(), helperEnv+"=right"),
		Progress: func(answered, all int) {
			require.Equal(t, last+1, answered)
			require.Equal(t, len(cases), all)
			last = answered
		},
	})
	require.NoError(t, err)
	require.Equal(t, len(cases), last)
}

// TestPython runs the example in Python's standard library.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3 is missing; the machine that checks every change must have it")
		}
		t.Skip("python3 is not installed")
	}
	script := filepath.Join("..", "..", "..", "conformance", "examples", "python", "ipallow_conformance.py")
	r, err := Exec(t.Context(), python, []string{script}, load(t), Options{Timeout: patient})
	require.NoError(t, err)
	require.True(t, r.OK, printed(t, r))
}
