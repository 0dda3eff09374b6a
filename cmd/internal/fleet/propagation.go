package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Propagation says where the last change of a key is in force.
type Propagation struct {
	Fleet     bool   // without one, the node that made the change is all there is
	InForce   bool   // on every gateway that is known
	Published bool   // the bucket has it
	Revision  uint64 // of the bucket, with which a gateway has it; 0: not known yet
	Reason    string // why it is not in force everywhere, for people; "" if it is
	Nodes     []Stand
}

// A Stand says whether a change is in force on a gateway, as that has said
// itself.
type Stand struct {
	Node
	InForce bool
	Reason  string // why not, where it is known
}

// Waiting returns the names of the gateways that have not confirmed the change.
func (p *Propagation) Waiting() []string {
	names := []string{}
	for i := range p.Nodes {
		if !p.Nodes[i].InForce {
			names = append(names, p.Nodes[i].Name)
		}
	}
	return names
}

// propagationLook is how often a Propagation that is waited for is looked at.
const propagationLook = 20 * time.Millisecond

// Propagation says where the last change of the key is in force. It waits until
// that is everywhere, as long as wait and ctx allow, and not for what cannot be
// expected: for gateways that are silent, and while NATS cannot be reached.
func (c *Center) Propagation(ctx context.Context, id string, wait time.Duration) Propagation {
	deadline := time.Now().Add(wait)
	for {
		p, hopeful := c.look(ctx, id)
		if p.InForce || !hopeful || ctx.Err() != nil || time.Until(deadline) <= 0 {
			return p
		}
		sleep(ctx, min(propagationLook, time.Until(deadline)))
	}
}

// look makes a Propagation, and says whether waiting may change it.
func (c *Center) look(ctx context.Context, id string) (p Propagation, hopeful bool) {
	p = Propagation{Fleet: true, Nodes: []Stand{}}
	var err error
	var has bool
	if p.Revision, has, p.Published, err = c.Publisher.published(ctx, id); err != nil {
		p.Reason = "The state of the change cannot be read: " + err.Error()
	}
	if crowded := c.Registry.Crowded(); crowded != "" && p.Reason == "" {
		p.Reason = crowded
	}
	created, confirmed := c.Publisher.Created(), c.Publisher.lastConfirm()
	hopeful = c.Link.Connected()
	p.InForce = p.Published && c.Registry.Crowded() == ""
	silent := 0
	for _, n := range c.Registry.Nodes() {
		if n.Role != Gateway {
			continue
		}
		s := Stand{Node: n}
		switch {
		case !p.Published:
		case !n.Bucket.Equal(created):
			s.Reason = "it has not loaded this bucket of keys"
		case n.Confirm > 0 && !confirmed.is(&n.Report):
			s.Reason = "it has not confirmed what the bucket had when that was compared with the database last"
		case n.Revision < p.Revision:
		case !has && n.Missing > 0:
			s.Reason = fmt.Sprintf("it keeps %d keys that have disappeared from the bucket", n.Missing)
		default:
			s.InForce, s.Reason = n.enforces(id)
		}
		if !s.InForce && n.State(time.Now()) == StateSilent {
			silent++
		}
		p.InForce = p.InForce && s.InForce
		p.Nodes = append(p.Nodes, s)
	}
	waiting := p.Waiting()
	switch {
	case p.Reason != "" || p.InForce:
	case !p.Published && !c.Link.Connected():
		p.Reason = "NATS cannot be reached. The change is stored, and reaches the gateways when NATS is back."
	case !p.Published:
		p.Reason = "The change is stored and not published yet."
		if why := c.Publisher.stuckAt(id); why != nil {
			p.Reason = "The change is stored and cannot be published: " + why.Error()
			hopeful = false
		}
	default:
		p.Reason = "Not confirmed by " + listed(waiting) + "."
		hopeful = hopeful && silent < len(waiting)
	}
	return p, hopeful
}

// enforces reports whether the node has said nothing against its enforcing the
// key's value at its revision, or why not.
func (n *Node) enforces(id string) (bool, string) {
	for _, f := range n.Faulty {
		if f.Key == id {
			return false, f.Reason
		}
	}
	if n.Faults > len(n.Faulty) {
		return false, fmt.Sprintf("it has %d keys with values that it cannot use, and names %d", n.Faults, len(n.Faulty))
	}
	return true, ""
}

// listed names some of the names.
func listed(names []string) string {
	const most = 5
	if n := len(names); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
	}
	return strings.Join(names, ", ")
}

// published returns the revision with which the bucket has the present state of
// the key, whether that is a value, and whether the bucket has it.
func (p *Publisher) published(ctx context.Context, id string) (rev uint64, value, ok bool, err error) {
	row, err := p.src.OutboxOf(ctx, id)
	if err != nil || p.work.has(id, row) || p.line.doubted() { // doubted: it is compared anew
		return 0, false, false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.known[id]
	if p.confirmed.rev == 0 || v.rev == unsure {
		return 0, false, false, nil // what the bucket has is not known
	}
	return v.rev, v.value, true, nil
}

// A confirmation is a Confirm that the publisher wrote, and when the server stored it. A
// gateway that has obeyed it has the history that the publisher knows, and no key that was
// missing before. Its revision alone may be that of a history that the server has lost.
type confirmation struct {
	rev uint64
	at  time.Time
}

// is reports whether it is the one that a node has obeyed last.
func (c confirmation) is(r *Report) bool { return c.rev == r.Confirm && c.at.Equal(r.Confirmed) }

// lastConfirm returns that of the session; the zero confirmation if there is none yet.
func (p *Publisher) lastConfirm() confirmation {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.confirmed
}

func (p *Publisher) setConfirm(c confirmation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.confirmed = c
}

// stuckAt returns why the key cannot be published as it is.
func (p *Publisher) stuckAt(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stuck[id]
}
