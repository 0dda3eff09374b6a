package natsfeed

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pullExpires is how long a request for messages is good for.
const pullExpires = 30 * time.Second

// A puller asks a consumer for messages, one request after the other.
//
// jetstream's Consume does more, and needs the right to ask for the consumer's
// state, in the queue that all nodes share.
type puller struct {
	f       *Feed
	s       *session
	sub     *nats.Subscription
	inbox   string
	request []byte
	left    int // of the request; of the handler
	silence *time.Timer
	busy    atomic.Bool // a message is being handled, and others wait
	stopped atomic.Bool
}

// pull begins to hand the messages of Options.Consumer to the session.
func (f *Feed) pull(s *session) (*puller, error) {
	p := &puller{f: f, s: s, inbox: f.nc.NewInbox()}
	var err error
	p.request, err = json.Marshal(map[string]any{
		"batch": pullMessages, "max_bytes": pullBytes, "expires": pullExpires, "idle_heartbeat": f.o.Heartbeat,
	})
	if err != nil {
		return nil, err
	}
	p.silence = time.AfterFunc(2*f.o.Heartbeat, p.silent)
	if p.sub, err = f.nc.Subscribe(p.inbox, p.take); err != nil {
		return nil, err
	}
	if err = p.sub.SetPendingLimits(-1, -1); err == nil { // the request bounds them
		err = p.ask()
	}
	if err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// Stop ends it. What the server still sends is dropped.
func (p *puller) Stop() {
	p.stopped.Store(true)
	p.silence.Stop()
	_ = p.sub.Unsubscribe() // or the connection is gone
}

func (p *puller) ask() error {
	p.left = pullMessages
	return p.f.nc.PublishRequest(p.f.nextSubject(p.f.o.Consumer), p.inbox, p.request)
}

// silent is called when nothing has come for two heartbeats.
func (p *puller) silent() {
	switch {
	case p.stopped.Load():
	case p.busy.Load():
		p.silence.Reset(2 * p.f.o.Heartbeat)
	default:
		p.s.fail(jetstream.ErrNoHeartbeat)
	}
}

// take is called by nats.go with each message, one at a time.
func (p *puller) take(m *nats.Msg) {
	p.busy.Store(true)
	defer p.busy.Store(false)
	if p.stopped.Load() {
		return
	}
	p.silence.Reset(2 * p.f.o.Heartbeat)
	status, text := m.Header.Get("Status"), m.Header.Get("Description")
	if len(m.Data) == 0 && status != "" {
		switch {
		case status == "100": // a heartbeat
			return
		case status == "408", status == "409" && !strings.Contains(text, "Consumer"):
			// The request has ended: by its time, by its bytes, or with its server.
		default:
			p.s.fail(fmt.Errorf("natsfeed: the consumer says %s %s", status, text))
			return
		}
		p.left = 0
	} else {
		meta, err := m.Metadata()
		if err != nil {
			p.s.fail(fmt.Errorf("natsfeed: a message without metadata: %w", err))
			return
		}
		p.s.arrived(meta.Sequence.Consumer, message{
			name: nameOf(m.Subject), seq: meta.Sequence.Stream, time: meta.Timestamp,
			pending: meta.NumPending, data: m.Data,
		}, m.Header)
		p.f.received.Add(1)
		p.left--
	}
	if p.left == 0 {
		if err := p.ask(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			p.s.fail(err)
		}
	}
}
