package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/natsfeed"
)

// worker publishes one key after the other.
func (p *Publisher) worker(ctx context.Context) {
	pause := minPause
	for ctx.Err() == nil {
		id, more := p.work.next()
		if id == "" {
			select {
			case <-p.work.wake:
			case <-ctx.Done():
			}
			continue
		}
		if more {
			signal(p.work.wake) // for another worker
		}
		err := p.publish(ctx, id)
		switch {
		case err == nil:
			pause = minPause
			p.setStuck(id, nil)
		case ctx.Err() != nil:
		case isFinal(err):
			// Its rows stay in the outbox; the others need not wait for it.
			p.setStuck(id, err)
			p.work.postpone(id, stuckPause)
			continue
		default:
			online := p.link.Connected()
			if !online {
				err = errNotConnected
			}
			p.with(func(s *PublisherStatus) { s.Failures++; s.Err = err })
			if !online {
				_ = p.link.await(ctx) // only ctx ends it, and then this loop
				pause = minPause
			}
			sleep(ctx, pause)
			pause = min(2*pause, maxPause)
		}
		p.work.finish(id, err == nil)
	}
}

// isFinal reports whether a value is at fault, and not NATS.
func isFinal(err error) bool {
	var faulty *ipallow.ValidationError
	return errors.As(err, &faulty) || errors.Is(err, natsfeed.ErrTooLarge) || errors.Is(err, manage.ErrDamaged)
}

func (p *Publisher) setStuck(id string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		delete(p.stuck, id)
		return
	}
	if p.stuck[id] == nil {
		p.link.logger.Error("a key cannot be published; the gateways keep what they have of it", "key", id, "error", err)
	}
	p.stuck[id] = err
}

// maxConflicts is how often in a row a key may turn out to be another than the
// publisher thinks.
const maxConflicts = 10

// publish brings the key's present state into the bucket.
//
// What it writes is conditional: the key must have the revision there that the
// publisher knows. A message that was held up on the way, also one of a process
// that was killed, comes too late to do harm.
func (p *Publisher) publish(ctx context.Context, id string) error {
	ctx, cancel := p.link.request(ctx)
	defer cancel()
	for range maxConflicts {
		was, has := p.version(id)
		if has && was.rev == unsure {
			if err := p.refresh(ctx, id); err != nil {
				return err
			}
			continue
		}
		pub, err := p.src.Publication(ctx, id)
		if err != nil {
			return err
		}
		if pub.Key == nil {
			err = p.remove(ctx, id, was, has)
		} else {
			err = p.put(ctx, pub, was, has)
		}
		if err == nil || isFinal(err) {
			return err
		}
		// It may be stored all the same.
		p.setVersion(id, version{rev: unsure})
		if !errors.Is(err, natsfeed.ErrConflict) {
			return err
		}
		p.with(func(s *PublisherStatus) { s.Conflicts++ })
	}
	return fmt.Errorf("%w: somebody else writes key %s all the time; is there a second management node?", natsfeed.ErrConflict, id)
}

func (p *Publisher) put(ctx context.Context, pub manage.Publication, was version, has bool) error {
	meta := EncodeMeta(pub.Key)
	sum, err := sumOf(pub.Entries, meta)
	if err != nil {
		return err
	}
	if has && was.sum == sum {
		return nil // such as another name
	}
	opts := natsfeed.PublishOptions{Create: !has, ExpectRevision: was.rev, Meta: meta, Policy: &p.policy}
	rev, err := natsfeed.Publish(ctx, p.kv, pub.ID, pub.Entries, &opts)
	if err != nil {
		return err
	}
	p.setVersion(pub.ID, version{rev, sum})
	p.with(func(s *PublisherStatus) { s.Published++ })
	return nil
}

func (p *Publisher) remove(ctx context.Context, id string, was version, has bool) error {
	if !has {
		return nil
	}
	rev, err := natsfeed.Unpublish(ctx, p.kv, id, &natsfeed.PublishOptions{ExpectRevision: was.rev})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, id)
	p.st.Removed++
	p.st.Revision = max(p.st.Revision, rev)
	return nil
}

// refresh asks the bucket for what it has of the key.
func (p *Publisher) refresh(ctx context.Context, id string) error {
	v, rev, err := natsfeed.Get(ctx, p.kv, id)
	switch {
	case errors.Is(err, natsfeed.ErrNotFound):
		p.mu.Lock()
		delete(p.known, id)
		p.mu.Unlock()
		return nil
	case err != nil && rev == 0:
		return err
	case err != nil: // a value, but none that can be read
		p.setVersion(id, version{rev: rev})
		return nil
	}
	sum, err := sumOf(v.Entries, v.Meta)
	if err != nil {
		return err
	}
	p.setVersion(id, version{rev, sum})
	return nil
}

func (p *Publisher) version(id string) (version, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, ok := p.known[id]
	return v, ok
}

func (p *Publisher) setVersion(id string, v version) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[id] = v
	if v.rev != unsure {
		p.st.Revision = max(p.st.Revision, v.rev)
	}
}

// sumOf returns a sum of a value, which is never 0.
func sumOf(entries []ipallow.Entry, meta []byte) (uint64, error) {
	data, err := natsfeed.AppendValue(nil, natsfeed.Value{Entries: entries, Meta: meta})
	if err != nil {
		return 0, err
	}
	return max(1, xxhash.Sum64(data)), nil
}

// confirm tells the gateways that the bucket has all there is.
func (p *Publisher) confirm(ctx context.Context) error {
	ctx, cancel := p.link.request(ctx)
	defer cancel()
	rev, err := natsfeed.Confirm(ctx, p.kv)
	if err != nil {
		return err
	}
	p.with(func(s *PublisherStatus) {
		p.last = time.Now()
		s.InStep, s.Err = true, nil
		s.Reconciled++
		s.Revision = max(s.Revision, rev)
	})
	p.link.logger.Info("the bucket of keys is in step with the database", "bucket", p.link.cfg.keysBucket(), "revision", rev)
	return nil
}
