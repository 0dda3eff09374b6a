package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ipallow/ipallow/natsfeed"
)

// consumersEvery is how often the management looks whether the gateways have
// their consumers.
const consumersEvery = time.Second

// consumers makes the consumers of gateways that have an account of their own. A
// gateway reports under its name, which NATS lets no other one do, and gets the
// consumer of that name.
type consumers struct {
	link     *Link
	registry *Registry
	loop     loop
}

func newConsumers(link *Link, r *Registry) *consumers {
	c := &consumers{link: link, registry: r}
	c.loop = loop{link: link, name: "making consumers for the gateways", session: c.session, note: func(error) {}}
	c.loop.start()
	return c
}

func (c *consumers) close() { c.loop.close() }

func (c *consumers) session(ctx context.Context) error {
	tick := time.NewTicker(consumersEvery)
	defer tick.Stop()
	for {
		if want := c.wanted(); len(want) > 0 {
			if err := c.make(ctx, want); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wanted returns the names of the gateways that need a consumer.
func (c *consumers) wanted() (names []string) {
	for _, n := range c.registry.Nodes() {
		if n.Role == Gateway && n.OwnAccount && ValidGatewayName(n.Name) {
			names = append(names, n.Name)
		}
	}
	return names
}

// make makes those that are not there.
func (c *consumers) make(ctx context.Context, names []string) error {
	rctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	stream, err := c.link.js.Stream(rctx, "KV_"+c.link.cfg.keysBucket())
	if err != nil {
		return fmt.Errorf("bucket %s: %w", c.link.cfg.keysBucket(), err)
	}
	there := make(map[string]bool)
	list := stream.ConsumerNames(rctx)
	for name := range list.Name() {
		there[name] = true
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("consumers of bucket %s: %w", c.link.cfg.keysBucket(), err)
	}
	for _, name := range names {
		if !slices.ContainsFunc(natsfeed.ConsumerNames(name), func(n string) bool { return !there[n] }) {
			continue
		}
		rctx, cancel := context.WithTimeout(ctx, requestTimeout)
		err := natsfeed.CreateConsumer(rctx, c.link.js, c.link.cfg.keysBucket(), name)
		cancel()
		if err != nil {
			return err
		}
		c.link.logger.Info("a gateway has its consumers", "gateway", name)
	}
	return nil
}
