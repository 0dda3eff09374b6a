package reqlog

import (
	"bytes"
	"encoding/csv"
	"strings"
)

const (
	csvFields  = "the line has more or fewer fields than the header"
	csvInvalid = "the line is not CSV (a quoted field must end in its line)"
)

// csvParser reads lines of so many columns by the numbers of two of them.
// Lines without quotation marks, nearly all, are cut at the commas;
// encoding/csv reads the others.
func csvParser(keyAt, addrAt, columns int) parser {
	last := max(keyAt, addrAt)
	return func(line []byte) (key, addr []byte, reason string) {
		if bytes.IndexByte(line, '"') >= 0 {
			return csvSlow(line, keyAt, addrAt, columns)
		}
		for i := 0; ; i++ {
			n := bytes.IndexByte(line, ',')
			field := line
			if n >= 0 {
				field = line[:n]
			}
			if i == keyAt {
				key = field
			}
			if i == addrAt {
				addr = field
			}
			if n < 0 && i != columns-1 {
				return nil, nil, csvFields
			}
			if i == last {
				// A line with other fields than the header's may be one that
				// has lost its quotation marks, and the key another column.
				if n >= 0 && i+1+bytes.Count(line[n:], comma) != columns {
					return nil, nil, csvFields
				}
				return key, addr, ""
			}
			line = line[n+1:]
		}
	}
}

var comma = []byte{','}

// csvSlow is csvParser for all lines.
func csvSlow(line []byte, keyAt, addrAt, columns int) (key, addr []byte, reason string) {
	fields := splitCSV(line)
	switch {
	case fields == nil:
		return nil, nil, csvInvalid
	case len(fields) != columns:
		return nil, nil, csvFields
	}
	return []byte(fields[keyAt]), []byte(fields[addrAt]), ""
}

// splitCSV returns the fields of a line, or nil if it is not CSV.
func splitCSV(line []byte) []string {
	fields, err := csv.NewReader(strings.NewReader(string(line) + "\n")).Read()
	if err != nil {
		return nil
	}
	return fields
}
