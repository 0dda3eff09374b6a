package usagelog

// syncDir does nothing: Windows has no fsync for directories, and NTFS keeps
// its directory entries in a journal of its own.
func syncDir(string) error { return nil }
