package usagelog

import (
	"fmt"
	"iter"
)

// A Cause says why a record was lost.
type Cause uint8

const (
	// QueueFull: records came faster than the write-ahead file took them.
	QueueFull Cause = iota
	// SpillFull: the store did not keep up, and both the write-ahead files and
	// the queue before them were full.
	SpillFull
	// WALFailed: the write-ahead file could not be written, for instance on a
	// full disk, until the queue was full too or Close gave up.
	WALFailed
	// Rejected: the store refused the record for ever while it took others.
	Rejected
	// Damaged: the record was in a write-ahead file and can no longer be read
	// from it.
	Damaged
	// Closed: the record came after Close.
	Closed

	numCauses
)

var causeNames = [numCauses]string{"queue_full", "spill_full", "wal_failed", "rejected", "damaged", "closed"}

// String returns the cause as a word for metrics, such as "queue_full".
func (c Cause) String() string {
	if c < numCauses {
		return causeNames[c]
	}
	return fmt.Sprintf("cause(%d)", uint8(c))
}

// Losses counts lost records, indexed by Cause.
type Losses [numCauses]uint64

// Total returns the number of lost records of all causes.
func (l Losses) Total() (n uint64) {
	for _, v := range l {
		n += v
	}
	return n
}

// All returns every cause with its count, zeros included.
func (l Losses) All() iter.Seq2[Cause, uint64] {
	return func(yield func(Cause, uint64) bool) {
		for c, n := range l {
			if !yield(Cause(c), n) {
				return
			}
		}
	}
}

// Stats are the counts of a Writer at one moment, so that always
//
//	Accepted == Stored + Pending + Lost.Total()
//	Pending == Queued + Spilled
type Stats struct {
	Accepted uint64 // records given to Record and Append, and those that Open found
	Stored   uint64 // records that the store has
	Pending  uint64 // records that are on their way
	Queued   uint64 // of these, records in memory only
	Spilled  uint64 // of these, records in a write-ahead file, waiting for the store
	Lost     Losses // records that are recorded nowhere, by cause

	Replayed uint64 // records that Open found in write-ahead files; part of Accepted

	// WALBytes and WALFiles are the size and number of the write-ahead files.
	WALBytes int64
	WALFiles int

	// DamagedBytes and DamagedStretches count what Open found unreadable
	// between records, and TornBytes what it cut behind the last record of a
	// file, where a crash interrupted a write that nobody was promised. How
	// many records were there cannot be known, so Lost does not contain them.
	DamagedBytes, TornBytes uint64
	DamagedStretches        uint64

	// StoreErrors and WALErrors count failures, each of which is tried again.
	// The last one of each kind stays here also when all is well again.
	StoreErrors, WALErrors       uint64
	LastStoreError, LastWALError error
}

// A LostError is the error of an Append whose record is lost. It has been
// counted in Stats.
type LostError struct{ Cause Cause }

func (e *LostError) Error() string {
	advice := [numCauses]string{
		QueueFull: "the disk does not keep up; raise Options.QueueBytes",
		SpillFull: "the store does not keep up; look at Stats.LastStoreError or raise Options.WALBytes",
		WALFailed: "the write-ahead file cannot be written; look at Stats.LastWALError",
		Rejected:  "the store refuses it; look at Stats.LastStoreError",
		Damaged:   "its write-ahead file is damaged; check the disk",
		Closed:    "the Writer is closed",
	}
	return "usagelog: record lost (" + e.Cause.String() + "): " + advice[e.Cause%numCauses]
}

// A DamageError reports bytes of a write-ahead file that are not records. The
// records around them are read.
type DamageError struct {
	File          string
	Offset, Bytes int64
	Torn          bool // nothing readable follows: an interrupted write
}

func (e *DamageError) Error() string {
	kind := "damage between records: check the disk"
	if e.Torn {
		kind = "write cut short by a crash: ignored"
	}
	return fmt.Sprintf("usagelog: %s: %d bytes at offset %d are not records (%s)", e.File, e.Bytes, e.Offset, kind)
}
