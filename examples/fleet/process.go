package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is a program that can be started, killed and started again. What it
// writes to its standard error, and to its output once it is ready, is appended
// to a file. Its methods may be called from any number of goroutines, start and
// the ends by one at a time.
type process struct {
	name  string
	path  string // of the program
	args  []string
	env   []string // beside the environment of this process
	log   string   // path of the file
	ready func(line string) bool

	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.Closer     // kept open: a child of our own ends when it is closed
	ended chan struct{} // closed when it has ended
}

// start runs the program and returns when ready has said that a line of its
// output is the last one to wait for.
func (p *process) start(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stderr = log
	cmd.SysProcAttr = childAttr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	out, in, err := os.Pipe()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	cmd.Stdout = in
	if err := errors.Join(cmd.Start(), in.Close()); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", p.name, err), out.Close(), log.Close())
	}
	ended := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.stdin, p.ended = cmd, stdin, ended
	p.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	ready := make(chan struct{})
	go func() {
		defer log.Close()
		defer out.Close()
		lines := bufio.NewScanner(out)
		for waiting := true; lines.Scan(); {
			fmt.Fprintln(log, lines.Text())
			if waiting && p.ready(lines.Text()) {
				waiting = false
				close(ready)
			}
		}
	}()
	select {
	case <-ready:
		return nil
	case <-ended:
		return fmt.Errorf("%s ended before it was ready:\n%s", p.name, p.said())
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("%s was not ready in time: %w\n%s", p.name, ctx.Err(), p.said())
	}
}

// said returns the end of what the program wrote.
func (p *process) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return filepath.Base(p.log) + ": " + strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// kill ends the program as kill -9 does, and waits until it is gone.
func (p *process) kill() { p.end(func(proc *os.Process) { _ = proc.Kill() }, time.Minute) }

// stop asks the program to end, and ends it if it does not.
func (p *process) stop(wait time.Duration) {
	p.end(func(proc *os.Process) { _ = proc.Signal(syscall.SIGTERM) }, wait)
	p.kill()
}

func (p *process) end(how func(*os.Process), wait time.Duration) {
	p.mu.Lock()
	cmd, stdin, ended := p.cmd, p.stdin, p.ended
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	how(cmd.Process)
	select {
	case <-ended:
		_ = stdin.Close()
	case <-time.After(wait):
	}
}
