//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package natsfeed

import "os"

// lockFile opens the file. The standard library has no lock here that ends
// with the process, so it is left to the operator that only one uses it.
func lockFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
}
