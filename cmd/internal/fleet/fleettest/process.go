package fleettest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// natsServer builds the program nats-server, of the version in go.mod, once.
var natsServer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nats-server-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "nats-server")
	built = dir
	if out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build nats-server: %w\n%s", err, out)
	}
	return path, nil
})

// Program returns the path of the program nats-server.
func Program(t testing.TB) string {
	t.Helper()
	path, err := natsServer()
	require.NoError(t, err)
	return path
}

// built is the directory of what natsServer built.
var built string

// RemoveProgram removes what Program built. Call it when all tests have ended.
func RemoveProgram() {
	if built != "" {
		_ = os.RemoveAll(built)
	}
}

// A Process is nats-server in a process of its own.
type Process struct {
	t    testing.TB
	conf string
	addr string
	cmd  *exec.Cmd
	out  *bytes.Buffer // read when it has ended
	done chan struct{} // closed then
}

// Run runs nats-server with a configuration that has it listen on the address, and
// waits until it does. The end of the test ends it.
func Run(t testing.TB, conf, addr string) *Process {
	t.Helper()
	p := &Process{t: t, conf: conf, addr: addr}
	p.Start()
	t.Cleanup(p.Kill)
	return p
}

// Start starts it again.
func (p *Process) Start() {
	p.t.Helper()
	p.out = new(bytes.Buffer)
	p.cmd = exec.Command(Program(p.t), "-c", p.conf)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	require.NoError(p.t, p.cmd.Start())
	cmd, ended := p.cmd, make(chan struct{})
	p.done = ended
	go func() { _ = cmd.Wait(); close(ended) }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", p.addr); err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			require.FailNow(p.t, "nats-server ended", "%s", p.out)
		default:
		}
		require.True(p.t, time.Now().Before(end), "nats-server does not listen on %s", p.addr)
	}
}

// Pid returns its process number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Reload has it read its configuration again, as nats-server --signal reload does.
func (p *Process) Reload() {
	p.t.Helper()
	out, err := exec.Command(Program(p.t), "--signal", fmt.Sprintf("reload=%d", p.cmd.Process.Pid)).CombinedOutput()
	require.NoError(p.t, err, "%s", out)
}

// Kill ends it as kill -9 does.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// FreePorts returns ports that nobody listens on, and nobody either on those
// above them by the distance. They are lower than those that systems give to
// outgoing connections.
func FreePorts(t testing.TB, n, above int) (ports []int) {
	t.Helper()
	free := func(port int) bool {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
		}
		return err == nil
	}
	first := 10000 + int(time.Now().UnixNano()/1000)%17000
	for port := first; len(ports) < n && port < first+5000; port += 7 {
		if free(port) && free(port+above) {
			ports = append(ports, port)
		}
	}
	require.Len(t, ports, n, "no free ports")
	return ports
}
