// Package clients generates clients of the management API with the generators
// that people use, and makes a round of calls with one of them.
package clients

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	// What the generated code imports.
	_ "github.com/go-faster/errors"
	_ "github.com/go-faster/jx"
	_ "github.com/oapi-codegen/runtime"
	_ "github.com/ogen-go/ogen/conv"
	_ "github.com/ogen-go/ogen/http"
	_ "github.com/ogen-go/ogen/json"
	_ "github.com/ogen-go/ogen/middleware"
	_ "github.com/ogen-go/ogen/ogenerrors"
	_ "github.com/ogen-go/ogen/ogenregex"
	_ "github.com/ogen-go/ogen/otelogen"
	_ "github.com/ogen-go/ogen/uri"
	_ "github.com/ogen-go/ogen/validate"
	_ "go.opentelemetry.io/otel"
	_ "go.opentelemetry.io/otel/attribute"
	_ "go.opentelemetry.io/otel/codes"
	_ "go.opentelemetry.io/otel/metric"
	_ "go.opentelemetry.io/otel/semconv/v1.39.0"
	_ "go.opentelemetry.io/otel/trace"
)

const document = "../../cmd/internal/api/openapi.json"

// run runs a program in a directory and returns what it prints.
func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", strings.Join(args, " "), out)
	return string(out)
}

// workshop is a directory inside this module, so that what is generated there is
// compiled with the versions that it requires.
func workshop(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", "generated-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestGoClient has oapi-codegen make a client, which then talks to a real server.
func TestGoClient(t *testing.T) {
	dir := workshop(t)
	run(t, ".", "go", "tool", "oapi-codegen", "-generate", "types,client", "-package", "main",
		"-o", filepath.Join(dir, "client.go"), document)
	round, err := os.ReadFile("testdata/round.go")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "round.go"), round, 0o644))
	bin := t.TempDir()
	run(t, ".", "go", "build", "-o", filepath.Join(bin, "round"), "./"+dir)

	const token = "a-token-for-the-generated-client"
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "ipallowd"), "./ipallowd")
	work, err := filepath.Abs("../../go.work")
	require.NoError(t, err)
	build.Dir, build.Env = "../../cmd", append(os.Environ(), "GOWORK="+work)
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	server := exec.Command(filepath.Join(bin, "ipallowd"), "serve", "--data", t.TempDir(),
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	server.Env = append(os.Environ(), "IPALLOWD_ADMIN_TOKEN="+token)
	banner, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
	})
	url := managementURL(t, banner)
	answer, err := http.Get(url + "/healthz")
	require.NoError(t, err)
	answer.Body.Close()
	require.Contains(t, run(t, ".", filepath.Join(bin, "round"), url, token), "round made")
}

// managementURL reads it from what the server prints at its start.
func managementURL(t *testing.T, banner io.Reader) string {
	t.Helper()
	found := make(chan string, 1)
	go func() {
		var seen bytes.Buffer
		part := make([]byte, 1024)
		for {
			n, err := banner.Read(part)
			seen.Write(part[:n])
			if _, rest, ok := strings.Cut(seen.String(), "settings"); ok && strings.Contains(rest, "/login") {
				url, _, _ := strings.Cut(strings.TrimSpace(rest), "/login")
				found <- url
				_, _ = io.Copy(io.Discard, banner)
				return
			}
			if err != nil {
				found <- "the server printed no address: " + seen.String()
				return
			}
		}
	}()
	select {
	case url := <-found:
		require.True(t, strings.HasPrefix(url, "http://"), url)
		return url
	case <-time.After(time.Minute):
		t.Fatal("the server did not start within a minute")
		return ""
	}
}

// TestOgen has ogen make a client, and compiles it.
func TestOgen(t *testing.T) {
	dir := workshop(t)
	said := run(t, ".", "go", "tool", "ogen", "--target", dir, "--package", "generated", "--clean", document)
	require.NotContains(t, said, "not implemented", "an operation was left out")
	run(t, ".", "go", "vet", "./"+dir)
}

// TestTypeScript has openapi-typescript make types. It needs npm.
func TestTypeScript(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("npm is missing: install Node.js")
		}
		t.Skip("npm is missing")
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json"} {
		data, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	run(t, dir, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	doc, err := filepath.Abs(document)
	require.NoError(t, err)
	run(t, dir, "./node_modules/.bin/openapi-typescript", doc, "-o", "api.ts")
	types, err := os.ReadFile(filepath.Join(dir, "api.ts"))
	require.NoError(t, err)
	require.Contains(t, string(types), "setAllowlist")
}
