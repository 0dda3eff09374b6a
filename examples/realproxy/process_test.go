//go:build unix

package realproxy

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/examples/internal/check"
)

// ports returns n ports that were free a moment ago.
func ports(t *testing.T, n int) []int {
	found := make([]int, n)
	for i := range found {
		listener := check.Listen(t)
		defer listener.Close()
		found[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return found
}

// program finds an installed program, also where only root's PATH leads.
func program(t *testing.T, name string) string {
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	check.Missing(t, name+" is not installed; run .ci/install-servers")
	return ""
}

// output is what a process says.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs a proxy until the test ends. configure writes its configuration for
// the ports it listens on. Another process may take a port in between, so it is
// tried a few times.
func start(t *testing.T, name string, n int, configure func(dir string, ports []int) (config string, args []string)) []int {
	path := program(t, name)
	var said output
	for range 3 {
		dir := t.TempDir()
		listen := ports(t, n)
		config, args := configure(dir, listen)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "conf"), []byte(config), 0o644))
		cmd := exec.Command(path, args...)
		cmd.Stdout, cmd.Stderr = &said, &said
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		require.NoError(t, cmd.Start())
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		if ready(listen, ended) {
			t.Cleanup(func() { stop(cmd, ended) })
			return listen
		}
		stop(cmd, ended)
	}
	t.Fatalf("%s did not start:\n%s", name, said.String())
	return nil
}

func ready(listen []int, ended <-chan struct{}) bool {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		open := 0
		for _, port := range listen {
			if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
				conn.Close()
				open++
			}
		}
		if open == len(listen) {
			return true
		}
		select {
		case <-ended:
			return false
		case <-time.After(20 * time.Millisecond):
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
