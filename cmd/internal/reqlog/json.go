package reqlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

const (
	jsonInvalid = "the line is not a JSON object"
	jsonNoAddr  = "the object has no member for the address, or it is not text"
	jsonKeyType = "the key is neither a text nor a number"
)

// A jsonParser reads lines of JSON. A member is named by a path: its name, or
// with dots those of the objects it is in. A member whose own name has the
// dots is found too, and comes first.
//
// A jsonScanner answers for nearly all lines in one pass. It leaves to
// encoding/json what it is not sure of: escapes, text beyond ASCII, repeated
// members, and all that is wrong.
type jsonParser struct {
	paths [2][]string // of the key and of the address, the best first
	scan  jsonScanner
}

func newJSONParser(paths [2][]string) *jsonParser {
	p := &jsonParser{paths: paths}
	for which, all := range paths {
		for rank, path := range all {
			p.scan.top = append(p.scan.top, wanted{which: which, rank: rank, path: path})
		}
	}
	return p
}

func (p *jsonParser) parse(line []byte) (key, addr []byte, reason string) {
	if !p.scan.line(line) {
		return p.slow(line)
	}
	if addr = p.scan.found[1]; addr == nil {
		return nil, nil, jsonNoAddr
	}
	return p.scan.found[0], addr, ""
}

// slow is parse for all lines.
func (p *jsonParser) slow(line []byte) (key, addr []byte, reason string) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber() // as it is written
	var v any
	if d.Decode(&v) != nil {
		return nil, nil, jsonInvalid
	}
	object, ok := v.(map[string]any)
	if _, err := d.Token(); !ok || !errors.Is(err, io.EOF) {
		return nil, nil, jsonInvalid
	}
	switch v := first(object, p.paths[0]).(type) {
	case string:
		key = []byte(v)
	case json.Number:
		key = []byte(v)
	case nil: // a request without a key
	default:
		return nil, nil, jsonKeyType
	}
	text, ok := first(object, p.paths[1]).(string)
	if !ok {
		return nil, nil, jsonNoAddr
	}
	return key, []byte(text), ""
}

// first is the value at the first of the paths that is there and not null.
func first(object map[string]any, paths []string) any {
	for _, path := range paths {
		if v := member(object, path); v != nil {
			return v
		}
	}
	return nil
}

func member(object map[string]any, path string) any {
	if v := object[path]; v != nil {
		return v
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if inner, ok := object[path[:i]].(map[string]any); ok {
			if v := member(inner, path[i+1:]); v != nil {
				return v
			}
		}
	}
	return nil
}

// A wanted is a member that a jsonScanner looks for in an object.
type wanted struct {
	which, rank int    // as in jsonParser.paths
	path        string // from the object on
	seen        bool   // it, or the object it is in
}

// A jsonScanner reads an object in one pass, without allocation. Where it
// gives up, encoding/json must decide; it does so wherever it is in doubt.
type jsonScanner struct {
	top   []wanted
	inner []wanted // a stack, for the objects inside

	b     []byte
	at    int
	found [2][]byte
	rank  [2]int
}

// maxDepth is how deep values are nested that the scanner still reads.
const maxDepth = 32

func (s *jsonScanner) line(b []byte) bool {
	s.b, s.at = b, 0
	s.found = [2][]byte{}
	s.inner = s.inner[:0]
	for i := range s.top {
		s.top[i].seen = false
	}
	s.space()
	if !s.take('{') || !s.object(s.top, 1) {
		return false
	}
	s.space()
	return s.at == len(b)
}

// object reads the rest of an object whose { has been read.
func (s *jsonScanner) object(want []wanted, depth int) bool {
	if s.space(); s.take('}') {
		return true
	}
	for {
		s.space()
		begin := s.at + 1
		if !s.plainText(len(want) > 0) {
			return false
		}
		name := s.b[begin : s.at-1]
		if s.space(); !s.take(':') {
			return false
		}
		s.space()
		if ok := s.member(name, want, depth); !ok {
			return false
		}
		s.space()
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

// member reads the value of a member of an object.
func (s *jsonScanner) member(name []byte, want []wanted, depth int) bool {
	base, leaf := len(s.inner), -1
	for i := range want {
		w := &want[i]
		if len(name) > 0 && len(w.path) > 0 && w.path[0] != name[0] {
			continue // most are told apart so, without a call
		}
		rest, ok := strings.CutPrefix(w.path, string(name))
		if !ok || rest != "" && rest[0] != '.' {
			continue
		}
		if w.seen {
			return false // repeated
		}
		w.seen = true
		if rest == "" {
			leaf = i
		} else {
			s.inner = append(s.inner, wanted{which: w.which, rank: w.rank, path: rest[1:]})
		}
	}
	inner := s.inner[base:]
	ok := false
	switch {
	case leaf >= 0:
		// A name that is also that of an object to look into is rare.
		ok = len(inner) == 0 && s.leaf(want, name)
	case len(inner) > 0 && s.take('{'):
		ok = s.object(inner, depth+1)
	default:
		ok = s.value(depth)
	}
	s.inner = s.inner[:base]
	return ok
}

// leaf reads the value of a wanted member: a text, a number or null.
func (s *jsonScanner) leaf(want []wanted, name []byte) bool {
	begin, end := s.at, 0
	switch {
	case s.word("null"):
		return true
	case begin < len(s.b) && s.b[begin] == '"':
		if !s.plainText(true) {
			return false
		}
		begin++
		end = s.at - 1
	default:
		if !s.number() {
			return false
		}
		end = s.at
	}
	for i := range want {
		w := &want[i]
		if w.path != string(name) {
			continue
		}
		if w.which == 1 && s.b[begin-1] != '"' {
			return false // an address that is a number
		}
		if s.found[w.which] == nil || w.rank < s.rank[w.which] {
			s.found[w.which], s.rank[w.which] = s.b[begin:end], w.rank
		}
	}
	return true
}

// value passes over a value.
func (s *jsonScanner) value(depth int) bool {
	if s.at == len(s.b) || depth > maxDepth {
		return false
	}
	switch s.b[s.at] {
	case '"':
		return s.plainText(false)
	case '{':
		s.at++
		return s.object(nil, depth+1)
	case '[':
		s.at++
		if s.space(); s.take(']') {
			return true
		}
		for {
			if s.space(); !s.value(depth + 1) {
				return false
			}
			if s.space(); s.take(']') {
				return true
			}
			if !s.take(',') {
				return false
			}
		}
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	return s.number()
}

// plainText reads a string. If its text matters, it must be ASCII without
// escapes, which stands for itself.
func (s *jsonScanner) plainText(matters bool) bool {
	if !s.take('"') {
		return false
	}
	for i := s.at; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.at = i + 1
			return true
		case c < ' ':
			return false
		case matters && (c == '\\' || c >= 0x80):
			return false
		case c == '\\':
			if i++; i == len(s.b) {
				return false
			}
			switch s.b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			default:
				return false // also \u
			}
		}
	}
	return false
}

// number reads a number by the grammar of RFC 8259, section 6.
func (s *jsonScanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('-') {
			s.take('+')
		}
		return s.digits()
	}
	return true
}

func (s *jsonScanner) digits() bool {
	begin := s.at
	for s.at < len(s.b) && s.b[s.at]-'0' <= 9 {
		s.at++
	}
	return s.at > begin
}

func (s *jsonScanner) word(w string) bool {
	if !bytes.HasPrefix(s.b[s.at:], []byte(w)) {
		return false
	}
	s.at += len(w)
	return true
}

func (s *jsonScanner) take(c byte) bool {
	if s.at < len(s.b) && s.b[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *jsonScanner) space() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}
