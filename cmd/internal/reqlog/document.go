package reqlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// isDocument reports whether a log that begins with this line is JSON that is
// not a record a line: an array of records, a page of the management API, or
// what a program has indented. An nginx line of an IPv6 client with a port
// begins with a bracket too.
func isDocument(line []byte) bool {
	line = bytes.TrimSpace(line)
	if inner, ok := bytes.CutPrefix(line, []byte("[")); ok {
		inner = bytes.TrimSpace(inner)
		return len(inner) == 0 || inner[0] == '{' || inner[0] == ']'
	}
	inner, ok := bytes.CutPrefix(line, []byte("{"))
	if !ok {
		return false
	}
	inner = bytes.TrimSpace(inner)
	for _, member := range []string{`"records"`, `"next"`} {
		if rest, ok := bytes.CutPrefix(inner, []byte(member)); ok {
			return bytes.HasPrefix(bytes.TrimSpace(rest), []byte(":"))
		}
	}
	return len(inner) == 0
}

// A document reads the records of JSON values, one a line, as a log of lines.
type document struct {
	dec     *json.Decoder
	inside  bool              // an array that is read record by record
	page    []json.RawMessage // records that have been read and not written
	line    bytes.Buffer      // of the next record, as far as it is not read
	records int
}

// newDocument reads from in, which begins with an array if array says so: that
// may be long, and is never in memory as a whole.
func newDocument(in io.Reader, array bool) (*document, error) {
	d := &document{dec: json.NewDecoder(in), inside: array}
	if array {
		if _, err := d.dec.Token(); err != nil {
			return nil, d.fault(err)
		}
	}
	return d, nil
}

func (d *document) fault(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it breaks off")
	}
	return fmt.Errorf("the JSON of the log cannot be read after record %d: %w", d.records, err)
}

func (d *document) Read(p []byte) (int, error) {
	for d.line.Len() == 0 {
		raw, err := d.next()
		if err != nil {
			return 0, err
		}
		if err := json.Compact(&d.line, raw); err != nil {
			return 0, d.fault(err)
		}
		d.line.WriteByte('\n')
		d.records++
	}
	return d.line.Read(p)
}

// next returns the next record, or io.EOF.
func (d *document) next() (raw json.RawMessage, err error) {
	for len(d.page) == 0 {
		if d.inside && !d.dec.More() {
			d.inside = false
			if _, err := d.dec.Token(); err != nil {
				return nil, d.fault(err)
			}
		}
		if err := d.dec.Decode(&raw); errors.Is(err, io.EOF) && !d.inside {
			return nil, io.EOF
		} else if err != nil {
			return nil, d.fault(err)
		}
		if d.inside {
			return raw, nil
		}
		var page struct{ Records []json.RawMessage }
		switch {
		case raw[0] == '[':
			err = json.Unmarshal(raw, &d.page)
		case json.Unmarshal(raw, &page) == nil && page.Records != nil:
			d.page = page.Records
		case raw[0] != '{':
			err = errors.New("it contains something that is not a record")
		default:
			return raw, nil
		}
		if err != nil {
			return nil, d.fault(err)
		}
	}
	raw, d.page = d.page[0], d.page[1:]
	return raw, nil
}
