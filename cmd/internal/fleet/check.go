package fleet

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Tests shorten these.
var (
	// checkEvery is how often the bucket is looked at: whether it is the same
	// one, whether it was rolled back, whether somebody else has written.
	checkEvery = 2 * time.Second

	// foreignPause is how long after a reconciliation the next one comes at the
	// earliest, if what the bucket has is in doubt.
	foreignPause = 5 * time.Second
)

// watch looks at the bucket until it is not as it was left.
func (p *Publisher) watch(ctx context.Context, confirmed *atomic.Bool) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	rival := make(chan struct{}, 1)
	// Another owner is heard of at once where the message passes by; the tick
	// finds it too.
	sub, err := p.link.nc.Subscribe(p.link.cfg.keysSubject(ownerName), func(m *nats.Msg) {
		if m.Header.Get(claimHeader) != p.line.claim {
			signal(rival)
		}
	})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be gone
	for {
		select {
		case <-rival:
			if err := p.check(ctx, confirmed.Load()); err != nil {
				return err
			}
		case <-tick.C:
			if err := p.check(ctx, confirmed.Load()); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// What check finds.
var (
	errForeign = errors.New("the bucket of keys has a change that is not known to be the publisher's own; is somebody else writing to it?")
	errLost    = errors.New("values have disappeared from the bucket of keys")
)

// check looks whether the bucket is as it was left.
func (p *Publisher) check(ctx context.Context, confirmed bool) error {
	idle, began := p.work.idle()
	p.mu.Lock()
	left, last := p.st.Revision, p.last
	p.mu.Unlock()
	names := p.line.count()
	info, err := p.link.keysInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return err
	case err != nil:
		p.with(func(s *PublisherStatus) { s.Err = err })
		return nil // whoever publishes tries again
	case !info.Created.Equal(p.created):
		return errors.New("the bucket of keys was made anew")
	case info.State.LastSeq < left:
		return errors.New("the bucket of keys was rolled back")
	}
	err = p.line.look(ctx, info.State.LastSeq)
	switch {
	case ctx.Err() != nil:
		return nil
	case isFenced(err):
		return err
	case err != nil:
	case info.State.NumSubjects < uint64(names):
		err = errLost
		p.line.suspect() // later writes may make up for the number
	case p.line.doubted():
		err = errForeign
	}
	if err != nil {
		p.note(err)
		if time.Since(last) > foreignPause {
			return err
		}
		return nil
	}
	p.replicateAgain(ctx)
	stillIdle, now := p.work.idle()
	if confirmed && idle && stillIdle && began == now {
		p.with(func(s *PublisherStatus) { s.Err = nil })
		if p.owed(time.Now()) {
			signal(p.again)
		}
	}
	return nil
}

const (
	// minConfirm and maxConfirm bound how often the publisher confirms again: twice as
	// long each time, for a gateway may report what it likes.
	minConfirm = time.Second
	maxConfirm = time.Minute
)

// owed reports whether another Confirm is due: a gateway has obeyed the last one and
// keeps keys that have disappeared, for which that was too old: the bucket was made
// anew by a server whose clock is behind. It is asked after the bucket was found as it
// was left.
func (p *Publisher) owed(now time.Time) bool {
	keeps := p.keeps.Load()
	if keeps == nil || !(*keeps)(p.Created(), p.lastConfirm()) {
		if now.Sub(p.confirmedAgain) > maxConfirm {
			p.confirmPause = minConfirm
		}
		return false
	}
	if now.Sub(p.confirmedAgain) < p.confirmPause {
		return false
	}
	p.confirmedAgain, p.confirmPause = now, min(2*max(p.confirmPause, minConfirm), maxConfirm)
	return true
}
