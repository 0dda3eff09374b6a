package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A propagation is how long changes took from their acknowledgement until the
// last gateway enforced them.
type propagation struct {
	rate    int     // changes a second that were wanted
	reached float64 // and made
	changes int
	times   []time.Duration // of those that were watched, in order
}

func (p *propagation) at(q float64) time.Duration {
	if len(p.times) == 0 {
		return 0
	}
	return p.times[min(len(p.times)-1, int(q*float64(len(p.times))))]
}

// watchedPerSecond bounds how many changes a second are watched: each costs some
// requests to every gateway, which share the processors with everything else.
const watchedPerSecond = 60

// propagate changes keys at a rate for a time, and watches what the gateways
// answer to the address that was on the list before: it is served until the
// change is enforced, and then refused. The times contain that of the request
// which was refused.
func (f *fleet) propagate(ctx context.Context, rate int, lasting time.Duration) (*propagation, error) {
	const workers = 64
	p := &propagation{rate: rate}
	var mu sync.Mutex
	var fault error
	var next atomic.Int64
	var changing, watching sync.WaitGroup
	every := max(1, rate/watchedPerSecond)
	ticks := make(chan int)
	for range workers {
		changing.Go(func() {
			for i := range ticks {
				k := f.keys[int(next.Add(1))%len(f.keys)]
				if !k.busy.TryLock() {
					continue // still being watched: all keys were changed in so short a time
				}
				before, err := k.change(ctx, f.manager)
				acked := time.Now()
				mu.Lock()
				if err != nil {
					fault = err
				} else {
					p.changes++
				}
				mu.Unlock()
				if err != nil || i%every != 0 {
					k.busy.Unlock()
					continue
				}
				watching.Go(func() {
					defer k.busy.Unlock()
					took, err := f.watch(ctx, k, before, acked)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						fault = err
						return
					}
					p.times = append(p.times, took)
				})
			}
		})
	}
	began := time.Now()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	for i := 0; time.Since(began) < lasting && ctx.Err() == nil; i++ {
		<-tick.C
		select {
		case ticks <- i:
		case <-time.After(time.Second):
		}
	}
	tick.Stop()
	close(ticks)
	changing.Wait()
	p.reached = float64(p.changes) / time.Since(began).Seconds()
	watching.Wait()
	slices.Sort(p.times)
	if fault == nil && len(p.times) == 0 {
		fault = fmt.Errorf("no change was watched at %d a second", rate)
	}
	return p, fault
}

// watch returns how long after acked the last gateway refused a client from the
// address before.
func (f *fleet) watch(ctx context.Context, k *key, before string, acked time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	times := make([]time.Duration, len(f.gateways))
	err := each(len(f.gateways), len(f.gateways), func(i int) error {
		g := f.gateways[i]
		for {
			status, err := f.caller.ping(ctx, g, k.secret, before, false)
			switch {
			case err != nil:
				return fmt.Errorf("a change did not reach %s: %w", g.name, err)
			case status == http.StatusForbidden:
				times[i] = time.Since(acked)
				return nil
			case status != http.StatusOK:
				return fmt.Errorf("%s answered %d", g.name, status)
			}
		}
	})
	return slices.Max(times), err
}
