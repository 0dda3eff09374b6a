package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// healWithin is how soon after a fault every acknowledged change has to be in
// force on every node.
const healWithin = 10 * time.Second

// sample returns some of the keys.
func (f *fleet) sample(n int) []*key { return f.keys[:min(n, len(f.keys))] }

// healed changes some keys and waits until the changes are in force everywhere,
// and returns how long after since that was.
func (f *fleet) healed(ctx context.Context, since time.Time) (time.Duration, error) {
	keys := f.sample(10)
	if err := f.change(ctx, keys); err != nil {
		return 0, err
	}
	err := f.enforced(ctx, keys)
	return time.Since(since), err
}

// killLeader kills the NATS server that leads the keys' stream, and starts it
// again when changes are enforced without it.
func (f *fleet) killLeader(ctx context.Context) (name string, healed time.Duration, err error) {
	n, err := f.leader(ctx)
	if err != nil {
		return "", 0, err
	}
	n.kill()
	if healed, err = f.healed(ctx, time.Now()); err != nil {
		return n.name, healed, err
	}
	return n.name, healed, n.start(ctx)
}

// killManagement kills the management node while changes are being made, and
// starts it again. It returns how many were acknowledged before, and how long
// after the start every one of them was in force everywhere.
func (f *fleet) killManagement(ctx context.Context, after time.Duration) (acknowledged int, healed time.Duration, err error) {
	var count, next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				k := f.keys[int(next.Add(1))%len(f.keys)]
				k.busy.Lock()
				_, err := k.change(ctx, f.manager)
				k.busy.Unlock()
				if err != nil {
					return
				}
				count.Add(1)
			}
		})
	}
	select {
	case <-time.After(after):
	case <-ctx.Done():
	}
	f.management.kill()
	wg.Wait()
	began := time.Now()
	if err := f.management.start(ctx); err != nil {
		return 0, 0, err
	}
	if err := f.askAll(ctx); err != nil {
		return 0, 0, fmt.Errorf("after the management node was killed: %w", err)
	}
	err = f.enforced(ctx, f.keys)
	return int(count.Load()), time.Since(began), err
}

// killOneGateway kills a gateway, changes keys, and starts it again. It returns
// how long after that it enforced everything.
func (f *fleet) killOneGateway(ctx context.Context, g *daemon) (healed time.Duration, err error) {
	f.killGateway(g)
	keys := f.sample(10)
	if err := f.change(ctx, keys); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := f.startGateway(ctx, g); err != nil {
		return 0, err
	}
	err = f.enforced(ctx, keys)
	return time.Since(began), err
}
