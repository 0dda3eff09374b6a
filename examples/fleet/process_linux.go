package main

import "syscall"

// childAttr puts a child into a process group of its own, so that Ctrl-C in the
// terminal reaches this program alone, which then stops the children in order;
// and has the kernel end it if this program is killed.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
