// Package reqlog reads the key and the client address of each line of a
// request log, in parallel and in constant memory.
//
// Three formats are read, each also compressed with gzip:
//
//   - csv: a header that names a column for the key and one for the address
//     (RFC 4180). A field may be quoted but not hold a line end: the lines of
//     one that does are bad.
//
//   - jsonl: an object a line, with the two as members, also nested ones
//     (client.ip). An array of such objects, objects over several lines, and a
//     page of the management API, {"records": [...]}, are read too; lines are
//     then numbered as if each record had one.
//
//   - nginx: the combined format with the key as one more quoted field behind
//     the others. The address is what stands before the first space, and the
//     key what stands in the last pair of quotation marks:
//
//     log_format keyed '$remote_addr - $remote_user [$time_local] "$request" '
//     '$status $body_bytes_sent "$http_referer" "$http_user_agent" "$api_key_id"';
//
//     A line with fewer than four quoted fields is bad, since its last one
//     would be the user agent and not a key.
//
// A request without a key (an empty field, in JSON a missing one or null, in
// nginx "-") is a record with the empty key. An address may have a port,
// 203.0.113.5:443 or [2001:db8::1]:443. A line without an address, one that breaks its format's rules, and one that is
// too long is a bad line: it is counted, and the first ones are kept.
package reqlog

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"sync"
)

const (
	// MaxBad is how many bad lines are kept to be shown.
	MaxBad = 20

	// DefaultMaxLine is the length of the longest line if Options.MaxLine is
	// 0, in bytes.
	DefaultMaxLine = 256 << 10

	// A worker gets as many bytes at a time. More is no faster, and there is a
	// buffer of that size for each worker and two more.
	defaultBlock = 512 << 10

	// More workers have nothing to do: one goroutine reads for them all.
	maxWorkers = 16
)

// Options say how to read a log. The zero Options are the defaults.
type Options struct {
	Format    string // "csv", "jsonl" or "nginx"; default: found out from the first line
	KeyField  string // the column or member of the key; default: key, key_id or api_key
	AddrField string // that of the address; default: one of the names that logs have, such as address, ip, client_addr or remote_addr
	Workers   int    // the goroutines that parse; default: GOMAXPROCS, at most 16
	MaxLine   int    // bytes of the longest line that is no bad one, without its line end; default: DefaultMaxLine
	BlockSize int    // bytes that a worker gets at a time, raised to MaxLine+2; default: 512 KiB
	Strict    bool   // end with a *LineError at the first bad line
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), maxWorkers)
	}
	if o.MaxLine <= 0 {
		o.MaxLine = DefaultMaxLine
	}
	if o.BlockSize <= 0 {
		o.BlockSize = defaultBlock
	}
	o.BlockSize = max(o.BlockSize, o.MaxLine+2)
	return o
}

// A BadLine is a line that has no key and address that can be read.
type BadLine struct {
	Line   int64  // from 1, as an editor counts
	Text   string // its beginning
	Reason string
}

// A LineError is the first bad line of a log that was read with
// Options.Strict.
type LineError struct{ BadLine }

func (e *LineError) Error() string {
	return fmt.Sprintf("line %d, %q: %s", e.Line, e.Text, e.Reason)
}

// Stats is what a Scan has read.
type Stats struct {
	Format   string
	Lines    int64 // records and bad lines; empty lines and the header do not count
	Records  int64
	BadLines int64
	Bad      []BadLine // the first MaxBad
}

// Scan reads a log. It calls newWorker once for each goroutine that parses,
// and the function that newWorker returns for each record which that
// goroutine reads. The calls of one function do not overlap; those of
// different ones do. The key's bytes are valid during the call only. No call
// is under way when Scan returns.
//
// Scan ends early when ctx does, also while r blocks; a Read that is under way
// is then left to end by itself. An error means that only a part of the log
// was read.
func Scan(ctx context.Context, r io.Reader, opts Options, newWorker func(worker int) func(key []byte, addr netip.Addr)) (Stats, error) {
	opts = opts.withDefaults()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &cutter{
		opts: opts,
		done: ctx.Done(),
		work: make(chan block, opts.Workers),
		free: make(chan []byte, opts.Workers+2),
	}
	for range cap(c.free) {
		c.free <- nil
	}
	started := make(chan error, 1)
	ended := make(chan error, 1)
	var f format
	go func() {
		defer close(c.work)
		in, err := open(r, opts.BlockSize)
		if err == nil {
			f, err = detect(in, opts)
		}
		started <- err
		if err == nil {
			ended <- c.cut(f.in)
		}
	}()
	select {
	case err := <-started:
		if err != nil {
			return Stats{}, err
		}
	case <-ctx.Done():
		return Stats{}, context.Cause(ctx)
	}

	t := &tally{strict: opts.Strict, cancel: cancel, waiting: make(map[int]blockResult)}
	t.stats.Format = f.name
	var wg sync.WaitGroup
	for w := range opts.Workers {
		p := blockParser{maxLine: opts.MaxLine, header: f.header, parse: f.newParser(), record: newWorker(w)}
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case b, ok := <-c.work:
					if !ok {
						return
					}
					t.add(b.seq, p.block(b))
					c.free <- b.buf // has room for all buffers
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return t.stats, err
	}
	return t.stats, <-ended
}
