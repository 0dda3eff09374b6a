package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/natsfeed"
)

// worker publishes one key after the other until taking ends. What it has begun
// then is brought to its end: a write that is cut off may be stored, and the
// bucket would have to be compared once more for it.
func (p *Publisher) worker(ctx, taking context.Context) {
	pause := minPause
	for taking.Err() == nil {
		id, more := p.work.next()
		if id == "" {
			select {
			case <-p.work.wake:
			case <-taking.Done():
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
				_ = p.link.await(taking) // only taking ends it, and then this loop
				pause = minPause
			}
			sleep(taking, pause)
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
		was := p.version(id)
		if was.rev == unsure {
			var err error
			if was, err = p.refresh(ctx, id); err != nil {
				return err
			}
		}
		pub, err := p.src.Publication(ctx, id)
		if err != nil {
			return err
		}
		if pub.Key == nil {
			err = p.remove(ctx, id, was)
		} else {
			err = p.put(ctx, pub, was)
		}
		if err == nil || isFinal(err) {
			return err
		}
		// It may be stored all the same.
		p.setVersion(id, version{rev: unsure})
		if !errors.Is(err, natsfeed.ErrConflict) {
			return err
		}
		p.ledger.suspect()
		p.with(func(s *PublisherStatus) { s.Conflicts++ })
	}
	return fmt.Errorf("%w: somebody else writes key %s all the time; is there a second management node?", natsfeed.ErrConflict, id)
}

func (p *Publisher) put(ctx context.Context, pub manage.Publication, was version) error {
	meta := EncodeMeta(pub.Key)
	sum, err := sumOf(pub.Entries, meta)
	if err != nil {
		return err
	}
	if was.sum == sum && !was.force {
		return nil // such as another name
	}
	opts := natsfeed.PublishOptions{Create: was.rev == 0, ExpectRevision: was.rev, Meta: meta, Policy: &p.policy}
	rev, err := p.ledger.write(was.rev == 0, func() (uint64, error) {
		return natsfeed.Publish(ctx, p.kv, pub.ID, pub.Entries, &opts)
	})
	if err != nil {
		return err
	}
	p.setVersion(pub.ID, version{rev: rev, value: true, sum: sum})
	p.with(func(s *PublisherStatus) { s.Published++ })
	return nil
}

// remove writes a deletion marker. Where a write may be under way it does so
// even if the bucket has no value: that write's condition does not hold any
// more.
func (p *Publisher) remove(ctx context.Context, id string, was version) error {
	if !was.value && !was.force {
		return nil
	}
	name, err := natsfeed.KeyName(id)
	if err != nil {
		return err
	}
	rev, err := p.ledger.write(was.rev == 0, func() (uint64, error) { return p.link.mark(ctx, name, was.rev) })
	if err != nil {
		return err
	}
	p.setVersion(id, version{rev: rev})
	if was.value {
		p.with(func(s *PublisherStatus) { s.Removed++ })
	}
	return nil
}

// refresh asks the bucket for what it has of the key. Whatever that is, the
// write that made it necessary may still be under way.
func (p *Publisher) refresh(ctx context.Context, id string) (version, error) {
	name, err := natsfeed.KeyName(id)
	if err != nil {
		return version{}, err
	}
	v := version{force: true}
	m, err := p.link.keysMessage(ctx, map[string]any{"last_by_subj": p.link.cfg.keysSubject(name)})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
	case err != nil:
		return v, fmt.Errorf("ask for key %s: %w", id, err)
	case m.marker():
		v.rev = m.Seq
	default:
		v.rev, v.value, v.sum = m.Seq, true, sumOfData(m.Data)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[id] = v
	return v, nil
}

func (p *Publisher) version(id string) version {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[id]
}

func (p *Publisher) setVersion(id string, v version) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[id] = v
	if v.rev != unsure {
		p.st.Revision = max(p.st.Revision, v.rev)
	}
}

// sumOfData returns a sum of a value as the bucket has it, which is never 0.
func sumOfData(data []byte) uint64 { return max(1, xxhash.Sum64(data)) }

// sumOf returns a sum of a value, which is never 0.
func sumOf(entries []ipallow.Entry, meta []byte) (uint64, error) {
	data, err := natsfeed.AppendValue(nil, natsfeed.Value{Entries: entries, Meta: meta})
	if err != nil {
		return 0, err
	}
	return sumOfData(data), nil
}

// confirm tells the gateways that the bucket has all there is.
func (p *Publisher) confirm(ctx context.Context) error {
	ctx, cancel := p.link.request(ctx)
	defer cancel()
	rev, err := p.ledger.write(!p.hasConfirm, func() (uint64, error) { return natsfeed.Confirm(ctx, p.kv) })
	if err != nil {
		return err
	}
	p.hasConfirm = true
	p.with(func(s *PublisherStatus) {
		p.last = time.Now()
		s.InStep, s.Err = true, nil
		s.Reconciled++
		s.Revision = max(s.Revision, rev)
	})
	p.link.logger.Info("the bucket of keys is in step with the database", "bucket", p.link.cfg.keysBucket(), "revision", rev)
	return nil
}
