package listfile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/ipallow/ipallow"
)

// A jsonReader reads JSON token by token, since only so does an entry keep its
// line.
type jsonReader struct {
	c    *collector
	data []byte
	dec  *json.Decoder
	at   int64 // up to here,
	line int   // this line has been reached
}

func readJSON(c *collector, br *bufio.Reader) error {
	data, err := io.ReadAll(io.LimitReader(br, MaxJSON+1))
	if err != nil {
		return fmt.Errorf("%s: %w", c.file, err)
	}
	if len(data) > MaxJSON {
		return fmt.Errorf("%s: the file is larger than %d bytes; write CSV", c.file, MaxJSON)
	}
	if line := invalidLine(data); line > 0 {
		return fmt.Errorf("%s:%d: the text is not UTF-8; save the file as UTF-8", c.file, line)
	}
	r := &jsonReader{c: c, data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1}
	for {
		if err := r.top(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// invalidLine returns the first line that is not UTF-8, or 0.
func invalidLine(data []byte) int {
	for line := 1; len(data) > 0; line++ {
		text, rest, _ := bytes.Cut(data, []byte("\n"))
		if !utf8.Valid(text) {
			return line
		}
		data = rest
	}
	return 0
}

// pos is the line that the decoder has reached.
func (r *jsonReader) pos() int {
	to := min(r.dec.InputOffset(), int64(len(r.data)))
	if to > r.at {
		r.line += bytes.Count(r.data[r.at:to], []byte("\n"))
		r.at = to
	}
	return r.line
}

func (r *jsonReader) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", r.c.file, r.pos(), fmt.Sprintf(format, args...))
}

func (r *jsonReader) token() (json.Token, error) {
	t, err := r.dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, err
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		// The error's own offset has several origins; what follows the last
		// token is where a person has to look.
		at := min(r.dec.InputOffset(), int64(len(r.data)))
		at += int64(len(r.data[at:]) - len(bytes.TrimLeft(r.data[at:], " \t\r\n,:")))
		line := 1 + bytes.Count(r.data[:at], []byte("\n"))
		if rest := r.data[at:]; len(rest) > 0 && (rest[0] == '/' || rest[0] == '#') {
			return nil, fmt.Errorf("%s:%d: this is a comment, and JSON has none (RFC 8259); "+
				"remove it, or give entries a label", r.c.file, line)
		}
		return nil, fmt.Errorf("%s:%d: %w", r.c.file, line, err)
	}
	if err != nil {
		return nil, r.errorf("%v", err)
	}
	return t, nil
}

// inner is token where the document must go on.
func (r *jsonReader) inner() (json.Token, error) {
	t, err := r.token()
	if errors.Is(err, io.EOF) {
		return nil, r.errorf("the document ends too soon")
	}
	return t, err
}

const jsonShape = `want {"keys": {KEY: [ENTRY, ...]}}, or {"key": KEY, "entries": [ENTRY, ...]}, alone or in an array, or an array of entries`

// top reads one value of the file.
func (r *jsonReader) top() error {
	t, err := r.token()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		return r.object()
	case json.Delim('['):
		return r.array()
	}
	return r.errorf("%s", jsonShape)
}

// array reads lists, or the entries of one list.
func (r *jsonReader) array() error {
	at := -1 // the list of the entries that are in the array itself
	for r.dec.More() {
		t, err := r.inner()
		if err != nil {
			return err
		}
		if t == json.Delim('{') {
			fields, err := r.fields()
			if err != nil {
				return err
			}
			if fields.list {
				if err := r.add(fields); err != nil {
					return err
				}
				continue
			}
			t = fields.item
		}
		if at < 0 {
			if _, err = r.c.begin("", r.pos()); err != nil {
				return err
			}
			at = len(r.c.lists) - 1
		}
		it, err := r.entry(t)
		if err != nil {
			return err
		}
		r.c.lists[at].Items = append(r.c.lists[at].Items, it)
	}
	_, err := r.inner()
	return err
}

// entry is one that has been read as t: a text or an object.
func (r *jsonReader) entry(t json.Token) (Item, error) {
	switch t := t.(type) {
	case string:
		return Item{ipallow.EntryText{Entry: t}, Position{r.c.file, r.pos()}}, nil
	case Item:
		return t, nil
	case json.Delim:
		if t == '{' {
			fields, err := r.fields()
			if err != nil {
				return Item{}, err
			}
			if !fields.list {
				return fields.item, nil
			}
		}
	}
	return Item{}, r.errorf(`an entry is a text or {"entry": TEXT, "label": TEXT}`)
}

// A jsonObject is the fields of an object, which is a list or an entry.
type jsonObject struct {
	list bool
	key  string
	item Item
	all  []Item
	line int
}

// object reads {"keys": ...} or a list.
func (r *jsonReader) object() error {
	line := r.pos()
	if !r.dec.More() {
		_, err := r.inner()
		return err
	}
	t, err := r.inner()
	if err != nil {
		return err
	}
	if t != "keys" {
		fields, err := r.fieldsFrom(t, line)
		if err != nil {
			return err
		}
		if !fields.list {
			return r.errorf("%s", jsonShape)
		}
		return r.add(fields)
	}
	if t, err = r.inner(); err != nil {
		return err
	}
	if t != json.Delim('{') {
		return r.errorf(`"keys" is an object: {KEY: [ENTRY, ...]}`)
	}
	for r.dec.More() {
		t, err := r.inner()
		if err != nil {
			return err
		}
		l := jsonObject{list: true, key: t.(string), line: r.pos()}
		if l.all, err = r.entries(); err != nil {
			return err
		}
		if err := r.add(l); err != nil {
			return err
		}
	}
	if _, err := r.inner(); err != nil {
		return err
	}
	if r.dec.More() {
		return r.errorf(`nothing may stand beside "keys"`)
	}
	_, err = r.inner()
	return err
}

func (r *jsonReader) add(o jsonObject) error {
	l, err := r.c.begin(o.key, o.line)
	if err != nil {
		return err
	}
	l.Items = o.all
	return nil
}

// entries reads an array of entries.
func (r *jsonReader) entries() ([]Item, error) {
	t, err := r.inner()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('[') {
		return nil, r.errorf("the entries of a key are an array")
	}
	var items []Item
	for r.dec.More() {
		t, err := r.inner()
		if err != nil {
			return nil, err
		}
		it, err := r.entry(t)
		if err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	_, err = r.inner()
	return items, err
}

// fields reads the object whose { has been read.
func (r *jsonReader) fields() (jsonObject, error) {
	line := r.pos()
	if !r.dec.More() {
		return jsonObject{}, r.errorf("the object is empty; %s", jsonShape)
	}
	t, err := r.inner()
	if err != nil {
		return jsonObject{}, err
	}
	return r.fieldsFrom(t, line)
}

// fieldsFrom reads an object from its first field's name on.
func (r *jsonReader) fieldsFrom(name json.Token, line int) (jsonObject, error) {
	o := jsonObject{line: line, item: Item{Pos: Position{r.c.file, line}}}
	seen := map[string]bool{}
	for {
		field := name.(string)
		if seen[field] {
			return o, r.errorf("the field %q occurs twice", field)
		}
		seen[field] = true
		var err error
		switch field {
		case "key":
			o.key, err = r.text(field)
		case "entries":
			o.list = true
			o.all, err = r.entries()
		case "entry":
			o.item.Entry, err = r.text(field)
		case "label":
			o.item.Label, err = r.text(field)
		default:
			err = r.errorf("the field %q is not known; %s", field, jsonShape)
		}
		if err != nil {
			return o, err
		}
		if !r.dec.More() {
			break
		}
		if name, err = r.inner(); err != nil {
			return o, err
		}
	}
	if _, err := r.inner(); err != nil {
		return o, err
	}
	if o.list && (seen["entry"] || seen["label"]) || !o.list && (seen["key"] || !seen["entry"]) {
		return o, r.errorf("%s", jsonShape)
	}
	return o, nil
}

func (r *jsonReader) text(field string) (string, error) {
	t, err := r.inner()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", r.errorf("the field %q is a text", field)
	}
	return s, nil
}
