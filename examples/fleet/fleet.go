package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Names of what ipallowd makes in NATS.
const (
	keysBucket  = "ipallow_keys"
	nodesBucket = "ipallow_nodes"
)

// A fleet is everything that runs: three NATS servers, a management node, three
// gateways, each a process.
type fleet struct {
	dir        string
	nats       []*natsNode
	js         jetstream.JetStream // for this program's own questions
	management *daemon
	manager    *manager
	gateways   []*daemon
	book       *book
	caller     *caller

	keyMu sync.Mutex // held to replace keys while there is load
	keys  []*key
}

// newFleet prepares a fleet in a directory. via returns the URLs by which a node
// reaches NATS; nil: directly. gatewayArgs are for all gateways.
func newFleet(dir, binary string, via func(node string, nats []*natsNode) (string, error), gatewayArgs ...string) (*fleet, error) {
	if via == nil {
		via = func(_ string, nats []*natsNode) (string, error) {
			var urls []string
			for _, n := range nats {
				urls = append(urls, "nats://"+n.addr())
			}
			return strings.Join(urls, ","), nil
		}
	}
	f := &fleet{dir: dir, book: newBook()}
	f.caller = newCaller(f.book)
	var err error
	if f.nats, err = newNATS(dir); err != nil {
		return nil, err
	}
	urls, err := via("management", f.nats)
	if err != nil {
		return nil, err
	}
	f.management = newManagement(binary, dir, urls)
	f.manager = newManager(f.management)
	for i := range 3 {
		name := fmt.Sprintf("gateway-%d", i+1)
		if urls, err = via(name, f.nats); err != nil {
			return nil, err
		}
		f.gateways = append(f.gateways, newGateway(binary, dir, name, urls, gatewayArgs...))
	}
	return f, nil
}

// startNATS starts the cluster, and returns when it has a leader.
func (f *fleet) startNATS(ctx context.Context) error {
	if err := each(len(f.nats), len(f.nats), func(i int) error { return f.nats[i].start(ctx) }); err != nil {
		return err
	}
	if f.js == nil {
		var err error
		if f.js, err = connectNATS(f.nats); err != nil {
			return err
		}
	}
	return clusterReady(ctx, f.js)
}

// startNodes starts the management node and the gateways, and returns when all
// are ready.
func (f *fleet) startNodes(ctx context.Context) error {
	if err := f.management.start(ctx); err != nil {
		return err
	}
	if err := each(len(f.gateways), len(f.gateways), func(i int) error { return f.gateways[i].start(ctx) }); err != nil {
		return err
	}
	return f.ready(ctx)
}

// ready waits until all gateways say that they are.
func (f *fleet) ready(ctx context.Context) error {
	return each(len(f.gateways), len(f.gateways), func(i int) error {
		g := f.gateways[i]
		return poll(ctx, 50*time.Millisecond, g.name+" to be ready", func() error { return g.isReady(ctx) })
	})
}

// enforced waits until all gateways enforce what was acknowledged for these keys.
func (f *fleet) enforced(ctx context.Context, keys []*key) error {
	return enforced(ctx, f.caller, f.gateways, keys)
}

// stop ends all processes: gateways and management first, so that they can hand
// over what they have.
func (f *fleet) stop() {
	const patience = 5 * time.Second
	var wg sync.WaitGroup
	for _, d := range append(f.gateways, f.management) {
		wg.Go(func() { d.stop(patience) })
	}
	wg.Wait()
	if f.js != nil {
		f.js.Conn().Close()
	}
	for _, n := range f.nats {
		wg.Go(func() { n.kill() })
	}
	wg.Wait()
}

// pick returns one of the keys.
func (f *fleet) pick() *key {
	f.keyMu.Lock()
	defer f.keyMu.Unlock()
	return f.keys[rand.IntN(len(f.keys))]
}

// leader returns the server that leads the keys' stream.
func (f *fleet) leader(ctx context.Context) (*natsNode, error) {
	name, err := streamLeader(ctx, f.js, "KV_"+keysBucket)
	if err != nil {
		return nil, err
	}
	for _, n := range f.nats {
		if n.name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the leader is %s, which is none of ours", name)
}

// killGateway ends a gateway as kill -9 does.
func (f *fleet) killGateway(g *daemon) {
	f.book.killed(g.name)
	g.kill()
}

// startGateway starts one that was killed.
func (f *fleet) startGateway(ctx context.Context, g *daemon) error {
	f.book.restarted(g.name)
	return g.start(ctx)
}

// change changes keys until the management acknowledges it: while it is being
// started anew, its API cannot be reached.
func (f *fleet) change(ctx context.Context, keys []*key) error {
	return each(len(keys), 8, func(i int) error {
		k := keys[i]
		k.busy.Lock()
		defer k.busy.Unlock()
		return poll(ctx, 20*time.Millisecond, "a change to be acknowledged", func() error {
			_, err := k.change(ctx, f.manager)
			return err
		})
	})
}

// askAll settles what the keys' lists are after the management was killed.
func (f *fleet) askAll(ctx context.Context) error {
	return each(len(f.keys), 16, func(i int) error { return f.keys[i].ask(ctx, f.manager) })
}
