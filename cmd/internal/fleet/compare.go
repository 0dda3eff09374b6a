package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
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
// than the database. No worker runs meanwhile.
//
// With 100,000 keys it takes about a second (BenchmarkReconcile).
func (p *Publisher) compare(ctx context.Context) error {
	// The row numbers come first: a change that the database's state below may
	// lack is behind them, or was added before.
	if err := p.readOutbox(ctx); err != nil {
		return err
	}
	want := make(map[string]uint64)
	err := p.src.Publications(ctx, func(pub manage.Publication) error {
		sum, err := sumOf(pub.Entries, EncodeMeta(pub.Key))
		want[pub.ID] = sum
		return err
	})
	if err != nil {
		return fmt.Errorf("the keys cannot be read: %w", err)
	}
	have, foreign, last, err := p.readBucket(ctx, len(want))
	if err != nil {
		return err
	}
	for _, name := range foreign {
		p.link.logger.Warn("a name in the bucket of keys is no key's and is deleted", "name", name)
		if err := p.kv.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete %.80q: %w", name, err)
		}
	}
	differ := 0
	for id, sum := range want {
		if v, ok := have[id]; !ok || v.sum != sum {
			p.work.add(id, 0)
			differ++
		}
	}
	for id := range have {
		if _, ok := want[id]; !ok {
			p.work.add(id, 0)
			differ++
		}
	}
	p.mu.Lock()
	p.known = have
	p.st.Revision = last
	p.mu.Unlock()
	p.link.logger.Info("the bucket of keys was compared with the database", "bucket", p.link.cfg.keysBucket(), "keys", len(want), "values", len(have), "differ", differ)
	return nil
}

// readBucket returns what the bucket has: its values, and the names that are
// no key's.
func (p *Publisher) readBucket(ctx context.Context, size int) (have map[string]version, foreign []string, last uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := p.kv.WatchAll(ctx)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("read the bucket of keys: %w", err)
	}
	defer func() { _ = w.Stop() }() // it may have ended by itself
	have = make(map[string]version, size)
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
				return have, foreign, last, nil
			}
			last = max(last, e.Revision())
			if e.Operation() != jetstream.KeyValuePut || e.Key() == confirmName {
				continue
			}
			id, err := natsfeed.NameKey(e.Key())
			if err != nil || !keyring.ValidID(id) {
				foreign = append(foreign, e.Key())
				continue
			}
			have[id] = version{e.Revision(), max(1, xxhash.Sum64(e.Value()))}
		case <-timer.C:
			return nil, nil, 0, fmt.Errorf("read the bucket of keys: nothing came for %v", compareStall)
		case <-ctx.Done():
			return nil, nil, 0, ctx.Err()
		}
	}
}
