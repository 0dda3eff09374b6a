package listfile

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ipallow/ipallow"
)

// maxRowFaults is how many rows of a CSV file are reported before reading ends.
const maxRowFaults = 20

func readText(c *collector, br *bufio.Reader) error {
	s := bufio.NewScanner(br)
	s.Buffer(make([]byte, 0, 64<<10), MaxLine)
	var l *List
	line := 0
	for s.Scan() {
		line++
		text := strings.TrimSpace(s.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		if key, ok := section(text); ok {
			var err error
			if l, err = c.begin(key, line); err != nil {
				return err
			}
			continue
		}
		if l == nil {
			var err error
			if l, err = c.begin("", line); err != nil {
				return err
			}
		}
		entry, label, _ := strings.Cut(text, "#")
		l.Items = append(l.Items, Item{
			EntryText: ipallow.EntryText{Entry: strings.TrimSpace(entry), Label: strings.TrimSpace(label)},
			Pos:       Position{c.file, line},
		})
	}
	if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%s:%d: the line is longer than %d bytes", c.file, line+1, MaxLine)
	} else if err != nil {
		return fmt.Errorf("%s: %w", c.file, err)
	}
	return nil
}

// section reads the line that begins the list of a key: [key]. An address in
// brackets, as URLs have them, is an entry and a faulty one.
func section(text string) (string, bool) {
	rest, ok := strings.CutPrefix(text, "[")
	if !ok {
		return "", false
	}
	key, after, ok := strings.Cut(rest, "]")
	after = strings.TrimSpace(after)
	if !ok || key == "" || after != "" && after[0] != '#' {
		return "", false
	}
	if _, err := ipallow.ParseEntry(key); err == nil {
		return "", false
	}
	return key, true
}

// IsSection reports whether a line [key] of a text file begins the list of
// this key.
func IsSection(key string) bool {
	if strings.ContainsAny(key, "\r\n") || len(key) > ipallow.MaxKeyLen {
		return false
	}
	got, ok := section("[" + key + "]")
	return ok && got == key
}

func readCSV(c *collector, br *bufio.Reader) error {
	if sep := otherSeparator(br); sep != "" {
		return fmt.Errorf("%s:1: the columns are separated by %s; CSV has commas (RFC 4180): "+
			"save the file with commas", c.file, sep)
	}
	r := csv.NewReader(&lineLimit{r: br})
	r.FieldsPerRecord = -1
	r.ReuseRecord = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.file, err)
	}
	column := map[string]int{}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		if _, ok := column[name]; ok && (name == "key" || name == "entry" || name == "label") {
			return fmt.Errorf("%s:1: the header has two columns named %q; rename or remove one", c.file, name)
		}
		column[name] = i
	}
	entryAt, ok := column["entry"]
	if !ok {
		return fmt.Errorf("%s:1: the header has no column named entry; the columns are key, entry and label", c.file)
	}
	var faults []error
	field := func(record []string, name string) string {
		if i, ok := column[name]; ok && i < len(record) {
			return strings.TrimSpace(record[i])
		}
		return ""
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return errors.Join(faults...)
		}
		if err != nil {
			return errors.Join(append(faults, fmt.Errorf("%s: %w", c.file, err))...)
		}
		line, _ := r.FieldPos(0)
		if entryAt >= len(record) || len(record) > len(header) {
			// One field too many is a comma that lost its quotation marks, and
			// the entry may be in another column.
			faults = append(faults, fmt.Errorf("%s:%d: the row has %d fields and the header %d; quote fields that hold commas", c.file, line, len(record), len(header)))
			if len(faults) == maxRowFaults {
				return errors.Join(faults...)
			}
			continue
		}
		l, err := c.list(field(record, "key"), line)
		if err != nil {
			return err
		}
		l.Items = append(l.Items, Item{
			EntryText: ipallow.EntryText{Entry: field(record, "entry"), Label: field(record, "label")},
			Pos:       Position{c.file, line},
		})
	}
}

// otherSeparator names what separates the columns of the header, where that is
// not commas.
func otherSeparator(br *bufio.Reader) string {
	head, _ := br.Peek(512)
	line, _, _ := strings.Cut(string(head), "\n")
	if !hasEntryColumn(line, isSeparator) || hasEntryColumn(line, func(c rune) bool { return c == ',' }) {
		return ""
	}
	for _, s := range []struct{ sep, name string }{{";", "semicolons"}, {"\t", "tabs"}, {"|", "vertical bars"}} {
		if strings.Contains(line, s.sep) {
			return s.name
		}
	}
	return ""
}

// lineLimit fails where a line is longer than MaxLine, so that a file
// without line ends does not become one field in memory.
type lineLimit struct {
	r io.Reader
	n int
}

func (l *lineLimit) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	for _, b := range p[:n] {
		if l.n++; b == '\n' {
			l.n = 0
		}
		if l.n > MaxLine {
			return 0, fmt.Errorf("a line is longer than %d bytes", MaxLine)
		}
	}
	return n, err
}
