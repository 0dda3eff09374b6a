package natsfeed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// checkSuffix ends the name of the second consumer of a node, by which it asks
// what the bucket has.
const checkSuffix = "=check"

// createdKey is what the consumers have in their metadata of when the bucket was
// created.
const createdKey = "natsfeed.created"

// forgotten is how long consumers that CreateConsumer made are kept for a node that
// is away.
const forgotten = 7 * 24 * time.Hour

// maxWaiting is how many requests for messages may wait at a consumer. A feed has one, and
// those of lost connections stay for a while. To each the server sends heartbeats as often as
// it asks, through a queue that all consumers of the bucket share and that has no bound.
const maxWaiting = 16

// CreateConsumer makes the consumers of a node, or leaves them as they are if they
// exist. The node follows with the name in [Options.Consumer]: it can move them to
// another sequence of the bucket and pull messages, and needs no right to make one.
//
// That matters where nodes are not to be trusted with each other's lists. NATS
// checks neither the reply subject of a request nor the delivery subject of a
// consumer, so a node that shares an account with the bucket can have the server
// write to it, whatever its own rights are. Give each node a NATS account of its
// own, without JetStream, that imports these services from the bucket's account
// and nothing else (docs/fleet.md has the configuration):
//
//	$JS.API.CONSUMER.RESET.KV_bucket.name       $JS.API.CONSUMER.RESET.KV_bucket.name=check
//	$JS.API.CONSUMER.MSG.NEXT.KV_bucket.name    $JS.API.CONSUMER.MSG.NEXT.KV_bucket.name=check
//
// They are answered by the node's own consumers. Requests for information would not
// be: those of all nodes share a queue of the server, which one node could fill.
//
// The name has letters, digits, "-" and "_". The consumers belong to one feed: a
// second one with the name would take messages away, which both notice, and
// neither would come far. They keep nothing on the disk, have as many replicas as
// the bucket, and are gone after a week without their feed, or with the bucket: make
// them again then.
//
// How far the bucket is can be found in a moment without a change, of which there
// are enough at a thousand changes a second. At many thousands without a pause a feed
// applies them and does not know that it is up to date.
//
// The bucket must have a history of 1. The error wraps ErrExpires if lists would
// disappear from it on their own, or is that of NATS.
func CreateConsumer(ctx context.Context, js jetstream.JetStream, bucket, name string) error {
	stream, err := js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return fmt.Errorf("natsfeed: look up the bucket: %w", err)
	}
	info := stream.CachedInfo()
	switch {
	case expires(info):
		return ErrExpires
	case info.Config.MaxMsgsPerSubject != 1:
		return fmt.Errorf("natsfeed: the bucket %q has a history of %d, and nodes with consumers of their own need 1", bucket, info.Config.MaxMsgsPerSubject)
	}
	for _, name := range ConsumerNames(name) {
		_, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: name, AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy, MemoryStorage: true,
			MaxWaiting: maxWaiting, InactiveThreshold: forgotten, Metadata: map[string]string{createdKey: info.Created.Format(time.RFC3339Nano)},
		})
		if err != nil && !errors.Is(err, jetstream.ErrConsumerExists) {
			return fmt.Errorf("natsfeed: create the consumer %q: %w", name, err)
		}
	}
	return nil
}

// ConsumerNames returns the names of the consumers that CreateConsumer makes for a
// node.
func ConsumerNames(name string) []string { return []string{name + checkSuffix, name} }

// reset moves a consumer to a sequence, and returns what it says of itself.
func (f *Feed) reset(ctx context.Context, consumer string, seq uint64) (*jetstream.ConsumerInfo, error) {
	resp, err := f.js.ResetConsumerToSequence(ctx, "KV_"+f.bucket, consumer, seq)
	if err != nil {
		return nil, fmt.Errorf("%w (%s: %w)", ErrNoConsumer, consumer, err)
	}
	return resp.ConsumerInfo, nil
}

// look returns the stream's state as the second consumer tells it, by how many
// messages there are from a sequence on. A bucket with a history of 1 has as many
// names as messages.
//
// The last sequence is found from one that is known: of n messages behind it, the
// last has a number that is higher by n at least; and when there are none behind
// what was found so, that is the last. Last is the sequence of a message that must
// still be there, or later ones; 0: of none.
func (f *Feed) look(ctx context.Context, after, last uint64) (*jetstream.StreamInfo, error) {
	check := f.o.Consumer + checkSuffix
	if last > 0 {
		info, err := f.reset(ctx, check, last)
		if err != nil {
			return nil, err
		}
		if info.NumPending == 0 { // the server has lost it
			if info, err = f.reset(ctx, check, 1); err != nil {
				return nil, err
			}
			return streamInfo(info, last-1, info.NumPending)
		}
	}
	for {
		info, err := f.reset(ctx, check, after+1)
		if err != nil {
			return nil, err
		}
		if info.NumPending > 0 {
			after += info.NumPending
			continue
		}
		all, err := f.reset(ctx, check, 1)
		if err != nil {
			return nil, err
		}
		if info, err = f.reset(ctx, check, after+1); err != nil {
			return nil, err
		}
		if info.NumPending == 0 { // or something came meanwhile
			return streamInfo(info, after, all.NumPending)
		}
		after += info.NumPending
	}
}

func streamInfo(info *jetstream.ConsumerInfo, last, names uint64) (*jetstream.StreamInfo, error) {
	created, err := time.Parse(time.RFC3339Nano, info.Config.Metadata[createdKey])
	if err != nil {
		return nil, fmt.Errorf("natsfeed: the consumer %q was not made with CreateConsumer: %w", info.Name, err)
	}
	return &jetstream.StreamInfo{
		Config: jetstream.StreamConfig{Name: info.Stream}, Created: created, Cluster: info.Cluster,
		State: jetstream.StreamState{Msgs: names, NumSubjects: names, LastSeq: last},
	}, nil
}

// firstFrom returns the first message that the stream has from a sequence on.
func (f *Feed) firstFrom(ctx context.Context, seq uint64) (m stored, err error) {
	check := f.o.Consumer + checkSuffix
	info, err := f.reset(ctx, check, seq)
	if err != nil {
		return m, err
	}
	if info.NumPending == 0 {
		return m, jetstream.ErrMsgNotFound
	}
	msg, err := f.nc.RequestWithContext(ctx, f.nextSubject(check), []byte(`{"batch":1,"expires":1000000000}`))
	if err != nil {
		return m, err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return m, fmt.Errorf("natsfeed: the first message from %d on: %w", seq, err)
	}
	return stored{Seq: meta.Sequence.Stream, Time: meta.Timestamp}, nil
}

// nextSubject is where a consumer's messages are asked for.
func (f *Feed) nextSubject(consumer string) string {
	return apiPrefix(f.js) + "CONSUMER.MSG.NEXT.KV_" + f.bucket + "." + consumer
}
