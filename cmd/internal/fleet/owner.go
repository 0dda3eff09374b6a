package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/natsfeed"
)

// ownerName is the name of the Owner in the keys' bucket. It is no key's.
const ownerName = "=owner"

// An Owner is the one server that may write to the keys' bucket and empty the
// stream of usage records, as the bucket says it. It is written under the
// condition that the stream's last message is the one that was last when it was
// decided that the server may, so of two servers one becomes it.
type Owner struct {
	Database string        `json:"database"` // manage.Service.Identity
	Epoch    uint64        `json:"epoch"`    // counts the owners
	Claim    string        `json:"claim"`    // random: one process, and the database that it left
	Change   manage.Change `json:"change"`   // the bucket has nothing newer, see published
	Server   string        `json:"server"`   // its name, for people
	Time     time.Time     `json:"time"`
}

// A Claimant is the database of a server that wants to be the owner.
type Claimant interface {
	Identity() string
	LastChange(ctx context.Context) (manage.Change, error)
	ChangeAt(ctx context.Context, revision int64) (manage.Change, error)
	HasClaim(ctx context.Context, nonce string) (bool, error)
	AddClaim(ctx context.Context, nonce string) error
	Fence(ctx context.Context, bucket string) (reason string, err error)
	SetFence(ctx context.Context, bucket, reason string) error
}

// A FencedError says why a server is not the owner, and what to do. It does
// not become one by itself.
type FencedError struct{ Reason string }

func (e *FencedError) Error() string { return e.Reason }

const (
	adoptHint = "If its keys are to be the fleet's from now on, stop this server and run \"ipallowd fleet adopt --data DIR --nats URL\": it shows first what would change."
	idleHint  = "It publishes nothing, takes no usage records and accepts no changes."
)

func fenced(format string, args ...any) *FencedError {
	return &FencedError{fmt.Sprintf(format, args...) + " " + idleHint + " " + adoptHint}
}

// fencedBy is the error of a server in whose place another one is the owner.
func fencedBy(own Owner) *FencedError {
	return fenced("Another server (%s) has been the fleet's management node since %s, with another database or a copy of this one.", own.server(), stamp(own.Time))
}

func (o *Owner) server() string {
	if o.Server == "" {
		return "of unknown name"
	}
	return cut(o.Server, reasonBytes)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// readOwner returns what the stream's leader has as owner, and the message's
// number, or jetstream.ErrMsgNotFound. With errNoClaim there is a message, of that
// number, that cannot be read.
func (l *Link) readOwner(ctx context.Context) (Owner, uint64, error) {
	var own Owner
	m, err := l.keysMessage(ctx, map[string]any{"last_by_subj": l.cfg.keysSubject(ownerName)})
	if err != nil {
		return own, 0, err
	}
	if m.marker() {
		return own, 0, jetstream.ErrMsgNotFound
	}
	if err := json.Unmarshal(m.Data, &own); err != nil || own.Claim == "" {
		return Owner{}, m.Seq, errNoClaim
	}
	return own, m.Seq, nil
}

// errNoClaim says that there is an owner of whom nothing is known. Nobody may go on
// as if there were none: somebody decides it by an adoption.
var errNoClaim = fenced("The bucket of keys does not say whose it is: its value =owner is none that this program can read. A newer version may have written it, or somebody by hand.")

// published returns the last change that may be in the bucket. Every message
// of an owner names one that is not older than what it says, in rising order,
// so the last message tells. Where it was removed, or is not the owner's, all
// are looked at.
func (l *Link) published(ctx context.Context, own Owner, at, last uint64) (manage.Change, error) {
	change := own.Change
	if at == last {
		return change, nil
	}
	note := func(claim, revision, mark string) bool {
		if claim != own.Claim {
			return false
		}
		n, err := strconv.ParseInt(revision, 10, 64)
		m, err2 := strconv.ParseInt(mark, 10, 64)
		if err != nil || err2 != nil {
			return false
		}
		if n > change.Revision {
			change = manage.Change{Revision: n, Mark: m}
		}
		return true
	}
	switch m, err := l.keysMessage(ctx, map[string]any{"seq": last}); {
	case err == nil:
		if h := m.header(); note(h.Get(claimHeader), h.Get(revisionHeader), h.Get(markHeader)) {
			return change, nil
		}
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return change, err
	}
	err := l.eachHeader(ctx, at+1, func(h nats.Header, _ time.Time) {
		note(h.Get(claimHeader), h.Get(revisionHeader), h.Get(markHeader))
	})
	return change, err
}

// heir returns the owner that wrote last, as the messages tell that are left of it where
// its own one was deleted; the zero Owner if there are none.
func (l *Link) heir(ctx context.Context) (own Owner, err error) {
	err = l.eachHeader(ctx, 1, func(h nats.Header, at time.Time) {
		revision, err1 := strconv.ParseInt(h.Get(revisionHeader), 10, 64)
		mark, err2 := strconv.ParseInt(h.Get(markHeader), 10, 64)
		if claim := h.Get(claimHeader); claim == "" || err1 != nil || err2 != nil {
			return
		} else if claim != own.Claim {
			own = Owner{Claim: claim}
		}
		own.Time = at
		if revision > own.Change.Revision {
			own.Change = manage.Change{Revision: revision, Mark: mark}
		}
	})
	return own, err
}

// eachHeader calls fn with the header of each message of the keys' stream from a number
// on, and when it was stored.
func (l *Link) eachHeader(ctx context.Context, from uint64, fn func(nats.Header, time.Time)) error {
	cons, err := l.js.OrderedConsumer(ctx, "KV_"+l.cfg.keysBucket(), jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, HeadersOnly: true,
	})
	if err != nil {
		return fmt.Errorf("read the bucket of keys: %w", err)
	}
	info, err := cons.Info(ctx)
	if err != nil {
		return fmt.Errorf("read the bucket of keys: %w", err)
	}
	left, stalled := info.NumPending, 0
	for left > 0 {
		batch, err := cons.Fetch(1000, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return fmt.Errorf("read the bucket of keys: %w", err)
		}
		n := 0
		for m := range batch.Messages() {
			n++
			meta, err := m.Metadata()
			if err != nil {
				return fmt.Errorf("read the bucket of keys: %w", err)
			}
			left = meta.NumPending
			fn(m.Headers(), meta.Timestamp)
			if left == 0 {
				return nil
			}
		}
		if err := errors.Join(batch.Error(), ctx.Err()); err != nil {
			return fmt.Errorf("read the bucket of keys: %w", err)
		}
		if stalled++; n > 0 {
			stalled = 0
		} else if stalled == 3 {
			return fmt.Errorf("read the bucket of keys: nothing came although %d messages are left", left)
		}
	}
	return nil
}

// judge returns why the database may not take over from the owner, as a
// *FencedError, or nil. It may if it has all that was published, and if it is
// the database that the owner left, or a copy of that.
func judge(ctx context.Context, c Claimant, own Owner, change manage.Change) error {
	if own.Database != c.Identity() {
		return fenced("The fleet's keys belong to another database (of server %s).", own.server())
	}
	last, err := c.LastChange(ctx)
	if err != nil {
		return err
	}
	if change.Revision > last.Revision {
		return fenced("This database is older than what the fleet has: its last change is number %d%s, and the fleet was given number %d.",
			last.Revision, dated(last.Time), change.Revision)
	}
	at, err := c.ChangeAt(ctx, change.Revision)
	if err != nil {
		return err
	}
	if change.Revision > 0 && at.Mark != change.Mark {
		return fenced("This database and the fleet's keys were changed apart: change number %d is another one here than the one that the fleet was given.", change.Revision)
	}
	if own.Claim == "" { // of a bucket from before there were owners, or that was purged
		return nil
	}
	has, err := c.HasClaim(ctx, own.Claim)
	if err == nil && !has {
		err = fencedBy(own)
	}
	return err
}

func dated(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " of " + stamp(t)
}

// A claim is what makes a server the owner.
type claim struct {
	link *Link
	src  Claimant
	line *line
}

// make has the line begin as the owner's, if its database may be: judged by
// the last message of the stream, with which it is stored or not. Force is for
// who was shown what it does.
func (c *claim) make(ctx context.Context, info *jetstream.StreamInfo, force bool) (Owner, error) {
	for range maxConflicts {
		own, err := c.once(ctx, info, force)
		if !errors.Is(err, natsfeed.ErrConflict) {
			return own, err
		}
		if info, err = c.link.keysInfo(ctx); err != nil {
			return own, err
		}
	}
	return Owner{}, fmt.Errorf("%w: somebody else writes to the bucket of keys all the time", natsfeed.ErrConflict)
}

func (c *claim) once(ctx context.Context, info *jetstream.StreamInfo, force bool) (Owner, error) {
	ctx, cancel := c.link.online(ctx)
	defer cancel()
	last := info.State.LastSeq
	own, at, err := c.link.readOwner(ctx)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		if own, err = c.link.heir(ctx); err != nil {
			return own, err
		}
		own.Database = info.Config.Metadata[ownerKey]
	case force && errors.Is(err, errNoClaim):
		own = Owner{Epoch: at} // higher than any before
	case err != nil:
		return own, err
	}
	next := Owner{Database: c.src.Identity(), Epoch: max(1, own.Epoch), Claim: c.line.claim, Server: c.link.cfg.Server, Time: time.Now().UTC()}
	if own.Claim != c.line.claim {
		next.Epoch = own.Epoch + 1
		if !force {
			if err := c.admit(ctx, own, at, last); err != nil {
				return own, err
			}
		}
		has, err := c.src.HasClaim(ctx, c.line.claim)
		if err == nil && !has {
			err = c.src.AddClaim(ctx, c.line.claim) // first: nobody else may take it for another's
		}
		if err != nil {
			return own, err
		}
	}
	if next.Change, err = c.src.LastChange(ctx); err != nil {
		return own, err
	}
	ctx, cancelRequest := context.WithTimeout(ctx, requestTimeout)
	defer cancelRequest()
	return next, c.line.begin(ctx, next, last)
}

// admit returns why the server may not become the owner after this one.
func (c *claim) admit(ctx context.Context, own Owner, at, last uint64) error {
	if own.Database != "" {
		change := own.Change
		if at > 0 { // or else heir has looked at all
			var err error
			if change, err = c.link.published(ctx, own, at, last); err != nil {
				return err
			}
		}
		if err := judge(ctx, c.src, own, change); err != nil {
			return err
		}
	}
	there, err := c.link.alive(ctx)
	switch {
	case err != nil || there == "" || there == c.line.claim:
		return err
	case there == own.Claim:
		return fenced("The fleet has a management node: another server (%s) runs with this database or a copy of it.", own.server())
	case own.Claim == "":
		return errors.New("another management node is about to fill the bucket of keys")
	}
	return nil // it will find out that it is none any more
}

// aliveWait is how long the owner is given to say that it is there.
const aliveWait = time.Second

// alive asks whether an owner is there, and returns its claim; "" if there is
// none. A process that is gone does not answer, nor one that lost NATS.
func (l *Link) alive(ctx context.Context) (string, error) {
	ctx, cancel := l.online(ctx)
	defer cancel()
	ctx, cancelWait := context.WithTimeout(ctx, aliveWait)
	defer cancelWait()
	m, err := l.nc.RequestWithContext(ctx, l.cfg.ownerSubject(), nil)
	switch {
	case err == nil:
		return string(m.Data), nil
	case !l.Connected():
		return "", errNotConnected
	}
	return "", nil
}
