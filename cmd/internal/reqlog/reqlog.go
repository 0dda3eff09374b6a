// Package reqlog reads the key and the client address of each line of a
// request log, in parallel and in constant memory.
//
// Three formats are read, each also compressed with gzip:
//
//   - csv: a header that names a column for the key and one for the address;
//
//   - jsonl: an object a line, with the two as fields, also nested ones
//     (client.ip);
//
//   - nginx: the combined format with the key as one more quoted field at the
//     end, so that the address is what stands before the first space and the
//     key what stands in the last pair of quotation marks:
//
//     log_format keyed '$remote_addr - $remote_user [$time_local] "$request" '
//     '$status $body_bytes_sent "$http_referer" "$http_user_agent" "$api_key_id"';
//
// A CSV field may be quoted but not hold a line end.
package reqlog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// MaxBad is how many bad lines are kept to be shown.
const MaxBad = 20

// Options say how to read a log.
type Options struct {
	Format    string // "csv", "jsonl", "nginx", or "" to find out
	KeyField  string // column or field of the key; default: key, key_id or api_key
	AddrField string // of the address; default: address, addr, ip, client_ip, remote_addr
	Workers   int    // default: GOMAXPROCS
	BlockSize int    // bytes a worker gets at a time, and the longest line; default 1 MiB
}

// A BadLine is a line that has no key and address that can be read.
type BadLine struct {
	Line   int64 // from 1
	Text   string
	Reason string
}

// Stats is what a Scan has read.
type Stats struct {
	Format   string
	Lines    int64 // not counting empty ones and the header
	Records  int64
	BadLines int64
	Bad      []BadLine // the first MaxBad
}

// A block is some whole lines of the log.
type block struct {
	data []byte
	seq  int
}

// Scan reads a log. It calls newWorker for each of its goroutines, and the
// function that this returns for each record that the goroutine reads; the
// key's bytes are valid during the call only. It stops when ctx is done.
func Scan(ctx context.Context, r io.Reader, opts Options, newWorker func(worker int) func(key []byte, addr netip.Addr)) (Stats, error) {
	if opts.Workers <= 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	if opts.BlockSize <= 0 {
		opts.BlockSize = 1 << 20
	}
	br := bufio.NewReaderSize(r, max(opts.BlockSize, 4096))
	if head, _ := br.Peek(2); len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(br)
		if err != nil {
			return Stats{}, err
		}
		br = bufio.NewReaderSize(z, max(opts.BlockSize, 4096))
	}
	if head, _ := br.Peek(3); bytes.Equal(head, []byte("\xef\xbb\xbf")) {
		_, _ = br.Discard(3) // it has been peeked
	}
	head, err := br.Peek(min(4096, br.Size()))
	if err != nil && !errors.Is(err, io.EOF) {
		return Stats{}, err
	}
	newParser, header, format, err := parserFor(head, opts)
	if err != nil {
		return Stats{}, err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work := make(chan block, opts.Workers)
	free := make(chan []byte, 2*opts.Workers+2)
	for range cap(free) {
		free <- nil
	}
	var t totals
	t.stats.Format = format
	var wg sync.WaitGroup
	for w := range opts.Workers {
		parse, record := newParser(), newWorker(w)
		wg.Go(func() {
			for b := range work {
				t.add(b.seq, parseBlock(b, header, parse, record))
				free <- b.data
			}
		})
	}
	err = cutBlocks(ctx, br, opts.BlockSize, free, work)
	close(work)
	wg.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return t.result(), err
}

// cutBlocks reads the log and sends it on in blocks that end at line ends. A
// line longer than a block is cut; its parts are bad lines of one number.
func cutBlocks(ctx context.Context, r io.Reader, size int, free <-chan []byte, work chan<- block) error {
	var rest []byte
	for seq := 0; ; seq++ {
		var buf []byte
		select {
		case buf = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		if cap(buf) < size {
			buf = make([]byte, size)
		}
		buf = buf[:size]
		n := copy(buf, rest)
		m, err := fill(r, buf[n:])
		buf = buf[:n+m]
		end := len(buf)
		if err == nil {
			if i := bytes.LastIndexByte(buf, '\n'); i >= 0 {
				end = i + 1
			}
		}
		rest = append(rest[:0], buf[end:]...)
		if end > 0 {
			work <- block{data: buf[:end], seq: seq}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// fill reads until p is full or the reader fails. Unlike io.ReadFull it hands
// on the reader's own error, so that the end of the log and a gzip stream that
// breaks off stay apart.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// A parser reads the key and the address of a line without its line end.
type parser func(line []byte) (key, addr []byte, reason string)

// A blockResult is what a block held; lines are counted from its first.
type blockResult struct {
	newlines, lines, records, badLines int64
	bad                                []BadLine
}

func parseBlock(b block, header bool, parse parser, record func([]byte, netip.Addr)) (res blockResult) {
	data := b.data
	for len(data) > 0 {
		line := data
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			line, data = data[:i], data[i+1:]
		} else {
			data = nil
		}
		res.newlines++
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 || header && b.seq == 0 && res.newlines == 1 {
			continue
		}
		res.lines++
		key, text, reason := parse(line)
		if reason == "" {
			if addr, ok := parseAddr(text); ok {
				res.records++
				record(key, addr)
				continue
			}
			reason = fmt.Sprintf("%.40q is not an address", text)
		}
		res.badLines++
		if len(res.bad) < MaxBad {
			res.bad = append(res.bad, BadLine{Line: res.newlines, Text: string(line[:min(len(line), 120)]), Reason: reason})
		}
	}
	return res
}

// totals gathers the results of blocks, which come in any order.
type totals struct {
	mu     sync.Mutex
	stats  Stats
	blocks []blockResult // by sequence number
}

func (t *totals) add(seq int, res blockResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.blocks) <= seq {
		t.blocks = append(t.blocks, blockResult{})
	}
	t.blocks[seq] = res
}

func (t *totals) result() Stats {
	s, before := t.stats, int64(0)
	for _, b := range t.blocks {
		s.Lines += b.lines
		s.Records += b.records
		s.BadLines += b.badLines
		for _, bad := range b.bad {
			if len(s.Bad) < MaxBad {
				bad.Line += before
				s.Bad = append(s.Bad, bad)
			}
		}
		before += b.newlines
	}
	return s
}

// parseAddr is netip.ParseAddr with a short way for plain IPv4.
func parseAddr(b []byte) (netip.Addr, bool) {
	var a [4]byte
	n, digits, v := 0, 0, 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9' && digits < 3 && (digits == 0 || v > 0):
			v = v*10 + int(c-'0')
			digits++
		case c == '.' && digits > 0 && n < 3 && v <= 255:
			a[n] = byte(v)
			n, digits, v = n+1, 0, 0
		default:
			addr, err := netip.ParseAddr(string(b))
			return addr, err == nil
		}
	}
	if n != 3 || digits == 0 || v > 255 {
		return netip.Addr{}, false
	}
	a[3] = byte(v)
	return netip.AddrFrom4(a), true
}

// parserFor finds the format of a log and makes parsers for it. header says
// that its first line is no record.
func parserFor(head []byte, opts Options) (newParser func() parser, header bool, format string, err error) {
	line, _, _ := bytes.Cut(bytes.TrimLeft(head, "\r\n"), []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	format = opts.Format
	if format == "" {
		switch {
		case len(head) == 0:
			format = "csv"
		case line[0] == '{':
			format = "jsonl"
		case bytes.Contains(line, []byte("] \"")) && bytes.HasSuffix(bytes.TrimRight(line, " "), []byte(`"`)):
			format = "nginx"
		case bytes.IndexByte(line, ',') >= 0:
			format = "csv"
		default:
			return nil, false, "", fmt.Errorf("the format of the log cannot be told from its first line, %.60q; say --log-format csv, jsonl or nginx", line)
		}
	}
	switch format {
	case "csv":
		if len(head) == 0 {
			return func() parser { return nil }, true, format, nil
		}
		columns := splitCSV(string(line))
		key, err := findColumn(columns, opts.KeyField, "key", keyNames)
		if err != nil {
			return nil, false, "", err
		}
		addr, err := findColumn(columns, opts.AddrField, "address", addrNames)
		if err != nil {
			return nil, false, "", err
		}
		return func() parser { return csvParser(key, addr) }, true, format, nil
	case "jsonl":
		return func() parser { return jsonParser(opts.KeyField, opts.AddrField) }, false, format, nil
	case "nginx":
		return func() parser { return parseNginx }, false, format, nil
	}
	return nil, false, "", fmt.Errorf("the log format %q is none of csv, jsonl and nginx", format)
}

var (
	keyNames  = []string{"key", "key_id", "api_key"}
	addrNames = []string{"address", "addr", "ip", "client_ip", "client_address", "remote_addr"}
)

func findColumn(columns []string, name, what string, names []string) (int, error) {
	if name != "" {
		names = []string{name}
	}
	for i, c := range columns {
		if slices.Contains(names, strings.ToLower(strings.TrimSpace(c))) || name != "" && c == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("the header of the log, %.80q, has no column for the %s; it may be called %s, or name it with a flag",
		strings.Join(columns, ","), what, strings.Join(names, ", "))
}
