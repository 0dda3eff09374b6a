package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/natsfeed"
)

// Headers of what a publisher writes.
const (
	claimHeader    = "Ipallow-Claim"    // Owner.Claim
	revisionHeader = "Ipallow-Revision" // manage.Change.Revision, and
	markHeader     = "Ipallow-Mark"     // its Mark: the message has nothing newer
)

// A line writes to the keys' stream, and nobody else may while it does. Each
// message has the condition that the stream's last one is the message that the
// line wrote before it. So whatever anybody else writes, an [Owner] above all,
// has the server refuse all that follows, and nothing that was held up on the
// way is stored after it. Many messages may be under way at once: the server
// takes them in the order in which one connection sends them.
type line struct {
	link  *Link
	claim string

	// mine reports whether a claim is one that the database made before; nil: none is.
	mine func(ctx context.Context, claim string) (bool, error)

	repairing chan struct{} // holds one token

	mu      sync.Mutex
	open    bool   // messages are taken
	next    uint64 // the stream's last number, once all that was sent is stored
	stored  uint64 // all up to here is known
	flying  int    // messages without an answer yet
	unknown uint64 // those that may be stored or not, since repair
	change  manage.Change
	names   int           // that the stream has
	doubt   bool          // something was not as it was left
	landed  chan struct{} // closed when nothing is under way; nil if nobody waits
}

func newLine(link *Link, claim string) *line {
	l := &line{link: link, claim: claim, repairing: make(chan struct{}, 1)}
	l.repairing <- struct{}{}
	return l
}

// errBroken says that the line does not know what the stream's last message
// is.
var errBroken = errors.New("an earlier write to the bucket of keys has failed")

// A message is one to be written.
type message struct {
	name   string
	data   []byte
	delete bool
	change manage.Change // none newer is in it
	fresh  bool          // the stream has none of this name
}

// write has a message stored, and returns its number. After any error the line
// takes nothing until it was repaired.
func (l *line) write(ctx context.Context, m message) (uint64, error) {
	l.mu.Lock()
	if !l.open {
		l.mu.Unlock()
		return 0, errBroken
	}
	if m.change.Revision > l.change.Revision {
		l.change = m.change
	}
	expected := l.next
	f, err := l.send(m, expected)
	if err != nil {
		l.open = false
		l.mu.Unlock()
		return 0, err
	}
	l.next++
	l.flying++
	l.mu.Unlock()
	ack, err := wait(ctx, f)
	if err == nil && ack != expected+1 {
		err = fmt.Errorf("the stream gave number %d to a message that should have %d", ack, expected+1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flying--; l.flying == 0 && l.landed != nil {
		close(l.landed)
		l.landed = nil
	}
	var api *jetstream.APIError
	switch {
	case err == nil:
		l.stored = max(l.stored, ack)
		if m.fresh {
			l.names++
		}
	case errors.As(err, &api): // it is not stored
		l.open = false
	default:
		l.open = false
		l.unknown++
	}
	return ack, err
}

// send is called with mu.
func (l *line) send(m message, expected uint64) (jetstream.PubAckFuture, error) {
	msg := nats.NewMsg(l.link.cfg.keysSubject(m.name))
	msg.Data = m.data
	if m.delete {
		msg.Header.Set(operationHeader, operationDelete)
	}
	msg.Header.Set(claimHeader, l.claim)
	msg.Header.Set(revisionHeader, strconv.FormatInt(l.change.Revision, 10))
	msg.Header.Set(markHeader, strconv.FormatInt(l.change.Mark, 10))
	// A retry would come after messages that were sent later.
	return l.link.js.PublishMsgAsync(msg, jetstream.WithExpectLastSequence(expected), jetstream.WithRetryAttempts(0))
}

func wait(ctx context.Context, f jetstream.PubAckFuture) (uint64, error) {
	select {
	case ack := <-f.Ok():
		return ack.Sequence, nil
	case err := <-f.Err():
		if wrongLast(err) {
			err = fmt.Errorf("%w (%w)", natsfeed.ErrConflict, err)
		}
		return 0, err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// wrongLast reports whether the stream's last message was another one.
func wrongLast(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// begin writes the Owner as the message after the stream's last one, which had
// the number last. Only if it is stored is the line open.
func (l *line) begin(ctx context.Context, own Owner, last uint64) error {
	data, err := json.Marshal(own)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.open = false
	if own.Change.Revision > l.change.Revision {
		l.change = own.Change
	}
	f, err := l.send(message{name: ownerName, data: data}, last)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	ack, err := wait(ctx, f)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open, l.next, l.stored, l.unknown = true, ack, ack, 0
	return nil
}

// repair opens the line again. What was under way before can't be stored any
// more when it returns; what of it was stored, the stream's leader tells. If
// somebody else has become the owner, the error is a *FencedError.
func (l *line) repair(ctx context.Context) error {
	select {
	case <-l.repairing:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { l.repairing <- struct{}{} }()
	l.mu.Lock()
	if l.open {
		l.mu.Unlock()
		return nil
	}
	var landed chan struct{}
	if l.flying > 0 {
		if l.landed == nil {
			l.landed = make(chan struct{})
		}
		landed = l.landed
	}
	l.mu.Unlock()
	if landed != nil {
		select {
		case <-landed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for range maxConflicts {
		own, _, err := l.link.readOwner(ctx)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return errLost
		case err != nil:
			return err
		case own.Claim != l.claim:
			return l.deposed(ctx, own)
		}
		info, err := l.link.keysInfo(ctx)
		if err != nil {
			return err
		}
		if err := l.account(ctx, info.State.LastSeq); err != nil {
			return err
		}
		l.mu.Lock()
		own.Change = l.change
		l.mu.Unlock()
		own.Time = time.Now().UTC()
		if err := l.begin(ctx, own, info.State.LastSeq); !errors.Is(err, natsfeed.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("%w: somebody else writes to the bucket of keys all the time", natsfeed.ErrConflict)
}

// deposed returns what another owner than the line's means: the server is fenced, unless
// it is one that the database was before. Then the bucket has lost what came since, and the
// session that begins for it is judged as every one is.
func (l *line) deposed(ctx context.Context, own Owner) error {
	if l.mine != nil {
		switch ok, err := l.mine(ctx, own.Claim); {
		case err != nil:
			return err
		case ok:
			l.suspect()
			return errLost
		}
	}
	return fencedBy(own)
}

// look repairs the line if the stream has more than it wrote, or if something
// has failed.
func (l *line) look(ctx context.Context, last uint64) error {
	l.mu.Lock()
	if last > l.next {
		l.open = false
	}
	l.mu.Unlock()
	ctx, cancel := l.link.request(ctx)
	defer cancel()
	return l.repair(ctx)
}

// account looks whether all messages up to this number may be the line's own.
func (l *line) account(ctx context.Context, last uint64) error {
	l.mu.Lock()
	stored, unknown := l.stored, l.unknown
	l.mu.Unlock()
	own := last >= stored && last-stored <= unknown
	for seq := stored + 1; own && seq <= last; seq++ {
		m, err := l.link.keysMessage(ctx, map[string]any{"seq": seq})
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return err
		}
		own = err == nil && m.header().Get(claimHeader) == l.claim
	}
	if !own {
		l.suspect()
	}
	return nil
}

// reset begins anew with what a comparison found: the names that the stream
// has, and the last number that was read.
func (l *line) reset(names int, last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names, l.doubt = names, false
	if last > l.next { // somebody else's, which is known now
		l.stored, l.open = last, false
	}
}

// suspect notes that something was not as it was left.
func (l *line) suspect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubt = true
}

// doubted reports whether something was not as it was left.
func (l *line) doubted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doubt
}

// count returns how many names the stream has at least.
func (l *line) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names
}

// sent returns the stream's last number, once all that was sent until now is
// stored.
func (l *line) sent() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// A lineBucket is a bucket whose changes go through a line.
type lineBucket struct {
	jetstream.KeyValue
	line   *line
	change manage.Change
	fresh  bool
}

func (b lineBucket) Put(ctx context.Context, name string, data []byte) (uint64, error) {
	return b.line.write(ctx, message{name: name, data: data, change: b.change, fresh: b.fresh})
}
