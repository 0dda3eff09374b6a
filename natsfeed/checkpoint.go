package natsfeed

import (
	"bufio"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
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
	alive  time.Time
	saved  time.Time // alive, as the file has it

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
	lock, err := lockFile(f.o.Checkpoint + ".lock")
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
		if rec.data == "" || rec.kind == kindDeleted {
			continue
		}
		// The policy may be another one than when it was written.
		if key, _, err := f.read(name, rec.data); err != nil {
			rec.data = ""
			c.recs[name] = rec
			c.faults[name] = Fault{Key: key, Name: name, Revision: rec.rev, Err: err}
		}
	}
	delete(c.recs, reservedConfirm)
	f.reload = names.missing() > 0 // a Confirm may have been seen and not obeyed
	if err := f.install(c, names, SourceCheckpoint); err != nil {
		f.closeCheckpoint()
		return false, err
	}
	f.with(func(s *state) {
		s.cpRev = f.rev
		if !cp.alive.After(time.Now()) {
			s.alive = cp.alive
		}
	})
	f.o.Logger.Info("natsfeed: started from the checkpoint", "file", cp.path, "revision", f.rev, "written", cp.alive)
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
func (f *Feed) writeCheckpoint(c *content, source Source) {
	if f.cp == nil || source != SourceBucket {
		return
	}
	f.cp.alive = time.Now()
	f.checkpointed(f.cp.rewrite(f.place, func(add func(string, record, string)) error {
		for name, rec := range c.recs {
			why := ""
			if fault, ok := c.faults[name]; ok {
				why = fault.Err.Error()
			}
			add(name, rec, why)
		}
		if k := f.names.kinds[f.names.hash(reservedConfirm)]; k != kindNone {
			add(reservedConfirm, record{rev: c.rev, kind: k}, "")
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
	cp.buf = appendPlace(cp.buf, f.place, cp.alive)
	sealFrame(cp.buf[start:], flagPlace)
	f.checkpointed(cp.flush())
	if cp.file != nil && len(cp.buf) == 0 && cp.size > max(2*cp.base, minCompact) {
		err := cp.rewrite(f.place, func(add func(string, record, string)) error { return cp.scan(add) })
		if err != nil {
			cp.base = cp.size // not again with the next step
		}
		f.checkpointed(err)
	}
}

// tickCheckpoint is called in every CheckpointInterval. It notes the proof of
// life and tries again to write what could not be written.
func (f *Feed) tickCheckpoint() {
	cp := f.cp
	if cp == nil || cp.file == nil || cp.alive.Equal(cp.saved) && len(cp.buf) == 0 {
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

// flush writes the frames that wait. After a failure they wait on, and what
// was written in part is written over.
func (cp *checkpoint) flush() error {
	n, err := cp.file.WriteAt(cp.buf, cp.size)
	if err != nil {
		if n > 0 {
			_ = cp.file.Truncate(cp.size) // or else the reader finds a torn frame and stops there
		}
		if len(cp.buf) > maxUnsaved {
			// The file stays as it is: an earlier state, and a true one.
			cp.drop()
			return fmt.Errorf("natsfeed: the checkpoint stays at an earlier revision: %w", err)
		}
		return fmt.Errorf("natsfeed: write the checkpoint: %w", err)
	}
	cp.size += int64(len(cp.buf))
	cp.buf = cp.buf[:0]
	cp.saved = cp.alive
	cp.dirty.Store(true)
	return nil
}

// drop gives the file up until the next load.
func (cp *checkpoint) drop() {
	if cp.file != nil {
		cp.file.Close()
	}
	cp.file, cp.buf = nil, nil
	cp.index, cp.faults = make(offsets), make(offsets)
}

// rewrite makes a new file of the records that fn adds.
func (cp *checkpoint) rewrite(at place, fn func(add func(string, record, string)) error) (err error) {
	tmp := cp.path + ".tmp"
	file, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("natsfeed: write the checkpoint: %w", err)
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(tmp)
			err = fmt.Errorf("natsfeed: write the checkpoint: %w", err)
		}
	}()
	w := bufio.NewWriterSize(file, 1<<20)
	size, index, faults := int64(0), make(offsets, len(cp.index)), make(offsets)
	var failed error
	write := func(b []byte) {
		if failed == nil {
			_, failed = w.Write(b)
		}
		size += int64(len(b))
	}
	write(fileHead(cp.bucket))
	// Only the last frame has the place: a file that is cut off before it is
	// worth nothing.
	frame := make([]byte, frameHead, 1<<20)
	err = fn(func(name string, rec record, why string) {
		cp.note(index, faults, name, &rec, len(rec.data), size+int64(len(frame)))
		frame = appendRecord(frame, name, rec, rec.data, why)
		if len(frame) > 1<<19 {
			sealFrame(frame, 0)
			write(frame)
			frame = frame[:frameHead]
		}
	})
	frame = appendPlace(frame, at, cp.alive)
	sealFrame(frame, flagPlace)
	write(frame)
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	// On some systems an open file cannot be renamed, nor one that is in the
	// way.
	file.Close()
	if cp.file != nil {
		cp.file.Close()
		cp.file = nil
	}
	renamed := os.Rename(tmp, cp.path)
	if dir, err := os.Open(filepath.Dir(cp.path)); err == nil {
		_ = dir.Sync() // not every system can
		dir.Close()
	}
	again, err := os.OpenFile(cp.path, os.O_RDWR, 0)
	if err != nil {
		cp.drop()
		return errors.Join(renamed, err)
	}
	cp.file = again
	if renamed != nil {
		return renamed
	}
	cp.size, cp.base, cp.index, cp.faults, cp.buf = size, size, index, faults, cp.buf[:0]
	cp.saved = cp.alive
	return nil
}

// each yields the records that count.
func (cp *checkpoint) each(fn func(name string, rec record)) {
	if cp.file == nil {
		return
	}
	// What cannot be read is not yielded; the engine has the list, if there is
	// one.
	_ = cp.scan(func(name string, rec record, _ string) { fn(name, rec) })
}

// scan reads the file from the front and yields each record that no later one
// has replaced: of a faulty name the last value that could be read, and then
// the fault.
func (cp *checkpoint) scan(fn func(name string, rec record, why string)) error {
	r := newFrameReader(io.NewSectionReader(cp.file, 0, cp.size), cp.size)
	if err := r.head(cp.bucket); err != nil {
		return err
	}
	for {
		fr, err := r.next()
		if err != nil || fr == nil {
			return err
		}
		for {
			off, name, rec, why, ok, err := fr.record()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if h := cp.hash(name); cp.index[h] == off || cp.faults[h] == off {
				fn(name, rec, why)
			}
		}
	}
}

// note keeps in mind where the record of a name is.
func (cp *checkpoint) note(index, faults offsets, name string, rec *record, size int, off int64) {
	h := cp.hash(name)
	if rec.kind == kindFaulty && size == 0 {
		faults[h] = off
		return
	}
	index[h] = off
	delete(faults, h)
}

// read reads the file that is there and makes it the one that is written on.
// The content is nil if there is none.
func (cp *checkpoint) read() (c *content, err error) {
	file, err := os.OpenFile(cp.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, damaged("%v", err)
	}
	defer func() {
		if err != nil {
			file.Close()
			cp.index, cp.faults = make(offsets), make(offsets)
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, damaged("%v", err)
	}
	r := newFrameReader(file, info.Size())
	if err := r.head(cp.bucket); err != nil {
		return nil, err
	}
	c = newContent()
	end := int64(0)
	for {
		fr, err := r.next()
		if err != nil {
			return nil, err
		}
		if fr == nil {
			break
		}
		if err := cp.restore(c, fr); err != nil {
			return nil, err
		}
		if fr.place != "" {
			c.place, cp.alive = readPlace(fr.place)
			end = r.at
			if cp.base == 0 {
				cp.base = end
			}
		}
	}
	if end == 0 || c.created.IsZero() {
		return nil, damaged("it holds no complete state")
	}
	if end < info.Size() {
		// What comes after it would be written behind a frame that is torn.
		if err := file.Truncate(end); err != nil {
			return nil, damaged("%v", err)
		}
	}
	cp.file, cp.size, cp.saved = file, end, cp.alive
	return c, nil
}

// restore adds the records of a frame to the content.
func (cp *checkpoint) restore(c *content, fr *frame) error {
	for {
		off, name, rec, why, ok, err := fr.record()
		if err != nil || !ok {
			return err
		}
		cp.note(cp.index, cp.faults, name, &rec, len(rec.data), off)
		key, kerr := NameKey(name)
		delete(c.faults, name)
		switch rec.kind {
		case kindFaulty:
			if rec.data == "" {
				rec.data, rec.local = restricting(c.recs[name].data), c.recs[name].local
			}
			c.faults[name] = Fault{Key: key, Name: name, Revision: rec.rev, Err: errors.New(why)}
		case kindForeign:
			c.faults[name] = Fault{Name: name, Revision: rec.rev, Err: errors.New(why)}
		}
		if rec.data != "" {
			if _, err := decodeValue(rec.data); err != nil || kerr != nil {
				return damaged("the value of %s cannot be read", quote(name))
			}
		}
		rec.data = strings.Clone(rec.data) // or else the whole frame is kept
		c.recs[name] = rec
	}
}
