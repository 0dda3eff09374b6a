package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow/natsfeed"
	"github.com/ipallow/ipallow/usagelog"
)

// A Sink is the usagelog.Store of a gateway: it keeps records in the fleet's
// stream. They are read where the management's log is.
type Sink struct {
	link    *Link
	subject string
}

var _ usagelog.Store = (*Sink)(nil)

// NewSink returns the sink of a node with this name.
func NewSink(link *Link, node string) (*Sink, error) {
	name, err := natsfeed.KeyName(node)
	if err != nil {
		return nil, err
	}
	return &Sink{link: link, subject: link.cfg.usageSubject() + "." + name}, nil
}

// Append implements usagelog.Store: a nil error means that the stream has
// the records, as durably as it has anything. While NATS cannot be reached it
// waits as long as ctx allows. No record is ever at fault, which its error says.
func (s *Sink) Append(ctx context.Context, records []usagelog.Record) error {
	for _, p := range packets(records) {
		if err := s.link.await(ctx); err != nil {
			return fmt.Errorf("%w: %w", usagelog.ErrUnavailable, err)
		}
		if err := s.publish(ctx, p); err != nil {
			return fmt.Errorf("%w: usage records stay here: %w", usagelog.ErrUnavailable, err)
		}
	}
	return nil
}

// publish sends a packet until it is acknowledged. It has no message ID, which the
// server would keep in memory: the log recognises each record by its own.
func (s *Sink) publish(ctx context.Context, packet []byte) error {
	msg := &nats.Msg{Subject: s.subject, Data: packet}
	pause := minPause
	for {
		rctx, cancel := s.link.request(ctx)
		_, err := s.link.js.PublishMsg(rctx, msg, jetstream.WithExpectStream(s.link.cfg.usageStream()))
		cancel()
		var api *jetstream.APIError
		if err == nil || ctx.Err() != nil || errors.As(err, &api) {
			return err // such as a stream that is full
		}
		if !s.link.Connected() {
			if err := s.link.await(ctx); err != nil {
				return err
			}
			pause = minPause
		}
		sleep(ctx, pause)
		pause = min(2*pause, maxPause)
	}
}

// ErrReadElsewhere is the error of a Sink that is asked for records.
var ErrReadElsewhere = errors.New("a gateway keeps no usage log; ask the management node")

// Query implements usagelog.Store.
func (s *Sink) Query(context.Context, usagelog.Query) (usagelog.Page, error) {
	return usagelog.Page{}, ErrReadElsewhere
}

// Stream implements usagelog.Store.
func (s *Sink) Stream(context.Context, usagelog.Filter) iter.Seq2[usagelog.Record, error] {
	return func(yield func(usagelog.Record, error) bool) { yield(usagelog.Record{}, ErrReadElsewhere) }
}
