package natsfeed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// inactive is how long a consumer that the feed made outlives its session.
const inactive = 30 * time.Second

// CreateConsumer makes the consumer of a node, or leaves it as it is if it
// exists. The node follows with its name in [Options.Consumer]: it can move the
// consumer to another sequence of the bucket and pull messages, and needs no
// right to make one.
//
// That matters where nodes are not to be trusted with each other's lists. NATS
// checks neither the reply subject of a request nor the delivery subject of a
// consumer, so a node that shares an account with the bucket can have the server
// write to it, whatever its own rights are. Give each node a NATS account of its
// own, without JetStream, that imports these services from the bucket's account
// and nothing else (docs/fleet.md has the configuration):
//
//	STREAM.INFO.KV_bucket         CONSUMER.INFO.KV_bucket.name
//	STREAM.MSG.GET.KV_bucket      CONSUMER.RESET.KV_bucket.name
//	                              CONSUMER.MSG.NEXT.KV_bucket.name
//
// The name has letters, digits, "-" and "_". The consumer belongs to one feed: a
// second one with its name would take its messages away, which both notice, and
// neither would come far. It keeps nothing on the disk, lives as long as the
// bucket, and has as many replicas.
func CreateConsumer(ctx context.Context, js jetstream.JetStream, bucket, name string) error {
	_, err := js.CreateConsumer(ctx, "KV_"+bucket, jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy, MemoryStorage: true,
	})
	if err != nil && !errors.Is(err, jetstream.ErrConsumerExists) {
		return fmt.Errorf("natsfeed: create the consumer %q: %w", name, err)
	}
	return nil
}

// consumer returns a consumer of the stream that delivers the whole bucket, or
// what follows after the last message that was applied.
func (f *Feed) consumer(ctx context.Context, stream string, whole bool) (jetstream.Consumer, error) {
	ctx2, cancel := context.WithTimeout(ctx, f.o.RequestTimeout)
	defer cancel()
	if f.o.Consumer != "" {
		cons, err := f.reset(ctx2, stream, whole)
		if err != nil {
			return nil, f.requestFailed(ctx, err)
		}
		return cons, nil
	}
	cfg := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: inactive,
	}
	if whole {
		cfg.DeliverPolicy, cfg.FilterSubject = jetstream.DeliverLastPerSubjectPolicy, ">"
	} else {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, f.rev+1
	}
	cons, err := f.js.CreateConsumer(ctx2, stream, cfg)
	if err != nil {
		return nil, f.requestFailed(ctx, fmt.Errorf("natsfeed: create a consumer: %w", err))
	}
	return cons, nil
}

// reset moves the consumer of Options.Consumer. A load begins with the first
// message: the values of a name that has several come in their order, and the
// last one counts.
func (f *Feed) reset(ctx context.Context, stream string, whole bool) (jetstream.Consumer, error) {
	first := f.rev + 1
	if whole {
		first = 1
	}
	// A request for a consumer that does not exist has no answer, but this one.
	cons, err := f.js.Consumer(ctx, stream, f.o.Consumer)
	if err == nil {
		_, err = f.js.ResetConsumerToSequence(ctx, stream, f.o.Consumer, first)
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, fmt.Errorf("%w (%s)", ErrNoConsumer, f.o.Consumer)
	case err != nil:
		return nil, fmt.Errorf("natsfeed: reset the consumer %q: %w", f.o.Consumer, err)
	}
	return cons, nil
}

// discard deletes a consumer that the feed made, in the background, as a
// courtesy: the server would do it by itself later.
func (f *Feed) discard(stream string, cons jetstream.Consumer) {
	if f.o.Consumer != "" || !f.nc.IsConnected() {
		return
	}
	name := cons.CachedInfo().Name
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), f.o.RequestTimeout)
		defer cancel()
		_ = f.js.DeleteConsumer(ctx, stream, name)
	}()
}
