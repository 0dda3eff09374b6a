//go:build !linux

package manage

import "os"

// syncData has the disk keep what was written.
func syncData(f *os.File) error { return f.Sync() }
