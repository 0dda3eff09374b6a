package natsfeed

import (
	"fmt"
	"hash/maphash"
	"os"
	"sync/atomic"
	"time"

	"github.com/ipallow/ipallow/natsfeed/internal/filelock"
)

// A checkpoint is a file with the last known state of a bucket. It begins with
// a snapshot of the whole, and every step of the feed is appended to it as one
// frame; when it has grown to twice its size, a new one with the latest
// records takes its place by a rename.
//
// To write the whole state anew in some interval would be simpler. With a
// million keys it would write hundreds of megabytes for a single change, and
// the feed would have to hold all values in memory for it.
//
// A frame is written by one write, and only a frame that is there in full
// counts. So whatever kills the process, the file holds a state that the feed
// was in.
type checkpoint struct {
	path   string
	bucket string
	lock   *os.File
	file   *os.File // nil until there is a file
	size   int64    // of the frames that are in it
	base   int64    // its size when it was new
	buf    []byte   // frames that are not in it yet, because the disk failed
	index  offsets  // where the last value or deletion of a name is
	faults offsets  // and where the fault is that came after it
	seed   [2]maphash.Seed
	proof  proof
	saved  time.Time // when the file was written last

	dirty atomic.Bool
	quit  chan struct{} // ends the flusher
	idle  chan struct{} // closed by it
}

const (
	minCompact = 4 << 20  // below this size a file is left alone
	maxUnsaved = 64 << 20 // bytes that wait for a disk that fails
)

// offsets say where records are, by two hashes of the name. With one of 64
// bits, one file in some 40 million with a million names each would lose a
// name when it is compacted, and so open its key.
type offsets map[[2]uint64]int64

func (cp *checkpoint) reseed() { cp.seed = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()} }

func (cp *checkpoint) hash(name string) [2]uint64 {
	return [2]uint64{maphash.String(cp.seed[0], name), maphash.String(cp.seed[1], name)}
}

// openCheckpoint reads the file, and puts its lists into force if there is
// one that can be used.
func (f *Feed) openCheckpoint() (bool, error) {
	if f.o.Checkpoint == "" {
		return false, nil
	}
	lock, err := filelock.Open(f.o.Checkpoint+".lock", ErrLocked)
	if err != nil {
		return false, fmt.Errorf("natsfeed: lock the checkpoint file: %w", err)
	}
	cp := &checkpoint{
		path: f.o.Checkpoint, bucket: f.bucket, lock: lock, index: make(offsets), faults: make(offsets),
		quit: make(chan struct{}), idle: make(chan struct{}),
	}
	cp.reseed()
	f.cp = cp
	go cp.flusher(f.o.CheckpointInterval)
	c, err := cp.read()
	switch {
	case err != nil:
		f.o.Logger.Error("natsfeed: the checkpoint is refused", "file", cp.path, "error", err)
		f.with(func(s *state) { s.cpErr = err })
		return false, nil
	case c == nil:
		return false, nil
	}
	names := newTracker(f.names.seed, len(c.recs))
	for name, rec := range c.recs {
		names.set(name, rec.kind)
		if rec.rev == c.last && rec.kind != kindMissing {
			c.lastName = name
		}
		if rec.data == "" || rec.kind == kindDeleted {
			continue
		}
		// The policy may be another one than when it was written.
		if key, v, err := f.read(name, rec.data); err != nil {
			if isRefused(err) {
				c.refused[name] = v.Meta
			}
			rec.data = ""
			c.recs[name] = rec
			c.faults[name] = Fault{Key: key, Name: name, Revision: rec.rev, Err: err}
		}
	}
	delete(c.recs, reservedConfirm)
	f.reload = names.missing() > 0 // a Confirm may have been seen and not obeyed
	known := cp.proof
	f.proof.Store(&known) // before the hooks, after which requests are served
	if err := f.install(c, names, SourceCheckpoint, time.Time{}); err != nil {
		f.closeCheckpoint()
		return false, err
	}
	f.with(func(s *state) { s.cpRev = f.rev })
	age := "unknown"
	if known.age >= 0 {
		age = known.age.Round(time.Second).String()
	}
	f.o.Logger.Info("natsfeed: started from the checkpoint", "file", cp.path, "revision", f.rev, "age", age)
	return true, nil
}

// flusher makes the disk keep what was written. It has a goroutine of its own,
// because a disk may take seconds.
func (cp *checkpoint) flusher(every time.Duration) {
	defer close(cp.idle)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			cp.sync()
		case <-cp.quit:
			return
		}
	}
}

func (cp *checkpoint) sync() {
	if cp.dirty.CompareAndSwap(true, false) {
		if file, err := os.OpenFile(cp.path, os.O_WRONLY, 0); err == nil {
			_ = file.Sync() // a disk that fails says so to the next write too
			file.Close()
		}
	}
}

func (f *Feed) closeCheckpoint() {
	cp := f.cp
	if cp == nil {
		return
	}
	f.tickCheckpoint()
	close(cp.quit)
	<-cp.idle
	cp.sync()
	if cp.file != nil {
		cp.file.Close()
	}
	cp.lock.Close()
}

// writeCheckpoint puts a file with the whole content in the place of the one
// there was.
func (f *Feed) writeCheckpoint(c *content, source Source, at time.Time) {
	if f.cp == nil || source != SourceBucket {
		return
	}
	f.cp.proof = proof{at: at}
	f.checkpointed(f.cp.rewrite(f.place, func(add func(string, record, string)) error {
		for name, rec := range c.recs {
			why := ""
			if fault, ok := c.faults[name]; ok {
				why = fault.Err.Error()
			}
			add(name, rec, why)
		}
		if k := f.names.kinds[f.names.hash(reservedConfirm)]; k != kindNone {
			add(reservedConfirm, record{rev: c.confirmed.seq, kind: k}, "")
		}
		return nil
	}))
}

// saved is what a checkpoint keeps of a message.
type saved struct {
	name string
	rev  uint64
	kind kind
	data []byte
	why  string
}

// appendCheckpoint adds one step to the file.
func (f *Feed) appendCheckpoint(step []saved) {
	cp := f.cp
	if cp == nil || cp.file == nil {
		return
	}
	start := len(cp.buf)
	cp.buf = append(cp.buf, make([]byte, frameHead)...)
	for i := range step {
		s := &step[i]
		rec := record{rev: s.rev, kind: s.kind}
		cp.note(cp.index, cp.faults, s.name, &rec, len(s.data), cp.size+int64(len(cp.buf)))
		cp.buf = appendRecord(cp.buf, s.name, rec, s.data, s.why)
	}
	cp.buf = appendPlace(cp.buf, f.place, marked(cp.proof.staleness()))
	sealFrame(cp.buf[start:], flagMark)
	f.checkpointed(cp.flush())
	if cp.file != nil && len(cp.buf) == 0 && cp.size > max(2*cp.base, minCompact) {
		err := cp.rewrite(f.place, func(add func(string, record, string)) error { return cp.scan(add) })
		if err != nil {
			cp.base = cp.size // not again with the next step
		}
		f.checkpointed(err)
	}
}

// tickCheckpoint is called in every CheckpointInterval, or more often. It notes
// how old the state is, also while nothing is heard: a clock that is set back
// later can hide no more than the time since. And it tries again to write what
// could not be written.
func (f *Feed) tickCheckpoint() {
	cp := f.cp
	if cp == nil || cp.file == nil || len(cp.buf) == 0 && time.Since(cp.saved) < f.o.CheckpointInterval/2 {
		return
	}
	f.appendCheckpoint(nil)
}

func (f *Feed) checkpointed(err error) {
	f.with(func(s *state) {
		if s.cpErr = err; err == nil {
			s.cpRev = f.rev
		}
	})
	if err != nil {
		f.o.Logger.Error("natsfeed: the checkpoint cannot be written", "file", f.cp.path, "error", err)
	}
}
