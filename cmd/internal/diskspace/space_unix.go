//go:build linux || darwin || freebsd

package diskspace

import "golang.org/x/sys/unix"

// space returns what an unprivileged user may still use of the disk of dir, and the
// size of the disk.
func space(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	size := int64(st.Bsize) // #nosec G115 -- a few KiB
	return int64(st.Bavail) * size, int64(st.Blocks) * size, nil
}
