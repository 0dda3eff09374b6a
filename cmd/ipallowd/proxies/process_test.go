//go:build unix

package proxies

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// missing fails the test in CI, and elsewhere skips it and says why.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// program finds an installed program, also where only root's PATH leads.
func program(t *testing.T, name string) string {
	for _, dir := range []string{"", "/usr/sbin/", "/usr/local/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
		// Debian has the version in the name of php-fpm.
		if found, _ := filepath.Glob(dir + name + "[0-9]*"); dir != "" && len(found) > 0 {
			return found[len(found)-1]
		}
	}
	missing(t, name+" is not installed; run .ci/install-servers")
	return ""
}

// nginxModules finds the directory with nginx's module headers-more.
func nginxModules(t *testing.T) string {
	for _, dir := range []string{"/usr/lib/nginx/modules", "/usr/share/nginx/modules"} {
		if _, err := os.Stat(dir + "/ngx_http_headers_more_filter_module.so"); err == nil {
			return dir
		}
	}
	missing(t, "nginx's module headers-more is not installed; run .ci/install-servers")
	return ""
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
}

// configuration returns a file of this directory with each of the words replaced,
// all of which must be in it.
func configuration(t *testing.T, name string, words ...string) string {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	text := string(b)
	for i := 0; i < len(words); i += 2 {
		require.Contains(t, text, words[i], "%s has changed; adapt this test", name)
		text = strings.ReplaceAll(text, words[i], words[i+1])
	}
	return text
}

// start runs a program until the test ends and returns the address on which it
// listens. configure writes its files into a directory and returns its arguments.
// Another process may take the port in between, so it is tried a few times.
func start(t *testing.T, name string, configure func(dir, port string) []string) string {
	path := program(t, name)
	var said output
	for range 3 {
		dir, port := t.TempDir(), freePort(t)
		cmd := exec.Command(path, configure(dir, port)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		cmd.Stdout, cmd.Stderr = &said, &said
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		require.NoError(t, cmd.Start())
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		addr := "127.0.0.1:" + port
		if ready(addr, ended) {
			t.Cleanup(func() { stop(cmd, ended) })
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(name, "said:\n", said.String())
				}
			})
			return addr
		}
		stop(cmd, ended)
	}
	t.Fatalf("%s did not start:\n%s", name, said.String())
	return ""
}

func ready(addr string, ended <-chan struct{}) bool {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return false
}

// stop ends the process and its children.
func stop(cmd *exec.Cmd, ended <-chan struct{}) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
}

func write(t *testing.T, dir, name, text string) string {
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}
