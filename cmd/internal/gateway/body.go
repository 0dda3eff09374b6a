package gateway

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// A clientBody is the body of a request. It knows whether it was read to its end, or
// failed; a transport's goroutine reads it, also after the handler returned.
type clientBody struct {
	io.ReadCloser
	expects bool       // the client waits for 100 Continue
	reading sync.Mutex // held by Read
	mu      sync.Mutex
	err     error // of the last Read
}

func (b *clientBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
	}
	return n, err
}

// failed reports whether it was the client's side that failed.
func (b *clientBody) failed() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err != nil && !errors.Is(b.err, io.EOF)
}

// remains reports whether the end of the body has not been read.
func (b *clientBody) remains() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !errors.Is(b.err, io.EOF)
}

// How long a client that was answered before it had sent its body may go on: as long as
// it sends, since an answer on a connection that is reset may be lost (RFC 9112, section
// 9.6), but no longer than a client that sends byte by byte would hold the connection.
const (
	pauseInBody = 500 * time.Millisecond
	unreadBody  = 5 * time.Second
	maxUnread   = 256 << 10
)

// leave is called when the answer has been written, and takes what is left of the body
// off a connection of HTTP/1.1.
// net/http waits for that when the handler has returned, for as long as the deadline says.
func (b *clientBody) leave(x *exchange) {
	if !b.remains() {
		return
	}
	control := http.NewResponseController(x.ResponseWriter)
	// An answer without a length ends only when the handler returns.
	_, whole := x.Header()["Content-Length"]
	whole = whole || x.status == http.StatusNoContent || x.status == http.StatusNotModified
	if b.expects || !whole || control.Flush() != nil {
		// net/http takes the deadline back where it has to end a Read of the transport's.
		// A ResponseWriter without deadlines, in tests, has nobody waiting.
		if control.SetReadDeadline(time.Now()) == nil {
			b.reading.Lock() // that Read has ended
			_ = control.SetReadDeadline(time.Now().Add(pauseInBody))
			b.reading.Unlock()
		}
		return
	}
	end := time.Now().Add(unreadBody)
	buf := make([]byte, 4<<10)
	for n := 0; n < maxUnread && time.Now().Before(end); {
		if control.SetReadDeadline(time.Now().Add(pauseInBody)) != nil {
			return
		}
		k, err := b.Read(buf)
		if err != nil {
			return
		}
		n += k
	}
	_ = control.SetReadDeadline(time.Now())
}
