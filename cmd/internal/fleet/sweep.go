package fleet

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// depart takes a node off the list. It is called with mu.
func (r *Registry) depart(key string, own bool) {
	delete(r.nodes, key)
	if !own && len(r.gone) < maxNodes {
		r.gone[key] = true
	}
	if r.crowded {
		signal(r.again)
	}
}

// sweep removes the messages by which nodes went off the list. Of one that has
// reported since it removes nothing. Gateways with accounts of their own have names
// that do not change, and a management node that may not remove messages.
func (r *Registry) sweep(ctx context.Context) error {
	r.mu.Lock()
	gone := r.gone
	r.gone = make(map[string]bool)
	r.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	stream, err := r.link.js.Stream(ctx, "KV_"+r.link.cfg.nodesBucket())
	if err != nil {
		return err
	}
	for key := range gone {
		subject := r.link.cfg.nodesSubject(key)
		m, err := stream.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err == nil && isGone(key, m.Header, m.Data) {
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(m.Sequence+1))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isGone reports whether a message takes its node off the list.
func isGone(key string, header nats.Header, data []byte) bool {
	if op := header.Get("KV-Operation"); op == "DEL" || op == "PURGE" {
		return true
	}
	rep, err := parseReport(key, data)
	return err == nil && rep.Left
}
