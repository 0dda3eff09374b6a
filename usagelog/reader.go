package usagelog

import "io"

// readChunk is how much of a write-ahead file is read at once. It bounds the
// memory that one record kept by a store can hold on to.
const readChunk = 64 << 10

// A frameReader reads the records of a write-ahead file in order and steps over
// damage: whatever is not a sound frame is skipped byte by byte up to the next
// sound one. It is for one goroutine.
type frameReader struct {
	src io.ReaderAt
	off int64 // file offset of buf[pos]
	end int64 // file offset behind the last byte to read; may be raised later

	buf  []byte // what has been read, whole frames at first
	text string // the same bytes
	pos  int

	skipped int64              // bytes stepped over since the last sound frame
	damage  func(off, n int64) // when not nil, called for each damaged stretch before a sound frame
}

// next decodes the next record before end into r. It returns false at end, and
// an error only if src cannot be read.
func (fr *frameReader) next(r *Record) (bool, error) {
	for {
		if err := fr.fill(); err != nil {
			return false, err
		}
		b := fr.buf[fr.pos:]
		if len(b) == 0 {
			return false, nil
		}
		if n := decodeFrame(b, fr.text[fr.pos:], r); n > 0 {
			if fr.skipped > 0 && fr.damage != nil {
				fr.damage(fr.off-fr.skipped, fr.skipped)
			}
			fr.skipped = 0
			fr.advance(n)
			return true, nil
		}
		fr.skip(b)
	}
}

// skip steps to the next place in b where a frame may begin, beyond the first byte.
func (fr *frameReader) skip(b []byte) {
	none := len(b)
	if len(b) > 5 && int64(len(b)) < fr.end-fr.off {
		none = len(b) - 5 // the magic may stand across the end of the chunk
	}
	n := nextMark(b, none)
	fr.skipped += int64(n)
	fr.advance(n)
}

func (fr *frameReader) advance(n int) {
	fr.pos += n
	fr.off += int64(n)
}

// fill makes sure that the buffer holds a whole frame, if the file does.
func (fr *frameReader) fill() error {
	have := len(fr.buf) - fr.pos
	left := fr.end - fr.off
	if have >= maxFrame || int64(have) >= left {
		return nil
	}
	if fr.buf == nil {
		fr.buf = make([]byte, 0, readChunk)
	}
	// The kept tail is read again rather than moved, so that a buffer and its
	// string always begin at the same place.
	n := int(min(left, readChunk))
	fr.buf = fr.buf[:n]
	fr.pos = 0
	got, err := fr.src.ReadAt(fr.buf, fr.off)
	if got < n {
		if err != io.EOF {
			fr.buf = fr.buf[:0]
			return err
		}
		// Somebody has cut the file: what is left of it is still good.
		fr.buf = fr.buf[:got]
		fr.end = fr.off + int64(got)
	}
	fr.text = string(fr.buf)
	return nil
}
