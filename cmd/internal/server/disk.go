package server

import (
	"fmt"

	"github.com/ipallow/ipallow/cmd/internal/diskspace"
)

const (
	// MinLogBytes is the smallest --log-max-bytes.
	MinLogBytes = 32 << 20

	// defaultLogBytes is the most that the log takes unless it is told otherwise:
	// about 40 million records.
	defaultLogBytes = 4 << 30

	// walShare is which part of the log's bytes the files before the store take.
	walShare = 8
	maxWAL   = 256 << 20
)

// openDisk begins to watch the disk of the data directory.
func (h *host) openDisk() (err error) {
	if h.disk, err = diskspace.Open(h.cfg.Data); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	return nil
}

// logBytes returns how much of the disk the usage log takes at most, the files
// before the store included.
func (h *host) logBytes() int64 {
	if h.cfg.LogMaxBytes > 0 {
		return h.cfg.LogMaxBytes
	}
	most := int64(defaultLogBytes)
	if _, total := h.disk.Space(); total > 0 {
		most = min(most, max(total/4, minAutoBytes))
	}
	return most
}

// minAutoBytes is what the log takes on the smallest disk.
const minAutoBytes = 16 << 20

func (h *host) walBytes() int64 { return min(h.logBytes()/walShare, maxWAL) }

// storeBytes returns the bound of the store's file: what the files before it leave,
// and as much again for SQLite's own write-ahead log.
func (h *host) storeBytes() int64 { return h.logBytes() - 2*h.walBytes() }
