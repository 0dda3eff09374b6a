// Package listfile reads files of allowlists: JSON, CSV, or text with one
// entry a line. Every entry keeps its file and line, so that a fault can be
// shown where it stands.
package listfile

import (
	"fmt"
	"io"

	"github.com/ipallow/ipallow"
)

// A Position is a line of a file; Line counts from 1.
type Position struct {
	File string
	Line int
}

func (p Position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// An Item is one entry as it stands in a file.
type Item struct {
	ipallow.EntryText
	Pos Position
}

// A List is the entries of one key. The key is empty in a file that holds
// one list without naming a key.
type List struct {
	Key   string
	Items []Item
	Pos   Position // where the list begins
}

// Options say how to read a file.
type Options struct {
	Format string // "json", "csv", "text", or "" to find out
	Key    string // the key of a list whose file names none
}

// Texts returns the entries of a list without their positions.
func (l *List) Texts() []ipallow.EntryText {
	texts := make([]ipallow.EntryText, len(l.Items))
	for i, it := range l.Items {
		texts[i] = it.EntryText
	}
	return texts
}

// Open reads the lists of the file at path, or of stdin if path is "-". Files
// may be compressed with gzip. The error says file and line.
func Open(path string, stdin io.Reader, opts Options) ([]List, error) {
	return nil, fmt.Errorf("%s: cannot be read yet", path)
}
