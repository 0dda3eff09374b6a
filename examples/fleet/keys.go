package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// intruder is an address that is never on any list: no request from it may be
// served.
const intruder = "192.0.2.66"

// A key is an API key of the fleet. Its list has one address, and every change
// puts another one in its place.
type key struct {
	id, secret string

	busy    sync.Mutex // held while the key is changed
	mu      sync.Mutex
	version int
	allowed string // the address that was acknowledged last
	sent    string // the one that was sent last
	revoked bool
}

// address is the one that is on the list after so many changes.
func address(version int) string {
	return fmt.Sprintf("203.0.113.%d", 1+version%250)
}

// state returns the address that was acknowledged last.
func (k *key) state() (allowed string, revoked bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.allowed, k.revoked
}

// change puts the next address on the key's list, and returns the one that was
// there before. The caller holds busy.
func (k *key) change(ctx context.Context, m *manager) (before string, err error) {
	k.mu.Lock()
	before, next := k.allowed, address(k.version+1)
	k.version++
	k.sent = next
	k.mu.Unlock()
	if err := m.allow(ctx, k.id, next); err != nil {
		return before, err
	}
	k.mu.Lock()
	k.allowed = next
	k.mu.Unlock()
	return before, nil
}

// revoke ends the key.
func (k *key) revoke(ctx context.Context, m *manager) error {
	if err := m.revoke(ctx, k.id); err != nil {
		return err
	}
	k.mu.Lock()
	k.revoked = true
	k.mu.Unlock()
	return nil
}

// ask finds out which of the last two states the management has, after a kill in
// the middle of a change. Anything else was lost.
func (k *key) ask(ctx context.Context, m *manager) error {
	entry, err := m.allowed(ctx, k.id)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch entry {
	case k.allowed + "/32", k.sent + "/32":
		k.allowed = entry[:len(entry)-len("/32")]
		k.sent = k.allowed
		return nil
	}
	return fmt.Errorf("key %s has %s on its list: %s was acknowledged, and %s sent", k.id, entry, k.allowed, k.sent)
}

// makeKeys creates keys.
func makeKeys(ctx context.Context, m *manager, n int) ([]*key, error) {
	keys := make([]*key, n)
	err := each(n, 32, func(i int) error {
		k := &key{version: i, allowed: address(i), sent: address(i)}
		var err error
		k.id, k.secret, err = m.create(ctx, fmt.Sprintf("key %d", i+1), k.allowed)
		keys[i] = k
		return err
	})
	return keys, err
}

// each calls f for 0 to n-1, several at a time, and returns all errors.
func each(n, atOnce int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	next := make(chan int)
	for range min(n, atOnce) {
		wg.Go(func() {
			for i := range next {
				errs[i] = f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

// enforced waits until every gateway enforces what was acknowledged for these
// keys: the address on the list is served, a revoked key is unknown, and nobody
// else is served.
func enforced(ctx context.Context, c *caller, gateways []*daemon, keys []*key) error {
	return each(len(keys)*len(gateways), 16, func(i int) error {
		k, g := keys[i/len(gateways)], gateways[i%len(gateways)]
		allowed, revoked := k.state()
		want := http.StatusOK
		if revoked {
			want = http.StatusUnauthorized
		}
		err := poll(ctx, 20*time.Millisecond, fmt.Sprintf("%s to enforce key %s", g.name, k.id), func() error {
			status, err := c.ping(ctx, g, k.secret, allowed, false)
			if err == nil && status != want {
				err = fmt.Errorf("%s answers %d to the key from %s, and should answer %d", g.name, status, allowed, want)
			}
			return err
		})
		if err != nil {
			return err
		}
		status, err := c.ping(ctx, g, k.secret, intruder, true)
		if err == nil && status < 300 {
			err = fmt.Errorf("%s served an address that is on no list", g.name)
		}
		return err
	})
}

// load has clients make requests until ctx ends, some hundred a second in all:
// half of them from the address on the key's list, half from one that is on
// none. pick chooses a key.
func load(ctx context.Context, c *caller, gateways []*daemon, pick func() *key, perSecond int) (wait func()) {
	const clients = 8
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			tick := time.NewTicker(time.Second * clients / time.Duration(perSecond))
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				g, k := gateways[rand.IntN(len(gateways))], pick()
				from, probe := intruder, true
				if i%2 == 0 {
					from, _ = k.state()
					probe = false
				}
				// Not with ctx: a request that was given up counts as sent.
				_, _ = c.ping(context.WithoutCancel(ctx), g, k.secret, from, probe)
			}
		})
	}
	return wg.Wait
}
