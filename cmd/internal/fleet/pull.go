package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pullExpires is how long a request for messages is good for.
	pullExpires = 30 * time.Second

	// pullHeartbeat is how often the server says that a request waits.
	pullHeartbeat = time.Second
)

// A pull asks a consumer for messages, one request after the other.
//
// jetstream's Consume takes an empty message with a header Status for word of the
// server, and a gateway may send what it likes. Here a message is what comes with
// the consumer's reply subject, which the server writes, whatever its headers are;
// what comes without a reply subject is the server's own.
type pull struct {
	nc               *nats.Conn
	stream, consumer string
	sub              *nats.Subscription
	in               chan *nats.Msg
	body             []byte
	inbox            string
	requests         int    // made
	reply            string // of the last one: what is said of an earlier one does not count
	left             int    // messages that the last one may still bring
	silence          *time.Timer
}

// newPull begins to ask.
func newPull(nc *nats.Conn, stream, consumer string) (*pull, error) {
	p := &pull{nc: nc, stream: stream, consumer: consumer, inbox: nc.NewInbox()}
	var err error
	p.body, err = json.Marshal(map[string]any{
		"batch": drainMessages, "max_bytes": drainBytes, "expires": pullExpires, "idle_heartbeat": pullHeartbeat,
	})
	if err != nil {
		return nil, err
	}
	// While nobody reads, a request brings its messages and a heartbeat a second.
	p.in = make(chan *nats.Msg, drainMessages+2*int(pullExpires/pullHeartbeat))
	if p.sub, err = nc.ChanSubscribe(p.inbox+".*", p.in); err != nil {
		return nil, err
	}
	p.silence = time.NewTimer(2 * pullHeartbeat)
	if err := p.ask(); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// stop ends it. What the server has sent comes again.
func (p *pull) stop() {
	p.silence.Stop()
	_ = p.sub.Unsubscribe() // the connection may be gone
}

func (p *pull) ask() error {
	p.requests++
	p.reply, p.left = fmt.Sprintf("%s.%d", p.inbox, p.requests), drainMessages
	return p.nc.PublishRequest(jetstream.DefaultAPIPrefix+"CONSUMER.MSG.NEXT."+p.stream+"."+p.consumer, p.reply, p.body)
}

// batch returns the messages among m and what has come meanwhile.
func (p *pull) batch(m *nats.Msg) (list []*nats.Msg, err error) {
	p.silence.Reset(2 * pullHeartbeat)
	for {
		is, err := p.look(m)
		if err != nil {
			return nil, err
		}
		if is {
			list = append(list, m)
		}
		if p.left == 0 {
			if err := p.ask(); err != nil {
				return nil, err
			}
		}
		if len(list) == drainMessages {
			return list, nil
		}
		select {
		case m = <-p.in:
		default:
			return list, nil
		}
	}
}

// look reports whether m is a message, and otherwise does what the server says.
func (p *pull) look(m *nats.Msg) (bool, error) {
	if m.Reply != "" {
		meta, err := m.Metadata()
		if err != nil || meta.Stream != p.stream || meta.Consumer != p.consumer {
			return false, fmt.Errorf("a message came that is not of consumer %s: its reply subject is %.200q", p.consumer, m.Reply)
		}
		p.left--
		return true, nil
	}
	status, text := m.Header.Get("Status"), m.Header.Get("Description")
	switch {
	case status == "100", m.Subject != p.reply: // a heartbeat, or of a request that has ended
	case status == "404", status == "408", status == "409" && !strings.Contains(text, "Consumer"):
		p.left = 0 // the request has ended: by its time, by its bytes, or with its server
	default:
		return false, fmt.Errorf("the consumer says %.20s %.200s", status, text)
	}
	return false, nil
}

// errNoHeartbeat says that the server does not say that it is there.
var errNoHeartbeat = errors.New("the server has said nothing for two heartbeats")

// quiet is called when silence fires. What came while nobody read is there.
func (p *pull) quiet() error {
	if len(p.in) == 0 {
		return errNoHeartbeat
	}
	p.silence.Reset(2 * pullHeartbeat)
	return nil
}
