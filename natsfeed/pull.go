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
// jetstream's Consume needs the right to ask for the consumer's state, in the queue
// that all nodes share, and takes an empty value with a header Status for word of
// the server's. Here a value is what comes with a reply subject, which the server
// writes.
type puller struct {
	f       *Feed
	s       *session
	next    string // where messages are asked for
	sub     *nats.Subscription
	inbox   string
	request []byte
	left    int // of the request; of the handler
	silence *time.Timer
	busy    atomic.Bool // a message is being handled, and others wait
	stopped atomic.Bool
}

// pull begins to hand the messages of a consumer to the session.
func (f *Feed) pull(s *session, consumer string) (*puller, error) {
	p := &puller{f: f, s: s, next: f.nextSubject(consumer), inbox: f.nc.NewInbox()}
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
	return p.f.nc.PublishRequest(p.next, p.inbox, p.request)
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
	if m.Reply == "" { // word of the server's; a value may have any header
		status, text := m.Header.Get("Status"), m.Header.Get("Description")
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
		p.s.handle(m)
		p.f.received.Add(1)
		p.left--
	}
	if p.left == 0 {
		if err := p.ask(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			p.s.fail(err)
		}
	}
}
