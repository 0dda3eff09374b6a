// Package diskspace keeps room on a disk for what must not fail: the last part of it
// is closed to the usage log, and a file of reserve gives room where others have
// filled the disk to its end.
package diskspace

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// ErrLow is wrapped by the error of Guard.Room.
var ErrLow = errors.New("the disk is nearly full: delete something from it, or give it more room")

const (
	maxKeep    = 64 << 20 // free bytes that the log leaves
	maxReserve = 4 << 20
)

// A Guard watches the disk of a directory. Its methods may be called from any number
// of goroutines.
type Guard struct {
	path    string // of the reserve
	dir     string
	keep    int64
	reserve int64
	space   func(dir string) (free, total int64, err error) // tests set it

	mu   sync.Mutex
	full bool // a change could not be stored, and none has been since
}

// Open watches the disk of dir, an existing directory, and makes the file of reserve
// in it. The log leaves a sixteenth of the disk free, at most 64 MiB; the reserve is
// a sixty-fourth, at most 4 MiB. On a system that does not tell, nothing is ever low.
func Open(dir string) (*Guard, error) { return open(dir, space) }

func open(dir string, space func(string) (int64, int64, error)) (*Guard, error) {
	g := &Guard{path: filepath.Join(dir, "reserve"), dir: dir, space: space}
	_, total, err := space(dir)
	if err != nil {
		return nil, fmt.Errorf("disk of %s: %w", dir, err)
	}
	g.keep, g.reserve = min(maxKeep, total/16), min(maxReserve, total/64)
	return g, g.Restore()
}

// Space returns the bytes that are free, and those of the whole disk; 0 of 0 where
// the system does not tell.
func (g *Guard) Space() (free, total int64) {
	free, total, err := g.space(g.dir)
	if err != nil {
		return 0, 0
	}
	return free, total
}

// Room returns nil, or an error that wraps ErrLow when the log must not grow by so
// many bytes.
func (g *Guard) Room(bytes int64) error {
	if free, total := g.Space(); total > 0 && free-bytes < g.keep {
		return fmt.Errorf("%w (%d MiB are free, and the log leaves %d)", ErrLow, free>>20, g.keep>>20)
	}
	return nil
}

// Release gives the room of the reserve. It reports false when there is none left.
func (g *Guard) Release() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	info, err := os.Stat(g.path)
	// Cut first: removing it needs a new block on some file systems.
	return err == nil && info.Size() > 0 && os.Truncate(g.path, 0) == nil
}

// Restore makes the reserve again, where there is room for it beside what the log
// leaves. That there is none is no error.
func (g *Guard) Restore() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if info, err := os.Stat(g.path); err == nil && info.Size() == g.reserve {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if free, total := g.Space(); total > 0 && free < g.keep+g.reserve {
		return nil
	}
	f, err := os.OpenFile(g.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// Random bytes: a file system that compresses would keep no room for zeros.
	b := make([]byte, g.reserve)
	_, _ = rand.Read(b)
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Truncate(g.path, 0))
	}
	return nil
}

// Note notes whether a change could be stored.
func (g *Guard) Note(full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.full = full
}

// Full reports whether the last change found no room, and there still is none.
func (g *Guard) Full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if free, total := g.Space(); total == 0 || free > g.reserve {
		g.full = false
	}
	return g.full
}
