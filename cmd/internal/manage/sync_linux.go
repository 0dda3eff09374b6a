package manage

import (
	"os"
	"syscall"
)

// syncData has the disk keep what was written to a file whose size stays, which
// needs no write to the file system's journal.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
