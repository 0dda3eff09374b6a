package reqlog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A format is how to parse a log.
type format struct {
	name      string
	header    bool          // the first line that is not empty is no record
	newParser func() parser // for each worker one of its own
	in        io.Reader
}

// The names by which columns and members are found, the best first.
var (
	keyNames  = []string{"key", "key_id", "api_key"}
	addrNames = []string{"address", "addr", "ip", "client_ip", "client_address", "client_addr",
		"remote_addr", "remote_address", "downstream_remote_address", "source_ip"}
)

// detect looks at the first line that is not empty, without consuming it. The
// format's reader is in, or one of lines made of what in has.
func detect(in *bufio.Reader, opts Options) (format, error) {
	f := format{name: opts.Format, newParser: func() parser { return nil }, in: in}
	switch f.name {
	case "", "csv", "jsonl", "nginx":
	default:
		return format{}, fmt.Errorf("the log format %q is not csv, jsonl or nginx", f.name)
	}
	line, whole, err := firstLine(in)
	if err != nil {
		return format{}, err
	}
	if len(line) == 0 && whole {
		return f, nil // there is no line
	}
	if f.name == "" {
		if f.name = guess(line); f.name == "" {
			return format{}, fmt.Errorf("the format of the log cannot be told from its first line, %q; say --log-format csv, jsonl or nginx", head(line, 80))
		}
	}
	switch f.name {
	case "csv":
		if !whole || len(line) > opts.MaxLine {
			return format{}, fmt.Errorf("the header of the log is longer than %d bytes", opts.MaxLine)
		}
		f.header = true
		f.newParser, err = csvHeader(line, opts)
	case "jsonl":
		names := [2][]string{keyNames, addrNames}
		if opts.KeyField != "" {
			names[0] = []string{opts.KeyField}
		}
		if opts.AddrField != "" {
			names[1] = []string{opts.AddrField}
		}
		f.newParser = func() parser { return newJSONParser(names).parse }
		if isDocument(line) {
			f.in, err = newDocument(in, bytes.TrimSpace(line)[0] == '[')
		}
	case "nginx":
		f.newParser = func() parser { return new(nginxParser).parse }
	}
	return f, err
}

// firstLine returns the first line that is not empty; whole is false if it, or
// what stands before it, is longer than the reader's buffer.
func firstLine(in *bufio.Reader) (line []byte, whole bool, err error) {
	for n := 1; ; n = in.Buffered() + 1 {
		buf, err := in.Peek(min(n, in.Size()))
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, false, err
		}
		if err == nil {
			buf, _ = in.Peek(in.Buffered())
		}
		line, _, whole = bytes.Cut(bytes.TrimLeft(buf, "\r\n"), []byte("\n"))
		if whole || err != nil || in.Buffered() == in.Size() {
			return bytes.TrimSuffix(line, []byte("\r")), whole || err != nil, nil
		}
	}
}

func guess(line []byte) string {
	switch {
	case bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("{")), isDocument(line):
		return "jsonl"
	case bytes.Contains(line, []byte(`] "`)):
		return "nginx" // [$time_local] "$request"
	case bytes.IndexByte(line, ',') >= 0:
		return "csv"
	}
	return ""
}

// csvHeader finds the columns.
func csvHeader(line []byte, opts Options) (func() parser, error) {
	columns := splitCSV(line)
	if columns == nil {
		return nil, fmt.Errorf("the header of the log, %q, is not CSV", head(line, 80))
	}
	key, err := findColumn(columns, opts.KeyField, "key", keyNames, "--key-field")
	if err != nil {
		return nil, err
	}
	addr, err := findColumn(columns, opts.AddrField, "address", addrNames, "--address-field")
	if err != nil {
		return nil, err
	}
	return func() parser { return csvParser(key, addr, len(columns)) }, nil
}

func findColumn(columns []string, name, what string, names []string, flag string) (int, error) {
	if name != "" {
		names = []string{name}
	}
	for _, name := range names {
		at := -1
		for i, c := range columns {
			if !strings.EqualFold(strings.TrimSpace(c), name) {
				continue
			}
			if at >= 0 {
				return 0, fmt.Errorf("the header of the log has two columns %q; rename one, or name another with %s", name, flag)
			}
			at = i
		}
		if at >= 0 {
			return at, nil
		}
	}
	return 0, fmt.Errorf("the header of the log, %q, has no column for the %s (%s); name it with %s",
		head([]byte(strings.Join(columns, ",")), 80), what, strings.Join(names, ", "), flag)
}
