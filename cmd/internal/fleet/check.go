package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

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

// landPause is how often is looked whether own writes have ended.
const landPause = 10 * time.Millisecond

// watch looks at the bucket until it is not as it was left.
func (p *Publisher) watch(ctx context.Context, confirmed *atomic.Bool) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
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
	names, _ := p.ledger.state()
	info, err := p.link.keysInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return err
	case err != nil:
		p.with(func(s *PublisherStatus) { s.Err = err })
		return nil // whoever publishes tries again
	case !info.Created.Equal(p.created):
		return errors.New("the bucket of keys was made anew")
	case info.Config.Metadata[ownerKey] != p.src.Identity():
		return fmt.Errorf("%w (another management node has taken it over)", ErrOwner)
	case info.State.LastSeq < left:
		return errors.New("the bucket of keys was rolled back")
	}
	// What the bucket had then is known when all own writes of that time have
	// ended, one way or the other.
	_, writes := p.ledger.state()
	for !p.ledger.landed(writes) && ctx.Err() == nil {
		sleep(ctx, landPause)
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case info.State.NumSubjects < uint64(names):
		err = errLost
	case !p.ledger.covers(info.State.LastSeq):
		err = errForeign
	}
	if err != nil {
		p.note(err)
		if time.Since(last) > foreignPause {
			return err
		}
		return nil
	}
	stillIdle, now := p.work.idle()
	if confirmed && idle && stillIdle && began == now {
		p.with(func(s *PublisherStatus) { s.Err = nil })
	}
	return nil
}
