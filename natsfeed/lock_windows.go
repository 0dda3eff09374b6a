package natsfeed

import (
	"os"
	"syscall"
)

// lockFile opens the file so that nobody else can. Windows closes it when the
// process ends in whatever way.
func lockFile(name string) (*os.File, error) {
	const sharingViolation = syscall.Errno(32)
	p, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(p, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	switch err {
	case nil:
		return os.NewFile(uintptr(h), name), nil
	case sharingViolation:
		return nil, ErrLocked
	}
	return nil, &os.PathError{Op: "CreateFile", Path: name, Err: err}
}
