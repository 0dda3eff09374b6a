package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A workshop builds test binaries and runs them. All that it and the tests write
// is below dir, so that nothing is left when dir is removed.
type workshop struct {
	root string
	dir  string
}

func newWorkshop(root string) (*workshop, error) {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return nil, err
	}
	dir, err = filepath.EvalSymlinks(dir)
	return &workshop{root: root, dir: dir}, err
}

func (w *workshop) close() { os.RemoveAll(w.dir) }

// An outcome is how a run of tests ended.
type outcome struct {
	status  error    // nil if the tests passed
	passed  []string // of the tests at the top
	failed  []string
	timeout bool
	output  string
}

// errBuild is wrapped by the error of code that does not compile.
var errBuild = errors.New("does not compile")

// try runs the tests of names against the tree with the changed files in it.
func (w *workshop) try(ctx context.Context, v variant, names []string, changed map[string]string,
	timeout time.Duration) (*outcome, error) {
	tmp, err := os.MkdirTemp(w.dir, "")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	env, err := environment(tmp, changed)
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(tmp, "mutant.test")
	if err := w.build(ctx, v, binary, env); err != nil {
		return nil, err
	}
	return w.runTests(ctx, v, binary, names, env, timeout)
}

// environment returns that of the go command and of the tests. The overlay is in
// GOFLAGS, so that programs which tests build have the changed files too.
func environment(tmp string, changed map[string]string) ([]string, error) {
	replace := make(map[string]string)
	for path, text := range changed {
		name := filepath.Join(tmp, fmt.Sprintf("changed%d.go", len(replace)))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return nil, err
		}
		replace[path] = name
	}
	overlay := filepath.Join(tmp, "overlay.json")
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		return nil, err
	}
	temp := filepath.Join(tmp, "t")
	if err := os.Mkdir(temp, 0o700); err != nil {
		return nil, err
	}
	flags := strings.TrimSpace(os.Getenv("GOFLAGS") + " '-overlay=" + overlay + "'")
	return []string{"GOFLAGS=" + flags, "TMPDIR=" + temp, "TMP=" + temp, "GOWORK="}, nil
}

func (w *workshop) build(ctx context.Context, v variant, binary string, env []string) error {
	args := []string{"test", "-c", "-ldflags=-w", "-o", binary}
	if v.tags != "" {
		args = append(args, "-tags", v.tags)
	}
	if v.race {
		args = append(args, "-race")
	}
	out, err := w.command(ctx, w.root, env, "go", append(args, "./"+v.pkg)...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w: %v\n%s", errBuild, err, indent(out))
	}
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("./%s has no tests", v.pkg)
	}
	return nil
}

// In -test.v=test2json a control character marks the lines of the testing package,
// so that no test's own output is taken for one.
var verdictLine = regexp.MustCompile(`\x16--- (PASS|FAIL): ([^/\s]+) \(`)

func (w *workshop) runTests(ctx context.Context, v variant, binary string, names []string, env []string,
	timeout time.Duration) (*outcome, error) {
	// The binary ends itself and says which test was running; a mutant that
	// keeps it from that is killed.
	limit, cancel := context.WithTimeout(ctx, timeout+10*time.Second)
	defer cancel()
	out, err := w.command(limit, filepath.Join(w.root, v.pkg), env, binary, "-test.v=test2json",
		"-test.run=^("+strings.Join(names, "|")+")$", "-test.timeout="+timeout.String())
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	o := &outcome{status: err, output: strings.ReplaceAll(out, "\x16", "")}
	o.timeout = limit.Err() != nil || err != nil && strings.Contains(out, "panic: test timed out after")
	for _, m := range verdictLine.FindAllStringSubmatch(out, -1) {
		if m[1] == "PASS" {
			o.passed = append(o.passed, m[2])
		} else {
			o.failed = append(o.failed, m[2])
		}
	}
	return o, nil
}

// command runs a program to its end and returns the last part of what it printed.
func (w *workshop) command(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	killWhole(cmd)
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return string(out.b), err
}

// tailBytes bounds what is kept of an output: a mutant may print without end.
const tailBytes = 1 << 20

// A tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailBytes {
		t.b = append(t.b[:0], t.b[len(t.b)-tailBytes:]...)
	}
	return len(p), nil
}
