// Package listfile reads files of allowlists: JSON, CSV, or text with one
// entry a line, each also compressed with gzip. Every entry keeps its file
// and line, so that a fault can be shown where it is.
//
//	lists, err := listfile.ReadFile("lists.json", nil)
//	if err != nil {
//		return err // names the file and, where there is one, the line
//	}
//	for _, l := range lists {
//		entries, err := policy.ParseEntries(l.Texts())
//		...
//	}
//
// JSON is an object of keys,
//
//	{"keys": {"key-1": ["203.0.113.0/24", {"entry": "2001:db8::1", "label": "office"}]}}
//
// or an array, or lines, of {"key": "key-1", "entries": [...]}, or an array of
// entries alone, which is one list. CSV has a header with the columns key,
// entry and label in any order, of which key and label may be missing. Text
// has one entry a line; what follows a # after it is its label, a line that
// begins with # is a comment, and a line [key] begins the list of a key.
//
// # What is refused
//
// A list that gets lost opens its key, so whatever is in doubt is an error and
// no list of the file is returned: a key that occurs twice (encoding/json keeps
// the last one and says nothing), a field that occurs twice or is not known, a
// document that breaks off, text that is not UTF-8 (RFC 8259, section 8.1), a
// row with more fields than the header, and a file that holds no list at all
// ([ErrNoLists]). A list without an entry is returned as it is.
//
// The entries are not parsed and no policy is applied: that is for
// [ipallow.Policy.ParseEntries].
//
// # Cost
//
// A JSON file is read into memory whole, at most MaxJSON; of the other formats
// one line at a time is, beside the lists.
package listfile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/ipallow/ipallow"
)

// ErrNoLists is wrapped by the error for a file that holds no list, such as an
// empty one, {} and [], a CSV file of a header alone, or text of comments alone.
var ErrNoLists = errors.New("the file holds no list")

// MaxLine is the length of the longest line of a text or CSV file, in bytes,
// and MaxJSON that of the largest JSON file.
const (
	MaxLine = 1 << 20
	MaxJSON = 1 << 30
)

// A Position is a line of a file; Line counts from 1.
type Position struct {
	File string
	Line int
}

func (p Position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// An Item is one entry as it is in a file.
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

// Options say how to read a file. The zero Options find out.
type Options struct {
	// Format is "json", "csv", "text", or "" to find out by name and content.
	Format string

	// Key is the key of a list whose file names none. Default: the empty key,
	// which no engine has a list for.
	Key string
}

// Texts returns the entries of a list without their positions.
func (l *List) Texts() []ipallow.EntryText {
	texts := make([]ipallow.EntryText, len(l.Items))
	for i, it := range l.Items {
		texts[i] = it.EntryText
	}
	return texts
}

// ReadFile reads the lists of the file at path, in the order in which their
// keys appear. A nil opts means the zero Options.
func ReadFile(path string, opts *Options) ([]List, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(path, f, opts)
}

// Read is ReadFile for what r has; name is that of positions and errors, and
// its ending tells the format.
func Read(name string, r io.Reader, opts *Options) ([]List, error) {
	if opts == nil {
		opts = new(Options)
	}
	br := bufio.NewReaderSize(r, 64<<10)
	if head, _ := br.Peek(2); len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		br = bufio.NewReaderSize(z, 64<<10)
		name = strings.TrimSuffix(name, ".gz")
	}
	if head, _ := br.Peek(3); bytes.Equal(head, []byte("\xef\xbb\xbf")) {
		_, _ = br.Discard(3) // it has been peeked
	}
	c := &collector{file: name, byKey: make(map[string]int), key: opts.Key}
	var err error
	switch format := opts.Format; {
	case format == "json" || format == "" && looksJSON(name, br):
		err = readJSON(c, br)
	case format == "csv" || format == "" && looksCSV(name, br):
		err = readCSV(c, br)
	case format == "text" || format == "":
		err = readText(c, br)
	default:
		return nil, fmt.Errorf("the format %q is not json, csv or text", format)
	}
	if err != nil {
		return nil, err
	}
	if len(c.lists) == 0 {
		return nil, fmt.Errorf("%s: %w", name, ErrNoLists)
	}
	return c.lists, nil
}

func looksJSON(name string, br *bufio.Reader) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json", ".jsonl", ".ndjson":
		return true
	case ".csv", ".txt", ".list":
		return false
	}
	head, _ := br.Peek(512)
	head = skipComments(head)
	// In text, [ begins the line of a key: [key].
	return len(head) > 0 && (head[0] == '{' || head[0] == '[' && jsonArray(head[1:]))
}

// skipComments returns what follows white space and the comments that JSON has
// in other dialects, which readJSON then refuses by name.
func skipComments(b []byte) []byte {
	for {
		b = bytes.TrimLeft(b, " \t\r\n")
		switch {
		case bytes.HasPrefix(b, []byte("//")):
			_, b, _ = bytes.Cut(b, []byte("\n"))
		case bytes.HasPrefix(b, []byte("/*")):
			_, b, _ = bytes.Cut(b, []byte("*/"))
		default:
			return b
		}
	}
}

func jsonArray(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	return len(head) > 0 && (head[0] == '"' || head[0] == '{' || head[0] == ']')
}

func looksCSV(name string, br *bufio.Reader) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv":
		return true
	case ".txt", ".list":
		return false
	}
	head, _ := br.Peek(512)
	line, _, _ := strings.Cut(string(head), "\n")
	return hasEntryColumn(line, isSeparator)
}

func hasEntryColumn(header string, separator func(rune) bool) bool {
	for _, column := range strings.FieldsFunc(strings.ToLower(header), separator) {
		if strings.Trim(column, " \"\r") == "entry" {
			return true
		}
	}
	return false
}

// isSeparator includes those of other dialects of CSV, which readCSV refuses by
// name.
func isSeparator(c rune) bool { return c == ',' || c == ';' || c == '\t' || c == '|' }

// A collector gathers entries into lists.
type collector struct {
	file  string
	key   string // for lists without one
	lists []List
	byKey map[string]int
}

// begin starts the list of a key, which must not have one yet.
func (c *collector) begin(key string, line int) (*List, error) {
	pos := Position{c.file, line}
	if key == "" {
		key = c.key
	}
	if len(key) > ipallow.MaxKeyLen {
		return nil, fmt.Errorf("%s: the key has %d bytes, and the limit is %d", pos, len(key), ipallow.MaxKeyLen)
	}
	if !utf8.ValidString(key) || strings.ContainsRune(key, utf8.RuneError) {
		// JSON's decoder writes U+FFFD for what is no text: that would be another key.
		return nil, fmt.Errorf("%s: the key %q is not valid UTF-8", pos, key)
	}
	if i, ok := c.byKey[key]; ok {
		return nil, fmt.Errorf("%s: the key %q has a list already, at %s; give each key one list", pos, key, c.lists[i].Pos)
	}
	c.byKey[key] = len(c.lists)
	c.lists = append(c.lists, List{Key: key, Pos: pos})
	return &c.lists[len(c.lists)-1], nil
}

// list returns the list of a key, which it begins if there is none.
func (c *collector) list(key string, line int) (*List, error) {
	if key == "" {
		key = c.key
	}
	if i, ok := c.byKey[key]; ok {
		return &c.lists[i], nil
	}
	return c.begin(key, line)
}
