// Package ci tests the scripts of .ci in copies of the tree.
package ci

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree is a copy of the working tree as a repository with one commit on main.
type tree struct {
	t   *testing.T
	dir string
}

func newTree(t *testing.T) *tree {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	r := &tree{t, filepath.Join(t.TempDir(), "tree")}
	list, err := exec.Command("git", "-C", root, "ls-files", "-z", "-c", "-o", "--exclude-standard").Output()
	require.NoError(t, err)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		from := filepath.Join(root, name)
		info, err := os.Lstat(from)
		if os.IsNotExist(err) {
			continue // deleted and not yet committed
		}
		require.NoError(t, err)
		to := filepath.Join(r.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o777))
		if info.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(from)
			require.NoError(t, err)
			require.NoError(t, os.Symlink(target, to))
			continue
		}
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, data, info.Mode().Perm()))
	}
	r.git("init", "-q", "-b", "main")
	r.git("config", "user.name", "release test")
	r.git("config", "user.email", "release-test@example.com")
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "The tree")
	return r
}

func (r *tree) git(args ...string) string {
	r.t.Helper()
	out, err := exec.Command("git", append([]string{"-C", r.dir}, args...)...).CombinedOutput()
	require.NoError(r.t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// state is all that a refusal and a dry run must leave alone.
func (r *tree) state() string {
	return strings.Join([]string{r.git("rev-parse", "HEAD"), r.git("branch", "--list"), r.git("tag"),
		r.git("status", "--porcelain"), r.git("worktree", "list"), r.git("ls-files", "-s")}, "\n")
}

// change edits a file and commits it.
func (r *tree) change(name string, edit func(string) string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	data, err := os.ReadFile(path)
	require.NoError(r.t, err)
	edited := edit(string(data))
	require.NotEqual(r.t, string(data), edited, name)
	require.NoError(r.t, os.WriteFile(path, []byte(edited), 0o666))
	r.git("commit", "-q", "-a", "-m", "Change "+name)
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

// withoutWorkspaceOff is the environment of a test that runs with GOWORK=off, as those of
// this module do, for commands that need the workspace.
func withoutWorkspaceOff() []string { return append(os.Environ(), "GOWORK=") }
