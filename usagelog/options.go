package usagelog

import (
	"fmt"
	"time"
)

// Options tune a Writer. The zero value of each field stands for its default.
type Options struct {
	// QueueBytes bounds the records in memory that are not in the write-ahead
	// file yet, in bytes as written there (about 150 a record). A second
	// buffer of the same size is being written meanwhile, so the memory used
	// is twice this. Default 4 MiB, at least 64 KiB. A queue that is too small
	// loses records when the disk pauses.
	QueueBytes int

	// WALBytes bounds the write-ahead files that wait for the store, in bytes.
	// Default 256 MiB, at least four times QueueBytes. When they are full,
	// records stay in the queue, and when that is full too, they are lost.
	WALBytes int64

	// Fsync makes an acknowledgement wait until the disk has the record, so
	// that it survives a power loss or a crash of the kernel too. Without it,
	// an acknowledged record has been handed to the kernel and survives the
	// death of the process by any cause, kill -9 included. All records that
	// wait share one fsync; it costs an Append the latency of the disk, which
	// is 0.1 to 30 ms, and Record nothing.
	Fsync bool

	// Linger is how long a record that nobody waits for may stay in memory
	// while more are collected for one write. Records in memory are lost with
	// the process. Default 10 ms, at most 1 minute; negative means no delay.
	Linger time.Duration

	// BatchRecords is the most records given to Store.Append at once. There is
	// one call at a time, so it bounds what a slow Store takes: BatchRecords in
	// the time of a call. Default 512, at most 65,536.
	BatchRecords int

	// StoreLinger is how long after a call of Store.Append the next one waits
	// while fewer than BatchRecords have come, for a Store to which each call
	// costs something. Records wait in the write-ahead file meanwhile: they are
	// acknowledged, and cannot be queried yet. The first one after a pause of
	// this length does not wait, and Drain and Close do not let any wait.
	// Default 0, at most 1 minute.
	StoreLinger time.Duration

	// StoreTimeout bounds one call of Store.Append through its context; a call
	// that was cut short is tried again. Default 30 s.
	StoreTimeout time.Duration

	// Room, when not nil, is asked before each write of a write-ahead file. While it
	// returns an error nothing is written, as if the write had failed: records stay
	// in the queue, and are lost by the cause WALFailed when that is full. It is for a
	// disk whose last part is kept for something else.
	Room func() error

	// OnError, when not nil, is told about each failure of the store and of
	// the write-ahead files, and about damage found in them (a *DamageError).
	// It is called from the Writer's own goroutines, and from Open; a slow
	// OnError delays storing, never Record.
	OnError func(error)
}

const (
	minQueueBytes   = 64 << 10
	maxBatchRecords = 1 << 16
)

// withDefaults returns the options with every default filled in.
func (o *Options) withDefaults() (Options, error) {
	var v Options
	if o != nil {
		v = *o
	}
	if v.QueueBytes == 0 {
		v.QueueBytes = 4 << 20
	}
	if v.WALBytes == 0 {
		v.WALBytes = max(256<<20, 4*int64(v.QueueBytes))
	}
	if v.Linger == 0 {
		v.Linger = 10 * time.Millisecond
	}
	if v.BatchRecords == 0 {
		v.BatchRecords = 512
	}
	if v.StoreTimeout == 0 {
		v.StoreTimeout = 30 * time.Second
	}
	if v.OnError == nil {
		v.OnError = func(error) {}
	}
	switch {
	case v.QueueBytes < minQueueBytes || v.QueueBytes > 1<<30:
		return v, fmt.Errorf("usagelog: Options.QueueBytes is %d: want %d to %d, or 0 for the default", v.QueueBytes, minQueueBytes, 1<<30)
	case v.WALBytes < 4*int64(v.QueueBytes):
		return v, fmt.Errorf("usagelog: Options.WALBytes is %d: want at least four times QueueBytes, which is %d", v.WALBytes, v.QueueBytes)
	case v.Linger > time.Minute:
		return v, fmt.Errorf("usagelog: Options.Linger is %v: want at most 1m0s", v.Linger)
	case v.BatchRecords < 1 || v.BatchRecords > maxBatchRecords:
		return v, fmt.Errorf("usagelog: Options.BatchRecords is %d: want 1 to %d, or 0 for the default", v.BatchRecords, maxBatchRecords)
	case v.StoreLinger < 0 || v.StoreLinger > time.Minute:
		return v, fmt.Errorf("usagelog: Options.StoreLinger is %v: want 0 to 1m0s", v.StoreLinger)
	case v.StoreTimeout < 0:
		return v, fmt.Errorf("usagelog: Options.StoreTimeout is %v: want a positive duration, or 0 for the default", v.StoreTimeout)
	}
	return v, nil
}
