//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// killWhole lets the end of cmd's context end what cmd started too, such as the
// daemons of a test.
func killWhole(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
