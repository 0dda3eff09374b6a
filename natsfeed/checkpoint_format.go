package natsfeed

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// A checkpoint file is a head and then frames. Numbers of fixed size are
// little endian, others are unsigned varints.
//
//	head    "ipallow\x00", version 4, length 4, bucket, checksum 4
//	frame   length 4, checksum of the payload 4, flags 4, checksum of these 4,
//	        payload
//	payload records; with flagMark the place after them
//	record  kind 1, name, revision, data; for faulty and foreign ones a reason;
//	        texts with their length before them
//	place   created 8, revision 8, last message 8, its time 8, last Confirm 8,
//	        its time 8, mark 32; times in nanoseconds since 1970, 0 for none
//	mark    age 8, the calendar 8, a hash of the machine's boot ID 8, its
//	        uptime 8; see age.go
//
// Earlier files have flagPlace, and in the place of the mark the time at which
// the state was known to be up to date.
//
// A state is what all frames up to one with a place say. A faulty record
// without data leaves that of an earlier one.
const (
	fileMagic   = "ipallow\x00"
	fileVersion = 1

	frameHead = 16
	flagPlace = 1
	flagMark  = 2
	placeSize = 48   // without the mark
	kindLocal = 0x80 // beside the kind: record.local
)

func fileHead(bucket string) []byte {
	b := append([]byte(nil), fileMagic...)
	b = binary.LittleEndian.AppendUint32(b, fileVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(bucket)))
	b = append(b, bucket...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendRecord[T string | []byte](b []byte, name string, rec record, data T, why string) []byte {
	k := byte(rec.kind)
	if rec.local {
		k |= kindLocal
	}
	b = appendText(append(b, k), name)
	b = binary.AppendUvarint(b, rec.rev)
	b = appendText(b, data)
	if rec.kind == kindFaulty || rec.kind == kindForeign {
		b = appendText(b, why)
	}
	return b
}

func appendPlace(b []byte, p place, m mark) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, nanos(p.created))
	b = le.AppendUint64(b, p.rev)
	b = le.AppendUint64(b, p.last)
	b = le.AppendUint64(b, nanos(p.lastTime))
	b = le.AppendUint64(b, p.confirmed.seq)
	b = le.AppendUint64(b, nanos(p.confirmed.time))
	return appendMark(b, m)
}

func readPlace(s string) (place, mark) {
	at := func(i int) uint64 { return binary.LittleEndian.Uint64([]byte(s[8*i:])) }
	p := place{
		created: fromNanos(at(0)), rev: at(1), last: at(2), lastTime: fromNanos(at(3)),
		confirmed: confirm{at(4), fromNanos(at(5))},
	}
	if len(s) < placeSize+markSize {
		return p, mark{wall: fromNanos(at(6))}
	}
	return p, readMark(s[placeSize:])
}

func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func fromNanos(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(n)).UTC()
}

// sealFrame writes the head of a frame, for which there is room before its
// payload.
func sealFrame(frame []byte, flags uint32) {
	le, payload := binary.LittleEndian, frame[frameHead:]
	le.PutUint32(frame, uint32(len(payload)))
	le.PutUint32(frame[4:], crc32.Checksum(payload, castagnoli))
	le.PutUint32(frame[8:], flags)
	le.PutUint32(frame[12:], crc32.Checksum(frame[:12], castagnoli))
}

// A frameReader reads a file from the front.
type frameReader struct {
	r    *bufio.Reader
	at   int64 // where it is
	size int64 // of the file
}

func newFrameReader(r io.Reader, size int64) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 1<<18), size: size}
}

func (r *frameReader) read(n int64) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r.r, b)
	r.at += n
	return b, err
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCheckpoint, fmt.Sprintf(format, args...))
}

// head reads the head of the file.
func (r *frameReader) head(bucket string) error {
	want := fileHead(bucket)
	got, err := r.read(min(int64(len(want)), r.size))
	switch {
	case err != nil:
		return damaged("%v", err)
	case len(got) < 16 || string(got[:8]) != fileMagic:
		return damaged("it is no checkpoint, or damaged at the front")
	case binary.LittleEndian.Uint32(got[8:]) != fileVersion:
		return damaged("its version is %d, and not %d", binary.LittleEndian.Uint32(got[8:]), fileVersion)
	case string(got) != string(want):
		return damaged("it is that of another bucket than %q, or damaged at the front", bucket)
	}
	return nil
}

// next returns the next frame, or nil at the end. A frame that is there only
// in part is the end too, if nothing stands behind it: the process was killed
// while it wrote.
func (r *frameReader) next() (*frame, error) {
	left := r.size - r.at
	if left < frameHead {
		return nil, nil
	}
	start := r.at
	head, err := r.read(frameHead)
	if err != nil {
		return nil, damaged("%v", err)
	}
	le := binary.LittleEndian
	if crc32.Checksum(head[:12], castagnoli) != le.Uint32(head[12:]) {
		if allZero(head) && r.zeroToEnd() {
			return nil, nil // room that the kernel made and never filled
		}
		return nil, damaged("the frame at offset %d has a damaged head", start)
	}
	n := int64(le.Uint32(head))
	if n > left-frameHead {
		return nil, nil
	}
	payload, err := r.read(n)
	if err != nil {
		return nil, damaged("%v", err)
	}
	if crc32.Checksum(payload, castagnoli) != le.Uint32(head[4:]) {
		if r.at == r.size || r.zeroToEnd() {
			return nil, nil
		}
		return nil, damaged("the frame at offset %d is damaged", start)
	}
	f := &frame{all: string(payload), start: start + frameHead}
	f.d.rest = f.all
	size := int64(0)
	switch flags := le.Uint32(head[8:]); {
	case flags&flagMark != 0:
		size = placeSize + markSize
	case flags&flagPlace != 0:
		size = placeSize + 8
	}
	if n < size {
		return nil, damaged("the frame at offset %d has no place", start)
	}
	f.place, f.d.rest = f.all[n-size:], f.all[:n-size]
	return f, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (r *frameReader) zeroToEnd() bool {
	buf := make([]byte, 1<<12)
	for {
		n, err := r.r.Read(buf)
		if !allZero(buf[:n]) {
			return false
		}
		if err != nil {
			return err == io.EOF
		}
	}
}

// A frame is one that was read in full.
type frame struct {
	all   string
	start int64 // of the payload, in the file
	d     decoder
	place string // "" if it has none
}

// record returns the next record and its offset in the file. The error is nil
// and ok false at the end.
func (f *frame) record() (off int64, name string, rec record, why string, ok bool, err error) {
	if f.d.rest == "" {
		return 0, "", record{}, "", false, nil
	}
	body := len(f.all) - len(f.place)
	off = f.start + int64(body-len(f.d.rest))
	k := f.d.take(1)[0]
	rec.kind, rec.local = kind(k&^kindLocal), k&kindLocal != 0
	name = f.d.text()
	rec.rev = f.d.number64()
	rec.data = f.d.text()
	if rec.kind == kindFaulty || rec.kind == kindForeign {
		why = f.d.text()
	}
	if f.d.fault != "" || rec.kind == kindNone || rec.kind >= kinds {
		return 0, "", record{}, "", false, damaged("the record at offset %d cannot be read", off)
	}
	return off, name, rec, why, true, nil
}

func (d *decoder) number64() uint64 {
	x, n := binary.Uvarint([]byte(d.rest[:min(len(d.rest), binary.MaxVarintLen64)]))
	if n <= 0 {
		d.fail("a number is cut off or too large")
		return 0
	}
	d.rest = d.rest[n:]
	return x
}

// text reads a text with its length before it.
func (d *decoder) text() string { return d.take(int(min(d.number64(), 1<<31-1))) }
