package usagelog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// fill reads records until the items are as many as a batch may have, or
// nothing more is written.
func (d *deliverer) fill() error {
	for len(d.items) < d.w.opt.BatchRecords {
		if d.seg == nil && !d.nextSegment() {
			return nil
		}
		var it item
		ok, err := false, error(nil)
		if d.reader == nil {
			err = d.open()
		}
		if err == nil && d.reader != nil {
			ok, err = d.reader.next(&it.rec)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("usagelog: write-ahead file: %w", err)
		}
		if ok {
			if d.seg.read < d.records {
				it.seg, it.ord = d.seg, d.ord
				d.seg.read++
				d.ord++
				d.items = append(d.items, it)
			}
			continue
		}
		if !d.endOfSegment(err != nil) {
			return nil
		}
	}
	return nil
}

// nextSegment goes to the first segment that has not been read, if there is one.
func (d *deliverer) nextSegment() bool {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	for _, s := range d.w.segments {
		if !s.readDone {
			d.seg, d.records = s, 0
			return true
		}
	}
	return false
}

// open opens the segment for reading.
func (d *deliverer) open() error {
	f, err := os.Open(d.seg.name)
	if err != nil {
		return err
	}
	d.w.mu.Lock()
	size, records := d.seg.size, d.seg.records
	d.w.mu.Unlock()
	fr, err := openFrames(f, size)
	if err != nil {
		f.Close()
		return err
	}
	d.file, d.reader, d.records = f, fr, records
	return nil
}

// endOfSegment is called when nothing more can be read up to the size last
// seen; gone says that the file has vanished. It counts what should have been
// there, and reports whether there is more to read now, here or elsewhere.
func (d *deliverer) endOfSegment(gone bool) bool {
	w, seg := d.w, d.seg
	w.mu.Lock()
	if gone {
		d.records = seg.records
	}
	if missing := d.records - seg.read; missing > 0 {
		w.stats.Lost[Damaged] += missing
		w.stats.Spilled -= missing
		seg.read += missing
		seg.resolved += missing
		d.ord += missing
		d.raiseLowLocked()
	}
	grown, sealed := seg.records > d.records, seg.sealed
	d.records = seg.records
	if d.reader != nil {
		d.reader.end = seg.size
	}
	if !grown && sealed {
		seg.readDone = true
	}
	w.mu.Unlock()
	if grown || !sealed {
		return grown
	}
	d.close()
	d.seg = nil
	d.drop()
	return true
}

func (d *deliverer) close() {
	if d.file != nil {
		d.file.Close()
	}
	d.file, d.reader = nil, nil
}

// drop removes the segments whose records are all resolved. One that cannot
// be removed is tried again later; if it comes to a replay, the store knows its
// records by their IDs.
func (d *deliverer) drop() {
	w := d.w
	w.mu.Lock()
	var free []*segment
	for _, s := range w.segments {
		if s.readDone && s.resolved == s.records {
			free = append(free, s)
		}
	}
	w.mu.Unlock()
	for _, s := range free {
		err := os.Remove(s.name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			if !s.stuck {
				s.stuck = true
				w.opt.OnError(fmt.Errorf("usagelog: write-ahead file: %w", err))
			}
			continue
		}
		w.forget(s)
	}
}
