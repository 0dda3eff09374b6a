//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package natsfeed

import (
	"os"
	"syscall"
)

// lockFile opens the file and locks it, or fails at once with ErrLocked. The
// kernel gives the lock back when the process ends in whatever way.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			break
		}
	}
	switch err {
	case nil:
		return f, nil
	case syscall.EWOULDBLOCK:
		err = ErrLocked
	default:
		err = &os.PathError{Op: "flock", Path: name, Err: err}
	}
	f.Close()
	return nil, err
}
