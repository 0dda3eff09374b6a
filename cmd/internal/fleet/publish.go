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
func (p *Publisher) worker(ctx, taking context.Context, faults chan<- error) {
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
		case isFenced(err):
			faults <- err // ends the session
			p.work.finish(id, false)
			return
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

func isFenced(err error) bool {
	var f *FencedError
	return errors.As(err, &f)
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

// maxConflicts is how often in a row the stream's last message may turn out to
// be another than the publisher thinks.
const maxConflicts = 10

// publish brings the key's present state into the bucket. The line that it goes
// by sees to it that nobody else has written since: not another server, nor an
// earlier process whose message was held up on the way.
func (p *Publisher) publish(ctx context.Context, id string) error {
	ctx, cancel := p.link.request(ctx)
	defer cancel()
	for range maxConflicts {
		if err := p.line.repair(ctx); err != nil {
			return err
		}
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
			err = p.remove(ctx, pub, was)
		} else {
			err = p.put(ctx, pub, was)
		}
		switch {
		case err == nil || isFinal(err):
			return err
		case errors.Is(err, errBroken): // nothing was sent
			continue
		}
		// It may be stored all the same.
		p.setVersion(id, version{rev: unsure})
		if !errors.Is(err, natsfeed.ErrConflict) {
			return err
		}
		p.with(func(s *PublisherStatus) { s.Conflicts++ })
	}
	return fmt.Errorf("%w: somebody else writes to the bucket all the time", natsfeed.ErrConflict)
}

func (p *Publisher) put(ctx context.Context, pub manage.Publication, was version) error {
	meta := EncodeMeta(pub.Key)
	sum, err := sumOf(pub.Entries, meta)
	if err != nil {
		return err
	}
	if was.sum == sum {
		return nil // such as another name
	}
	kv := lineBucket{KeyValue: p.kv, line: p.line, change: pub.Change, fresh: was.rev == 0}
	rev, err := natsfeed.Publish(ctx, kv, pub.ID, pub.Entries, &natsfeed.PublishOptions{Meta: meta, Policy: &p.policy})
	if err != nil {
		return err
	}
	p.setVersion(pub.ID, version{rev: rev, value: true, sum: sum})
	p.with(func(s *PublisherStatus) { s.Published++ })
	return nil
}

// remove writes a deletion marker.
func (p *Publisher) remove(ctx context.Context, pub manage.Publication, was version) error {
	if !was.value {
		return nil
	}
	name, err := natsfeed.KeyName(pub.ID)
	if err != nil {
		return err
	}
	rev, err := p.line.write(ctx, message{name: name, delete: true, change: pub.Change})
	if err != nil {
		return err
	}
	p.setVersion(pub.ID, version{rev: rev})
	p.with(func(s *PublisherStatus) { s.Removed++ })
	return nil
}

// refresh asks the bucket for what it has of the key.
func (p *Publisher) refresh(ctx context.Context, id string) (version, error) {
	name, err := natsfeed.KeyName(id)
	if err != nil {
		return version{}, err
	}
	var v version
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
	if err := p.line.repair(ctx); err != nil {
		return err
	}
	change, err := p.src.LastChange(ctx)
	if err != nil {
		return err
	}
	rev, err := natsfeed.Confirm(ctx, lineBucket{KeyValue: p.kv, line: p.line, change: change, fresh: !p.hasConfirm})
	if err != nil {
		return err
	}
	m, err := p.link.keysMessage(ctx, map[string]any{"seq": rev})
	if err != nil {
		return err
	}
	p.setConfirm(confirmation{rev, m.Time})
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
