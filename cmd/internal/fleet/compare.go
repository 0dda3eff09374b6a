package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/natsfeed"
)

// confirmName is the name under which natsfeed.Confirm writes. It is no key's.
const confirmName = "=confirm"

// compareStall is how long a comparison waits for the next value.
const compareStall = 10 * time.Second

// compare reads the whole bucket, and adds to the work what it has otherwise
// than the database. No worker runs meanwhile. At least is the stream's last
// number, of which its leader has told.
//
// With 100,000 keys it takes about a second (BenchmarkReconcile).
func (p *Publisher) compare(ctx context.Context, atLeast uint64) error {
	// The row numbers come first: a change that the database's state below may
	// lack is behind them, or was added before.
	if err := p.readOutbox(ctx); err != nil {
		return err
	}
	want, err := p.readKeys(ctx)
	if err != nil {
		return fmt.Errorf("the keys cannot be read: %w", err)
	}
	have, others, last, err := p.readBucket(ctx, len(want))
	if err != nil {
		return err
	}
	if err := p.reached(ctx, last, atLeast); err != nil {
		return err
	}
	last = max(last, atLeast)
	values, differ := 0, 0
	for id, sum := range want {
		if sum == 0 || have[id].sum != sum {
			p.work.add(id, 0)
			differ++
		}
	}
	for id, v := range have {
		if v.value {
			values++
			if _, ok := want[id]; !ok {
				p.work.add(id, 0)
				differ++
			}
		}
	}
	_, p.hasConfirm = others[confirmName]
	p.line.reset(len(have)+len(others), last)
	p.mu.Lock()
	p.known = have
	p.st.Revision, p.last = last, time.Now()
	p.mu.Unlock()
	p.link.logger.Info("the bucket of keys was compared with the database", "bucket", p.link.cfg.keysBucket(), "keys", len(want), "values", values, "differ", differ)
	return p.clear(ctx, others)
}

// readKeys returns the sums of what the database has; 0 for a key that cannot
// be read. What the bucket has of that one stays as it is.
func (p *Publisher) readKeys(ctx context.Context) (map[string]uint64, error) {
	want := make(map[string]uint64)
	err := p.src.Publications(ctx, func(pub manage.Publication) error {
		if pub.Err != nil {
			p.link.logger.Error("a key cannot be read from the database; the gateways keep what they have of it", "key", pub.ID, "error", pub.Err)
			if keyring.ValidID(pub.ID) {
				want[pub.ID] = 0
			}
			return nil
		}
		sum, err := sumOf(pub.Entries, EncodeMeta(pub.Key))
		if err != nil {
			sum = 0 // the worker says so
		}
		want[pub.ID] = sum
		return nil
	})
	return want, err
}

// readBucket returns what the bucket has: of keys, and under names that are no
// key's.
func (p *Publisher) readBucket(ctx context.Context, size int) (have, others map[string]version, last uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := p.kv.WatchAll(ctx)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("read the bucket of keys: %w", err)
	}
	defer func() { _ = w.Stop() }() // it may have ended by itself
	have, others = make(map[string]version, size), make(map[string]version)
	timer := time.NewTimer(compareStall)
	defer timer.Stop()
	for {
		timer.Reset(compareStall)
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return nil, nil, 0, errors.New("read the bucket of keys: it ended too early")
			case e == nil:
				return have, others, last, nil
			}
			last = max(last, e.Revision())
			v := version{rev: e.Revision(), value: e.Operation() == jetstream.KeyValuePut}
			if id, err := natsfeed.NameKey(e.Key()); err != nil || !keyring.ValidID(id) {
				others[e.Key()] = v
			} else {
				if v.value {
					v.sum = sumOfData(e.Value())
				}
				have[id] = v
			}
		case <-timer.C:
			return nil, nil, 0, fmt.Errorf("read the bucket of keys: nothing came for %v", compareStall)
		case <-ctx.Done():
			return nil, nil, 0, ctx.Err()
		}
	}
}

// reached demands that the stream has nothing between what was read last and
// the number of which the leader has told: any replica may be read.
func (p *Publisher) reached(ctx context.Context, read, told uint64) error {
	if read >= told {
		return nil
	}
	ctx, cancel := p.link.request(ctx)
	defer cancel()
	m, err := p.link.keysMessage(ctx, map[string]any{"seq": read + 1, "next_by_subj": p.link.cfg.keysSubject(">")})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound): // it was deleted
		return nil
	case err != nil:
		return fmt.Errorf("ask whether all of the bucket was read: %w", err)
	case m.Seq <= told:
		return fmt.Errorf("the bucket of keys was read up to %d and goes up to %d: a replica lags behind", read, told)
	}
	return nil
}

// clear deletes the values whose names are no key's, several at once. One that
// cannot be deleted stays: no gateway takes it for a key.
func (p *Publisher) clear(ctx context.Context, others map[string]version) error {
	names := make(chan string)
	var workers sync.WaitGroup
	for range min(publishers, len(others)) {
		workers.Go(func() {
			for name := range names {
				p.unname(ctx, name)
			}
		})
	}
	n := 0
	for name, v := range others {
		if !v.value || name == confirmName || name == ownerName {
			continue
		}
		if !p.link.Connected() || ctx.Err() != nil {
			break // the next session goes on
		}
		n++
		names <- name
	}
	close(names)
	workers.Wait()
	if n > 0 {
		p.link.logger.Warn("names in the bucket of keys were no key's and are deleted", "names", n)
	}
	if !p.link.Connected() {
		return errNotConnected
	}
	return ctx.Err()
}

func (p *Publisher) unname(ctx context.Context, name string) {
	ctx, cancel := p.link.request(ctx)
	defer cancel()
	err := p.line.repair(ctx)
	if err == nil {
		_, err = p.line.write(ctx, message{name: name, delete: true})
	}
	if err != nil {
		p.link.logger.Warn("a name in the bucket of keys is no key's and cannot be deleted", "name", fmt.Sprintf("%.80q", name), "error", err)
	}
}
