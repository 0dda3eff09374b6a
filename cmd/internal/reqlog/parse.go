package reqlog

import (
	"bytes"
	"encoding/csv"
	"strings"

	"github.com/valyala/fastjson"
)

// csvParser reads lines of CSV by two column numbers. Lines without quotation
// marks, nearly all, are cut at the commas; encoding/csv reads the others.
func csvParser(keyAt, addrAt int) parser {
	last := max(keyAt, addrAt)
	return func(line []byte) (key, addr []byte, reason string) {
		if bytes.IndexByte(line, '"') >= 0 {
			return csvSlow(line, keyAt, addrAt)
		}
		for i := 0; ; i++ {
			field, rest, more := bytes.Cut(line, comma)
			switch i {
			case keyAt:
				key = field
			case addrAt:
				addr = field
			}
			if i == last {
				return key, addr, ""
			}
			if !more {
				return nil, nil, "the line has too few fields"
			}
			line = rest
		}
	}
}

var comma = []byte{','}

func csvSlow(line []byte, keyAt, addrAt int) (key, addr []byte, reason string) {
	fields := splitCSV(string(line))
	switch {
	case fields == nil:
		return nil, nil, "the line is not CSV"
	case max(keyAt, addrAt) >= len(fields):
		return nil, nil, "the line has too few fields"
	}
	return []byte(fields[keyAt]), []byte(fields[addrAt]), ""
}

// splitCSV returns the fields of a line, or nil if it is not CSV.
func splitCSV(line string) []string {
	fields, err := csv.NewReader(strings.NewReader(line)).Read()
	if err != nil {
		return nil
	}
	return fields
}

// jsonParser reads lines of JSON. A field's name may have dots for nested
// objects.
func jsonParser(keyField, addrField string) parser {
	keys, addrs := paths(keyField, keyNames), paths(addrField, addrNames)
	var p fastjson.Parser
	return func(line []byte) (key, addr []byte, reason string) {
		v, err := p.ParseBytes(line)
		if err != nil || v.Type() != fastjson.TypeObject {
			return nil, nil, "the line is not a JSON object"
		}
		if addr = first(v, addrs); addr == nil {
			return nil, nil, "the object has no field for the address"
		}
		// A request without a key is a record with an empty one.
		return first(v, keys), addr, ""
	}
}

func paths(field string, names []string) [][]string {
	if field != "" {
		return [][]string{strings.Split(field, ".")}
	}
	all := make([][]string, len(names))
	for i, n := range names {
		all[i] = []string{n}
	}
	return all
}

func first(v *fastjson.Value, paths [][]string) []byte {
	for _, path := range paths {
		if b := v.GetStringBytes(path...); b != nil {
			return b
		}
	}
	return nil
}

// parseNginx reads a line of the combined format with the key in one more
// pair of quotation marks. nginx writes those inside a value as \x22.
func parseNginx(line []byte) (key, addr []byte, reason string) {
	addr, rest, ok := bytes.Cut(line, []byte{' '})
	end := bytes.LastIndexByte(rest, '"')
	if !ok || end < 1 {
		return nil, nil, "the line does not end with a quoted key"
	}
	begin := bytes.LastIndexByte(rest[:end], '"')
	if begin < 0 || len(bytes.TrimSpace(rest[end+1:])) > 0 {
		return nil, nil, "the line does not end with a quoted key"
	}
	if key = rest[begin+1 : end]; len(key) == 1 && key[0] == '-' {
		key = nil // there was none
	}
	return key, addr, ""
}
