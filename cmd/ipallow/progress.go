package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// A progress line on a terminal says how much of a log has been read, how fast,
// and how long the rest takes. It appears after a second: before that, rate and
// time left would be guesses, and most logs are read by then.
type progress struct {
	w       io.Writer
	what    string
	size    int64 // -1: not known
	read    int64
	started time.Time
	drawn   time.Time
	now     func() time.Time
}

const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

// newProgress returns nil where w is no terminal.
func newProgress(w io.Writer, size int64, what string) *progress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &progress{w: w, what: what, size: size, started: time.Now(), now: time.Now}
}

// Write counts what was read.
func (p *progress) Write(b []byte) (int, error) {
	p.read += int64(len(b))
	now := p.now()
	if now.Sub(p.started) >= progressAfter && now.Sub(p.drawn) >= progressEvery {
		p.drawn = now
		fmt.Fprintf(p.w, "\r\x1b[K%s", p.line(now.Sub(p.started)))
	}
	return len(b), nil
}

func (p *progress) line(passed time.Duration) string {
	rate := float64(p.read) / passed.Seconds()
	text := fmt.Sprintf("%s: %s", p.what, bytesText(p.read))
	if p.size > 0 {
		text = fmt.Sprintf("%s: %d %% of %s", p.what, 100*min(p.read, p.size)/p.size, bytesText(p.size))
	}
	text += fmt.Sprintf(", %s a second", bytesText(int64(rate)))
	if p.size > p.read && rate > 0 {
		left := time.Duration(float64(p.size-p.read) / rate * float64(time.Second))
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return text
}

// finish clears the line.
func (p *progress) finish() {
	if !p.drawn.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func bytesText(n int64) string {
	if n < 1_000_000 {
		return fmt.Sprintf("%d kB", (n+999)/1000)
	}
	if n < 1_000_000_000 {
		return fmt.Sprintf("%d MB", n/1_000_000)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
