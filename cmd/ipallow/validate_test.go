package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// try runs the program and returns its status and what it printed.
func try(t *testing.T, in string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

// file writes a file and returns its path.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

const faulty = `# the office
203.0.113.0/24 # office
203.0.113.5/24
10.1.2.3
203.0.113.0/255.255.255.0
203.0.113.0/24
203.0.113.9
198.51.100.7
`

func TestValidateText(t *testing.T) {
	path := file(t, "list.txt", faulty)
	code, out, errOut := try(t, "", "validate", path)
	require.Equal(t, exitDenied, code)
	require.Empty(t, errOut)
	for _, want := range []string{
		path + `:3: "203.0.113.5/24": host_bits_set: `,
		"suggestion: 203.0.113.0/24 or 203.0.113.5",
		path + `:4: "10.1.2.3": not_public: `,
		path + `:5: "203.0.113.0/255.255.255.0": invalid_syntax: `,
		path + `:6: "203.0.113.0/24": duplicate: `,
		path + `:7: warning: "203.0.113.9": redundant: `, // faults do not hide it
		"NOT valid: 1 list with 7 entries, 4 faults, 1 warning",
	} {
		require.Contains(t, out, want)
	}
}

func TestValidateFormats(t *testing.T) {
	const json = `{"keys": {
  "key-1": ["203.0.113.0/24",
            {"entry": "203.0.113.5", "label": "desk"}],
  "key-2": ["0.0.0.0/0"]
}}`
	const lines = `{"key": "key-1", "entries": ["203.0.113.0/24", "203.0.113.5"]}
{"key": "key-2", "entries": ["0.0.0.0/0"]}`
	const csv = "label,key,entry\r\n,key-1,203.0.113.0/24\r\n\"a, desk\",key-1,203.0.113.5\r\n,key-2,0.0.0.0/0\r\n"
	const text = "[key-1]\n203.0.113.0/24\n203.0.113.5 # desk\n[key-2]\n0.0.0.0/0\n"
	for _, tt := range []struct {
		name, content string
		warning, line string
	}{
		{"a.json", json, ":3: ", ":4: "},
		{"a", json, ":3: ", ":4: "},
		{"a.jsonl", lines, ":1: ", ":2: "},
		{"a", "[" + strings.ReplaceAll(lines, "\n", ",\n") + "]", ":1: ", ":2: "},
		{"a.csv", csv, ":3: ", ":4: "},
		{"a", "\xef\xbb\xbf" + csv, ":3: ", ":4: "},
		{"a.txt", text, ":3: ", ":5: "},
		{"a", text, ":3: ", ":5: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := file(t, tt.name, tt.content)
			code, out, _ := try(t, "", "validate", path)
			require.Equal(t, exitDenied, code, out)
			require.Contains(t, out, path+tt.warning+`warning: key "key-1": "203.0.113.5": redundant: `)
			require.Contains(t, out, path+tt.line+`key "key-2": "0.0.0.0/0": too_broad: `)
			require.Contains(t, out, "NOT valid: 2 lists with 3 entries, 1 fault, 1 warning")

			var z bytes.Buffer
			w := gzip.NewWriter(&z)
			_, _ = w.Write([]byte(tt.content)) // to memory
			require.NoError(t, w.Close())
			_, zipped, _ := try(t, "", "validate", file(t, tt.name+".gz", z.String()))
			require.Contains(t, zipped, "NOT valid: 2 lists with 3 entries, 1 fault, 1 warning")

			code, out, _ = try(t, tt.content, "validate", "--min-bits4", "0", "-", "--format", map[string]string{
				".json": "json", ".jsonl": "json", ".csv": "csv", ".txt": "text"}[filepath.Ext(tt.name)])
			require.Equal(t, exitOK, code, out)
			require.Contains(t, out, "valid: 2 lists with 3 entries, 0 faults, 1 warning")
		})
	}
}

func TestValidateJSON(t *testing.T) {
	path := file(t, "list.txt", "[k]\n203.0.113.5/24 # desk\n")
	code, out, _ := try(t, "", "validate", "--json", path)
	require.Equal(t, exitDenied, code)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	reason := got["faults"].([]any)[0].(map[string]any)["reason"]
	require.NotEmpty(t, reason)
	require.Equal(t, map[string]any{
		"valid": false, "lists": 1.0, "entries": 1.0, "warnings": []any{},
		"faults": []any{map[string]any{
			"file": path, "line": 2.0, "key": "k", "index": 0.0, "entry": "203.0.113.5/24",
			"code": "host_bits_set", "reason": reason, "suggestion": "203.0.113.0/24 or 203.0.113.5",
			"suggestions": []any{"203.0.113.0/24", "203.0.113.5"},
		}},
	}, got)
}

func TestFilesThatCannotBeRead(t *testing.T) {
	for _, tt := range []struct{ name, content, want string }{
		{"a.json", "{", ":1: "},
		{"a.json", `{"keys": {"a": ["1.2.3.4"],` + "\n" + `"a": []}}`, `:2: the key "a" has a list already, at `},
		{"a.json", `{"keys": {"a": "1.2.3.4"}}`, "the entries of a key are an array"},
		{"a.json", `{"key": "a", "entries": [7]}`, "an entry is a text or"},
		{"a.json", `{"key": "a", "entriez": []}`, `the field "entriez" is not known`},
		{"a.json", `{"key": "a"}`, "want "},
		{"a.json", "[\n\"1.2.3.4\",,]", ":2: "},
		{"a.csv", "key,label\n", "no column named entry"},
		{"a.csv", "key,entry\na\n", ":2: the row has 1 fields and the header 2"},
		{"a.csv", "entry,label\n1.2.3.4,a, b\n5.6.7.8,c, d\n", ":3: the row has 3 fields and the header 2"},
		{"a.txt", "[a]\n1.2.3.4\n[a]\n", `:3: the key "a" has a list already, at `},
		{"a.txt", strings.Repeat("x", 2<<20), ":1: the line is longer than"},
		{"a.csv", "entry\n" + strings.Repeat("x", 2<<20), "longer than"},
		{"a.txt", "[" + strings.Repeat("k", 1025) + "]\n", "the key has 1025 bytes"},
	} {
		path := file(t, tt.name, tt.content)
		code, out, errOut := try(t, "", "validate", path)
		require.Equal(t, exitUsage, code, "%s: %.60s: %s", tt.name, tt.content, out)
		require.Contains(t, errOut, path, "the file is named")
		require.Contains(t, errOut, tt.want)
	}
	code, _, errOut := try(t, "", "validate", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "none: no such file")
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"validate"}, "name at least one file"},
		{[]string{"validate", "--no-such-flag", "x"}, "unknown flag"},
		{[]string{"validate", "--max-entries", "x", "y"}, `--max-entries cannot be "x": it takes a value of the type int` + "\n"},
		{[]string{"validate", "-", "-"}, "write one -"},
		{[]string{"no-such-command"}, `there is no command "no-such-command"` + "\n"},
		{[]string{"chek"}, `there is no command "chek"; did you mean "check"?`},
		{[]string{"audti", "--lists", "x"}, "did you mean \"audit\"?"},
		{[]string{"validate", "-"}, "standard input: the file holds no list"},
		{[]string{"completion", "no-such-shell"}, "unknown command"},
		{[]string{"check", "203.0.113.5"}, `required flag(s) "lists" not set`},
	} {
		code, out, errOut := try(t, "", tt.args...)
		require.Equal(t, exitUsage, code, tt.args)
		require.Empty(t, out)
		require.Contains(t, errOut, tt.want)
		if tt.args[len(tt.args)-1] != "-" {
			require.Contains(t, errOut, ` --help"`, "where to read on")
		}
	}
	code, out, _ := try(t, "")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "validate")
	for _, command := range []string{"validate", "check", "explain", "audit", "suggest", "demo", "bench", "conformance", "serve-stdio"} {
		code, out, _ = try(t, "", command, "--help")
		require.Equal(t, exitOK, code, command)
		require.Contains(t, out, "Examples:\n  ", command)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, out, _ := try(t, "", "completion", shell)
		require.Equal(t, exitOK, code)
		require.Contains(t, out, "ipallow")
	}
}

// What a shell offers: the values of flags, and the keys of the file.
func TestCompletion(t *testing.T) {
	lists := file(t, "lists.json", twoLists)
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"check", "--format", ""}, []string{"json", "csv", "text"}},
		{[]string{"validate", "--format", ""}, []string{"json", "csv", "text"}},
		{[]string{"audit", "--log-format", ""}, []string{"csv", "jsonl", "nginx"}},
		{[]string{"suggest", "--format", ""}, []string{"table", "json", "csv", "text"}},
		{[]string{"check", "--lists", lists, "--key", ""}, []string{"key-1", "key-2"}},
		{[]string{"explain", "--lists", lists, "--key", ""}, []string{"key-1", "key-2"}},
		{[]string{"explain", "--lists", lists + "x", "--key", ""}, nil},
	} {
		code, out, errOut := try(t, "", append([]string{"__complete"}, tt.args...)...)
		require.Equal(t, exitOK, code, errOut)
		require.Equal(t, append(tt.want, ":4", ""), strings.Split(out, "\n"), "%v", tt.args)
	}
}

// The progress line says nothing before it knows something.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{w: &out, what: "access.log", size: 10_000_000, started: now, now: func() time.Time { return now }}
	write := func(after time.Duration, n int) {
		now = now.Add(after)
		_, _ = p.Write(make([]byte, n)) // never fails
	}
	for range 9 {
		write(100*time.Millisecond, 100_000)
	}
	p.finish()
	require.Empty(t, out.String(), "in the first second")
	write(100*time.Millisecond, 100_000)
	require.Equal(t, "\r\x1b[Kaccess.log: 10 % of 10 MB, 1 MB a second, 9s left", out.String())
	out.Reset()
	write(100*time.Millisecond, 100_000)
	require.Empty(t, out.String(), "five times a second at most")
	write(time.Second, 8_900_000)
	require.Equal(t, "\r\x1b[Kaccess.log: 100 % of 10 MB, 4 MB a second", out.String())
	p.finish()
	require.True(t, strings.HasSuffix(out.String(), "\r\x1b[K"))
	p.size = -1
	require.Equal(t, "access.log: 10 MB, 10 MB a second", p.line(time.Second))
	require.Nil(t, newProgress(&out, 1, ""), "no terminal")
}

// Ctrl-C ends a demo at once, with the status that shells expect, and leaves no
// half of a file.
func TestDemoInterrupted(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "ipallow")
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	dir := filepath.Join(t.TempDir(), "demo")
	cmd := exec.Command(bin, "demo", "--dir", dir, "--keys", "100", "--requests", "2000000000")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	require.NoError(t, cmd.Start())
	log := filepath.Join(dir, "requests.csv")
	require.Eventually(t, func() bool {
		info, err := os.Stat(log)
		return err == nil && info.Size() > 0
	}, 30*time.Second, 5*time.Millisecond, "the demo writes no log")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the status is compared
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatal("the demo did not end in 20 s")
	}
	require.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode(), errOut.String())
	require.Equal(t, "ipallow: interrupted\n", errOut.String())
	require.NoFileExists(t, log)
}

// The statuses that a shell sees.
func TestBinary(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "ipallow")
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	for _, tt := range []struct {
		list string
		want int
	}{{"203.0.113.5\n", exitOK}, {"10.0.0.1\n", exitDenied}} {
		cmd := exec.Command(bin, "validate", "-")
		cmd.Stdin = strings.NewReader(tt.list)
		_ = cmd.Run() // the status is compared
		require.Equal(t, tt.want, cmd.ProcessState.ExitCode())
	}
	cmd := exec.Command(bin, "validate", "/no/such/file")
	_ = cmd.Run() // the status is compared
	require.Equal(t, exitUsage, cmd.ProcessState.ExitCode())
}
