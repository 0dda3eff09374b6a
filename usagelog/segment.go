package usagelog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The write-ahead file is a row of segments, DIR/wal-<number>.log, numbered
// upwards. Only the last is written to; each Open begins a new one, so that
// nothing is ever appended behind a torn tail. A segment is removed when the
// store has all of its records.
const (
	segmentPrefix, segmentSuffix = "wal-", ".log"

	// segmentMagic begins each segment; the byte behind it is the version.
	segmentMagic   = "IPAUSE\x00"
	segmentVersion = 2 // 1 had no entries, and is read as well
	segmentHead    = len(segmentMagic) + 1
)

// A segment is one file of the write-ahead log.
type segment struct {
	name string

	// Guarded by Writer.mu.
	size    int64  // bytes that are written, whole frames only
	records uint64 // records in these bytes
	sealed  bool   // size and records are final

	// Of the deliverer alone.
	read     uint64 // records read, or found missing
	resolved uint64 // records stored or lost
	readDone bool   // never opened again
	stuck    bool   // could not be removed
}

// segmentFile is the part of *os.File that writing needs.
type segmentFile interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

// createSegment is a variable of the Writer so that tests can break the disk.
func createSegment(name string) (segmentFile, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

// segmentNumber parses a file name in the directory.
func segmentNumber(name string) (uint64, bool) {
	s, ok := strings.CutPrefix(name, segmentPrefix)
	s, ok2 := strings.CutSuffix(s, segmentSuffix)
	if !ok || !ok2 || len(s) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil && n < 1<<63
}

func segmentName(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%016x%s", segmentPrefix, number, segmentSuffix))
}

// A replay is what earlier Writers left in the directory.
type replay struct {
	segments []*segment
	next     uint64 // the number of the next segment
	records  uint64
	damaged  uint64
	torn     uint64
	stretch  uint64
}

// scanSegments reads every segment in dir, counts its records and reports what
// is damaged.
func scanSegments(dir string, report func(error)) (replay, error) {
	var rp replay
	entries, err := os.ReadDir(dir)
	if err != nil {
		return rp, err
	}
	var numbers []uint64
	for _, e := range entries {
		if n, ok := segmentNumber(e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		rp.next = n + 1
		seg := &segment{name: segmentName(dir, n), sealed: true}
		if err := rp.scan(seg, report); err != nil {
			return rp, err
		}
		rp.records += seg.records
		rp.segments = append(rp.segments, seg)
	}
	return rp, nil
}

func (rp *replay) scan(seg *segment, report func(error)) error {
	f, err := os.Open(seg.name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	seg.size = info.Size()
	fr, err := openFrames(f, seg.size)
	if err != nil {
		return fmt.Errorf("%s: %w", seg.name, err)
	}
	fr.damage = func(off, n int64) {
		rp.damaged += uint64(n)
		rp.stretch++
		report(&DamageError{File: seg.name, Offset: off, Bytes: n})
	}
	var r Record
	for {
		ok, err := fr.next(&r)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		seg.records++
	}
	if fr.skipped > 0 {
		rp.torn += uint64(fr.skipped)
		report(&DamageError{File: seg.name, Offset: seg.size - fr.skipped, Bytes: fr.skipped, Torn: true})
	}
	return nil
}

// ErrVersion is wrapped by the error of Open for a directory in which a newer
// version of this package has left records.
var ErrVersion = errors.New("usagelog: write-ahead file of a newer version: start the version that wrote it once, so that it stores what is in it, and close it")

// openFrames returns a reader of the records in the first size bytes of src.
// A damaged header is stepped over like any other damage.
func openFrames(src io.ReaderAt, size int64) (*frameReader, error) {
	fr := &frameReader{src: src, end: size}
	if size < int64(segmentHead) {
		return fr, nil
	}
	head := make([]byte, segmentHead)
	if n, err := src.ReadAt(head, 0); n < len(head) {
		return nil, err
	}
	if string(head[:len(segmentMagic)]) == segmentMagic {
		switch v := head[len(segmentMagic)]; {
		case v > segmentVersion:
			return nil, ErrVersion
		case v > 0:
			fr.off = int64(segmentHead)
		}
	}
	return fr, nil
}
