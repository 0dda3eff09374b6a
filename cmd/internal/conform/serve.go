// Package conform puts the conformance cases to programs, and answers them
// itself: the two ends of the protocol that conformance/README.md describes.
package conform

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/ipallow/ipallow/conformance"
)

// MaxLine is the length of the longest line that is read, in bytes.
const MaxLine = 1 << 20

// Serve reads questions from in, a line each, and writes the answers of impl
// to out, until in ends. It writes out each answer before it reads on, so
// that a person can type questions.
//
// A question that it cannot take is answered with an error. A line without
// so much as an ID ends it.
func Serve(in io.Reader, out io.Writer, impl conformance.Implementation) error {
	lines := newLineReader(in)
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for n := 1; ; n++ {
		line, err := lines.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		var answer conformance.Answer
		q, err := conformance.ParseQuestion(line)
		if err == nil {
			answer = impl.Answer(q)
		} else if answer.ID = idOf(line); answer.ID != "" {
			answer.Error = err.Error()
		} else {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := enc.Encode(answer); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
}

// idOf returns the ID in a line that may be wrong in everything else.
func idOf(line []byte) string {
	var v struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(line, &v) != nil {
		return ""
	}
	return v.ID
}

// errLineTooLong is returned once for a line that is passed over.
var errLineTooLong = fmt.Errorf("the line is longer than %d bytes", MaxLine)

// A lineReader reads lines of bounded length. Unlike a bufio.Scanner it can
// go on behind one that is too long.
type lineReader struct {
	r *bufio.Reader
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{bufio.NewReaderSize(r, MaxLine)}
}

// next returns the next line without its end. The slice is valid until the
// next call. A last line without an end counts.
func (l *lineReader) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	switch {
	case err == nil:
		return line[:len(line)-1], nil
	case errors.Is(err, bufio.ErrBufferFull):
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = l.r.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		return nil, errLineTooLong
	case err == io.EOF && len(line) > 0:
		return line, nil
	}
	return nil, err
}
