package reqlog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// open decompresses a log if need be and passes over its byte order mark. The
// reader's buffer has the given size.
func open(r io.Reader, size int) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(r, size)
	head, err := in.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(head) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("the log begins as gzip does: %w", err)
		}
		in = bufio.NewReaderSize(z, size)
	}
	if head, _ := in.Peek(3); string(head) == "\xef\xbb\xbf" {
		_, _ = in.Discard(3) // it has been peeked
	}
	return in, nil
}

// A block is some whole lines of the log, of which the last may lack its line
// end.
type block struct {
	seq  int
	buf  []byte // to be used again
	data []byte // part of buf
	// long says that data is the beginning of one line that is longer than a
	// block. The rest of it is in no block.
	long bool
}

// A cutter cuts a log into blocks.
type cutter struct {
	opts Options
	done <-chan struct{}
	work chan block
	free chan []byte

	seq int
}

// send hands a block to the workers. It returns false if the Scan is over.
func (c *cutter) send(b block) bool {
	b.seq = c.seq
	c.seq++
	select {
	case c.work <- b:
		return true
	case <-c.done:
		return false
	}
}

func (c *cutter) cut(r io.Reader) error {
	var rest []byte // of a line whose end has not been read
	skip := false   // what comes next belongs to a line that is too long
	for {
		var buf []byte
		select {
		case buf = <-c.free:
		case <-c.done:
			return nil // Scan knows why
		}
		if buf == nil {
			buf = make([]byte, c.opts.BlockSize)
		}
		n := copy(buf, rest)
		rest = rest[:0]
		m, err := fill(r, buf[n:])
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		b := block{buf: buf, data: buf[:n+m]}
		if skip {
			i := bytes.IndexByte(b.data, '\n')
			skip = i < 0
			b.data = b.data[i+1:]
			if skip {
				b.data = nil
			}
		}
		if err == nil && len(b.data) > 0 {
			// The last line may go on.
			i := bytes.LastIndexByte(b.data, '\n')
			if i < 0 && len(b.data) == len(buf) {
				b.long, skip = true, true
			} else {
				rest = append(rest, b.data[i+1:]...)
				b.data = b.data[:i+1]
			}
		}
		if len(b.data) == 0 {
			c.free <- buf // has room for all buffers
		} else if !c.send(b) {
			return nil
		}
		if err != nil {
			return nil // the end of the log
		}
	}
}

// fill reads until p is full or the reader fails. Unlike io.ReadFull it hands
// on the reader's own error, so that the end of the log and a gzip stream that
// breaks off stay apart.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}
