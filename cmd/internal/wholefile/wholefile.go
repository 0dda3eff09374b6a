// Package wholefile writes small files of the server's own.
package wholefile

import "os"

// Write puts data in the place of what the file had, for its owner alone (mode
// 0600): whole or not at all, so that neither a kill nor a power cut leaves an
// empty file behind.
func Write(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	return err
}
