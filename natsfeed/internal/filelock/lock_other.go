//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package filelock

import "os"

// Open opens name. The standard library has no lock that a dying process
// gives back on this system, so that only one process uses the directory is
// left to the operator.
func Open(name string, _ error) (*os.File, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
}
