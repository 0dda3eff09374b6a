package fleet

import (
	"context"
	"fmt"
	"time"
)

// A View is a fleet as the management knows it at one moment.
type View struct {
	Bucket    string // of keys
	Connected bool
	Publisher PublisherStatus
	Usage     DrainStatus
	Nodes     []Node

	// Rival is another management node that reports to the same fleet; "" if
	// there is none, as it should be.
	Rival string
}

// Lag returns how many changes a node has not got: revisions of the bucket, and
// changes that the bucket does not have either.
func (v *View) Lag(n *Node) uint64 {
	if n.Role == Management {
		return 0 // it enforces its database
	}
	lag := uint64(max(v.Publisher.Waiting, 0))
	switch {
	case !n.Bucket.Equal(v.Publisher.Created):
		lag += v.Publisher.Revision // of another bucket it may have had more
	case n.Revision < v.Publisher.Revision:
		lag += v.Publisher.Revision - n.Revision
	}
	return lag
}

// MaxLag returns the lag of the gateway that is furthest behind, or what waits to
// be published if there is none.
func (v *View) MaxLag() uint64 {
	lag := uint64(max(v.Publisher.Waiting, 0))
	for i := range v.Nodes {
		lag = max(lag, v.Lag(&v.Nodes[i]))
	}
	return lag
}

// A Center is a management node's part in its fleet.
type Center struct {
	Link      *Link
	Publisher *Publisher
	Drain     *Drain
	Registry  *Registry
	Reporter  *Reporter
	consumers *consumers
	own       func() Report
}

// NewCenter begins to listen to the nodes and to report as one of them.
func NewCenter(link *Link, p *Publisher, d *Drain, own func() Report) *Center {
	c := &Center{Link: link, Publisher: p, Drain: d, Registry: NewRegistry(link), Reporter: NewReporter(link, own), own: own}
	c.consumers = newConsumers(link, c.Registry)
	keeps := c.Registry.keeps
	p.keeps.Store(&keeps)
	return c
}

// Close ends all of it, and the link.
func (c *Center) Close() {
	c.consumers.close()
	c.Reporter.Close()
	c.Registry.Close()
	c.Drain.Close()
	c.Publisher.Close()
	c.Link.Close()
}

// RemoveNode takes a node that is no more off the list. The error may be ErrNoNode or
// ErrNodeAlive.
func (c *Center) RemoveNode(ctx context.Context, name string) error {
	return c.Registry.Remove(ctx, name)
}

// View returns the fleet at this moment.
func (c *Center) View(ctx context.Context) View {
	own := c.own()
	v := View{
		Bucket: c.Link.cfg.keysBucket(), Connected: c.Link.Connected(), Publisher: c.Publisher.Status(ctx), Usage: c.Drain.Status(),
		Nodes: []Node{{Report: own, Heard: time.Now()}},
	}
	for _, n := range c.Registry.Nodes() {
		switch {
		case n.Role != Management:
			v.Nodes = append(v.Nodes, n)
		case n.Twice && n.Name == own.Name:
			v.Rival = fmt.Sprintf("another management node with the name %s", n.Name)
		case n.Instance == own.Instance || n.Name == own.Name: // it, or what it was before its last start
		case !n.Heard.IsZero() && time.Since(n.Heard) < Silent:
			v.Rival = fmt.Sprintf("%s, at %s", n.Name, n.Listen)
			v.Nodes = append(v.Nodes, n)
		}
	}
	return v
}
