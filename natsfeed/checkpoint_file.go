package natsfeed

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

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
	cp.saved = time.Now()
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
	frame = appendPlace(frame, at, marked(cp.proof.staleness()))
	sealFrame(frame, flagMark)
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
	cp.saved = time.Now()
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
	end, m := int64(0), mark{}
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
			c.place, m = readPlace(fr.place)
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
	cp.file, cp.size, cp.saved = file, end, time.Now()
	cp.proof = proof{at: time.Now(), age: m.at(marked(0))}
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
