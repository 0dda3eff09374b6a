package logstore

import (
	"context"
	"errors"
	"time"
)

// ErrBusy is returned for a chart, an export, or a page with a filter when too many
// others were asked for. It is worth trying again in a few seconds.
var ErrBusy = errors.New("usage log: too many charts, searches and exports are running; try again in a few seconds")

// What reads much of the log takes turns, so that it leaves processor time to
// the requests, however many ask. All other readers go past it.
const (
	maxWaiting = 64
	maxExports = 8
	longestTry = 15 * time.Second // that one waits for its turn
)

// A gate lets a number through at once, the first that came first.
type gate struct {
	inside  chan struct{}
	waiting chan struct{} // those inside too
	longest time.Duration
}

func newGate(inside, waiting int) *gate {
	return &gate{make(chan struct{}, inside), make(chan struct{}, inside+waiting), longestTry}
}

// enter waits for a place, which leave gives back.
func (g *gate) enter(ctx context.Context) error {
	select {
	case g.waiting <- struct{}{}:
	default:
		return ErrBusy
	}
	select {
	case g.inside <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(g.longest)
	defer timer.Stop()
	select {
	case g.inside <- struct{}{}:
		return nil
	case <-timer.C:
		<-g.waiting
		return ErrBusy
	case <-ctx.Done():
		<-g.waiting
		return ctx.Err()
	}
}

func (g *gate) leave() {
	<-g.inside
	<-g.waiting
}

// do calls f inside.
func (g *gate) do(ctx context.Context, f func() error) error {
	if err := g.enter(ctx); err != nil {
		return err
	}
	defer g.leave()
	return f()
}
