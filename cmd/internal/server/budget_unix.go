//go:build unix

package server

import (
	"math"
	"syscall"
)

// descriptors returns how many descriptors the process may open. The runtime has
// raised the soft limit to the hard one.
func descriptors() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return math.MaxInt32
	}
	return uint64(l.Cur) //nolint:unconvert // signed on some systems
}
