package examples

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/examples/internal/check"
)

// program returns the Go program in a Markdown file.
func program(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	found := regexp.MustCompile("(?s)```go\n(package main\n.*?)```\n").FindAllStringSubmatch(string(text), -1)
	require.Len(t, found, 1, "programs in %s", file)
	return found[0][1]
}

// functionText returns the declaration of a function with its comment.
func functionText(t *testing.T, source, name string) string {
	found := regexp.MustCompile(`(?ms)^(// [^\n]*\n)*func ` + name + `\(.*?^}\n`).FindString(source)
	require.NotEmpty(t, found, name)
	return found
}

// TestProgramInDocs says that docs/http.md shows examples/nethttp, and the example
// of package httpallow the same function.
func TestProgramInDocs(t *testing.T) {
	shown := program(t, "../docs/http.md")
	tested, err := os.ReadFile("nethttp/main.go")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(tested), "package main\n")
	require.Equal(t, "package main\n"+rest, shown)
	example, err := os.ReadFile("../httpallow/example_test.go")
	require.NoError(t, err)
	require.Equal(t, functionText(t, shown, "protect"), functionText(t, string(example), "protect"))
}

// TestProgramInNewModule does what a new user does: paste the program into a
// module of its own, outside of the project, build it, run it, ask it.
func TestProgramInNewModule(t *testing.T) {
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	listener := check.Listen(t)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	source := strings.Replace(program(t, "../docs/http.md"), "127.0.0.1:8080", addr, 1)
	require.Contains(t, source, addr)
	sums, err := os.ReadFile("../go.sum")
	require.NoError(t, err)
	for name, text := range map[string]string{
		"main.go": source,
		"go.mod":  "module example.com/new\n\ngo 1.25\n\nrequire github.com/ipallow/ipallow v0.0.0\n\nreplace github.com/ipallow/ipallow => " + root + "\n",
		"go.sum":  string(sums), // so that the test needs no network
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	build := exec.Command("go", "build", "-mod=mod", "-o", "server", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	ctx, cancel := context.WithCancel(context.Background())
	server := exec.CommandContext(ctx, filepath.Join(dir, "server"))
	require.NoError(t, server.Start())
	t.Cleanup(func() { cancel(); _ = server.Wait() })
	for _, test := range []struct {
		method, authorization string
		status                int
		body                  string
	}{
		{"GET", "Bearer wrong", 401, "UNAUTHENTICATED"},
		{"POST", "Bearer secret-1", 403, "SCOPE_MISSING"},
		{"GET", "Bearer secret-1", 403, check.DeniedBody},
		{"GET", "Bearer secret-2", 200, "hello"},
	} {
		status, body := ask(t, test.method, "http://"+addr+"/", test.authorization)
		require.Equal(t, test.status, status, "%+v: %s", test, body)
		require.Contains(t, body, test.body)
	}
}

// ask makes a request, and waits for the server to begin.
func ask(t *testing.T, method, url, authorization string) (status int, body string) {
	request, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", authorization)
	var last error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		response, err := check.Client(t, "127.0.0.1").Do(request)
		if last = err; err != nil {
			continue
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(text)
	}
	t.Fatal(last)
	return 0, ""
}
