package diskspace

import (
	"math"

	"golang.org/x/sys/windows"
)

// space returns what the user may still use of the disk of dir, and its size.
func space(dir string) (free, total int64, err error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, err
	}
	var available, all uint64
	if err := windows.GetDiskFreeSpaceEx(name, &available, &all, nil); err != nil {
		return 0, 0, err
	}
	return int64(min(available, math.MaxInt64)), int64(min(all, math.MaxInt64)), nil
}
