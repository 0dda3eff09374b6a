package reqlog

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"unicode/utf8"
)

// A parser finds the key and the address in a line without its line end, or
// gives the reason why it cannot. What it returns is valid until its next
// call. The line is not empty.
type parser func(line []byte) (key, addr []byte, reason string)

// A blockResult is what a block held.
type blockResult struct {
	newlines, lines, records, badLines int64
	bad                                []BadLine // Line counts from the block's first
}

// A blockParser is one worker's.
type blockParser struct {
	maxLine int
	header  bool // the first line of the log that is not empty is no record
	parse   parser
	record  func(key []byte, addr netip.Addr)
}

func (p *blockParser) block(b block) (res blockResult) {
	if b.long {
		res.newlines, res.lines = 1, 1
		res.fault(b.data, p.tooLong(), nil)
		return res
	}
	header := p.header && b.seq == 0
	for data := b.data; len(data) > 0; {
		line := data
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			line, data = data[:i], data[i+1:]
		} else {
			data = nil
		}
		res.newlines++
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if len(line) == 0 {
			continue
		}
		if header {
			header = false
			continue
		}
		res.lines++
		if len(line) > p.maxLine {
			res.fault(line, p.tooLong(), nil)
			continue
		}
		key, text, reason := p.parse(line)
		if reason != "" {
			res.fault(line, reason, nil)
			continue
		}
		addr, ok := parseAddr(text)
		if !ok {
			res.fault(line, "", text)
			continue
		}
		res.records++
		p.record(key, addr)
	}
	return res
}

func (p *blockParser) tooLong() string {
	return fmt.Sprintf("the line is longer than %d bytes", p.maxLine)
}

// fault counts a bad line. Without a reason, text is what is no address.
func (r *blockResult) fault(line []byte, reason string, text []byte) {
	r.badLines++
	if len(r.bad) == MaxBad {
		return
	}
	if reason == "" {
		reason = fmt.Sprintf("%q is not an address", head(text, 45))
	}
	r.bad = append(r.bad, BadLine{Line: r.newlines, Text: head(line, 120), Reason: reason})
}

// head is the first n bytes of b, less those of a character that is cut.
func head(b []byte, n int) string {
	if len(b) <= n {
		return string(b)
	}
	for i := 0; i < utf8.UTFMax-1 && !utf8.RuneStart(b[n]); i++ {
		n--
	}
	return string(b[:n]) + "..."
}

// A tally adds up the results of blocks, which come in any order, in the
// order of the log.
type tally struct {
	strict bool
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	stats    Stats
	newlines int64               // of the blocks before next
	next     int                 // the block that is added next
	waiting  map[int]blockResult // those that came too early
}

func (t *tally) add(seq int, res blockResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting[seq] = res
	for {
		res, ok := t.waiting[t.next]
		if !ok {
			return
		}
		delete(t.waiting, t.next)
		t.next++
		t.stats.Lines += res.lines
		t.stats.Records += res.records
		t.stats.BadLines += res.badLines
		for _, bad := range res.bad {
			if len(t.stats.Bad) < MaxBad {
				bad.Line += t.newlines
				t.stats.Bad = append(t.stats.Bad, bad)
			}
		}
		t.newlines += res.newlines
		if t.strict && t.stats.BadLines > 0 {
			t.cancel(&LineError{t.stats.Bad[0]}) // of several calls, the first counts
		}
	}
}
