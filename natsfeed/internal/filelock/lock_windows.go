package filelock

import (
	"os"
	"syscall"
)

// Open opens name in a way that lets nobody else open it. Windows closes
// the file with the process, however that ends.
func Open(name string, locked error) (*os.File, error) {
	const errorSharingViolation = syscall.Errno(32)
	p, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(p, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err == errorSharingViolation {
		return nil, locked
	}
	if err != nil {
		return nil, &os.PathError{Op: "CreateFile", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}
