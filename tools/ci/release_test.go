package ci

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// Building both programs from nothing takes minutes: make release-test.
var install = flag.Bool("install", false, "install the programs from the proxy, too")

const (
	own  = "github.com/ipallow/ipallow"
	next = "v0.9.9"
)

func (r *tree) release(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(r.dir, ".ci/release"), args...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newTree(t)
	start := r.git("rev-parse", "HEAD")
	for _, test := range []struct {
		name, version, want string
		prepare             func()
	}{
		{"no version", "", "usage:", nil},
		{"an unknown flag", "--now", "usage:", nil},
		{"not semver", "0.9.9", "is no version", nil},
		{"a leading zero", "v0.09.9", "is no version", nil},
		{"two numbers", "v0.9", "is no version", nil},
		{"major version 2", "v2.0.0", "module paths need a suffix", nil},
		{"another branch", next, "this is feature", func() { r.git("switch", "-q", "-c", "feature") }},
		{"no branch", next, "this is no branch", func() { r.git("switch", "-q", "--detach") }},
		{"a changed file", next, "git status", func() {
			require.NoError(t, os.WriteFile(filepath.Join(r.dir, "README.md"), nil, 0o666))
		}},
		{"a new file", next, "git status", func() {
			require.NoError(t, os.WriteFile(filepath.Join(r.dir, "new.go"), nil, 0o666))
		}},
		{"the root's tag", next, "the tag " + next + " exists", func() { r.git("tag", next) }},
		{"a nested module's tag", next, "the tag natsfeed/" + next + " exists",
			func() { r.git("tag", "natsfeed/"+next) }},
		{"a tag that only origin has", next, "origin has tags", func() {
			origin := filepath.Join(t.TempDir(), "origin")
			r.git("clone", "-q", "--bare", ".", origin)
			r.git("--git-dir", origin, "tag", "cmd/"+next)
			r.git("remote", "add", "origin", origin)
		}},
		{"an origin that cannot be asked", next, "cannot be read", func() {
			r.git("remote", "add", "origin", filepath.Join(r.dir, "nowhere"))
		}},
		{"a replace line", next, "cmd/go.mod has a replace line", func() {
			r.change("cmd/go.mod", func(s string) string { return s + "\nreplace " + own + " => ../\n" })
		}},
		{"a released module that requires an unreleased one", next, "which is never released", func() {
			r.change("natsfeed/go.mod", func(s string) string {
				return s + "\nrequire " + own + "/examples v0.1.0\n"
			})
		}},
		{"a circle", next, "in a circle", func() {
			r.change("natsfeed/go.mod", func(s string) string { return s + "\nrequire " + own + "/cmd v0.1.0\n" })
		}},
		{"a module without a licence", next, "has no LICENSE", func() {
			r.git("rm", "-q", "natsfeed/LICENSE")
			r.git("commit", "-q", "-m", "No licence")
		}},
		{"nothing to tell", next, "nothing under", func() {
			r.change("CHANGELOG.md", func(s string) string {
				return "# Changelog\n\n## Unreleased\n\n## 0.1.0 (2026-01-01)\n\n- The engine.\n"
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.prepare != nil {
				test.prepare()
			}
			before := r.state()
			out, err := r.release(strings.Fields(test.version)...)
			require.Error(t, err, "%s", out)
			require.Contains(t, out, test.want)
			require.Equal(t, before, r.state())
			for tag := range strings.FieldsSeq(r.git("tag")) {
				r.git("tag", "-d", tag)
			}
			if r.git("remote") != "" {
				r.git("remote", "remove", "origin")
			}
			r.git("clean", "-qfd")
			r.git("checkout", "-q", "-f", "-B", "main", start)
		})
	}
}

// What is tagged is used as a user gets it: from a module proxy, without the workspace and
// without replace lines.
func TestRelease(t *testing.T) {
	t.Parallel()
	r := newTree(t)
	before := r.state()
	out, err := r.release("--dry-run", next)
	require.NoError(t, err, "%s", out)
	require.Equal(t, before, r.state())
	require.Contains(t, out, "Would tag, in this order:\n\t"+next+"\n")
	require.Contains(t, out, "\n+\tgithub.com/ipallow/ipallow "+next+"\n")

	out, err = r.release(next)
	require.NoError(t, err, "%s", out)
	require.Empty(t, r.git("status", "--porcelain"))
	_, after, ok := strings.Cut(out, "Tagged, in this order:\n")
	require.True(t, ok, "%s", out)
	list, _, _ := strings.Cut(after, "Nothing is pushed")
	tags := strings.Fields(list)
	require.Equal(t, next, tags[0])
	require.Subset(t, tags, []string{"natsfeed/" + next, "cmd/" + next})
	require.ElementsMatch(t, tags, strings.Fields(r.git("tag")))
	for _, tag := range tags {
		require.Equal(t, r.git("rev-parse", "HEAD"), r.git("rev-parse", tag+"^{commit}"))
	}
	require.Contains(t, out, "git push --atomic origin main "+strings.Join(tags, " "))

	// Every place has the version: none that a go.mod or go.work names has another.
	position := make(map[string]int)
	for i, tag := range tags {
		position[strings.TrimSuffix(own+"/"+strings.TrimSuffix(tag, next), "/")] = i
	}
	for file := range strings.FieldsSeq(r.git("ls-files", "go.mod", "*/go.mod", "go.work")) {
		data, err := os.ReadFile(filepath.Join(r.dir, file))
		require.NoError(t, err)
		user, released := position[strings.TrimSuffix(own+"/"+strings.TrimSuffix(file, "go.mod"), "/")]
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
			if len(f) < 2 || !strings.HasPrefix(f[0], own) {
				continue
			}
			require.Equal(t, next, f[1], "%s: %s", file, line)
			if released {
				needed, ok := position[f[0]]
				require.True(t, ok && needed < user, "%s is tagged before %s", file, f[0])
			}
		}
	}
	changes := readFile(t, filepath.Join(r.dir, "CHANGELOG.md"))
	require.Contains(t, changes, "## Unreleased\n\n## "+next[1:]+" ("+time.Now().UTC().Format("2006-01-02")+")\n")
	workspace := exec.Command("go", "list", "work")
	workspace.Dir, workspace.Env = r.dir, withoutWorkspaceOff()
	listed, err := workspace.CombinedOutput()
	require.NoError(t, err, "%s", listed)

	useFromProxy(t, r, tags)
}

// useFromProxy gets each module as somebody does who knows only its path.
func useFromProxy(t *testing.T, r *tree, tags []string) {
	proxy, modcache := t.TempDir(), t.TempDir()
	for _, tag := range tags {
		serve(t, proxy, r.dir, tag)
	}
	goEnv := func(name string) string {
		out, err := exec.Command("go", "env", name).Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	env := append(os.Environ(), "GOWORK=off", "GOMODCACHE="+modcache, "GOFLAGS=-mod=mod -modcacherw",
		"GONOSUMDB="+own+","+own+"/*", "GOBIN="+filepath.Join(proxy, "bin"),
		// What is on this machine already is not fetched again.
		"GOPROXY=file://"+proxy+",file://"+goEnv("GOMODCACHE")+"/cache/download,"+goEnv("GOPROXY"))
	run := func(dir string, args ...string) string {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
		return string(out)
	}
	for _, tag := range tags {
		dir := t.TempDir()
		path := strings.TrimSuffix(own+"/"+strings.TrimSuffix(tag, next), "/")
		run(dir, "go", "mod", "init", "example.com/user")
		run(dir, "go", "get", path+"@"+next)
		mod := readFile(t, filepath.Join(dir, "go.mod"))
		require.Contains(t, mod, path+" "+next)
		require.NotContains(t, mod, "replace")
		for line := range strings.Lines(mod) {
			f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
			require.False(t, len(f) > 1 && strings.HasPrefix(f[0], own) && f[1] != next, "%s", line)
		}
		if tag == next {
			main := `package main

import (
	"fmt"
	"net/netip"

	"github.com/ipallow/ipallow"
)

func main() { fmt.Println(ipallow.New(nil).Check("key", netip.MustParseAddr("203.0.113.5")).OK()) }
`
			require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(main), 0o666))
			require.Equal(t, "true\n", run(dir, "go", "run", "."))
		}
	}
	if !*install {
		return
	}
	for _, name := range []string{"ipallow", "ipallowd"} {
		run(t.TempDir(), "go", "install", "-trimpath", own+"/cmd/"+name+"@"+next)
		require.Contains(t, run(proxy, filepath.Join(proxy, "bin", name), "--version"), next)
	}
}

// serve puts the module of a tag into the directory of a file-system module proxy.
func serve(t *testing.T, proxy, repo, tag string) {
	t.Helper()
	subdir := strings.TrimSuffix(strings.TrimSuffix(tag, next), "/")
	path := strings.TrimSuffix(own+"/"+subdir, "/")
	dir := filepath.Join(proxy, path, "@v")
	require.NoError(t, os.MkdirAll(dir, 0o777))
	f, err := os.Create(filepath.Join(dir, next+".zip"))
	require.NoError(t, err)
	require.NoError(t, zip.CreateFromVCS(f, module.Version{Path: path, Version: next}, repo, tag, subdir))
	require.NoError(t, f.Close())
	info, err := json.Marshal(map[string]any{"Version": next, "Time": time.Now().UTC()})
	require.NoError(t, err)
	for name, data := range map[string]string{
		"list":         next + "\n",
		next + ".info": string(info),
		next + ".mod":  readFile(t, filepath.Join(repo, subdir, "go.mod")),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o666))
	}
}
