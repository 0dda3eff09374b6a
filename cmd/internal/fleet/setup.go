package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ownerKey is what the keys' bucket has in its metadata of the database that
// publishes to it.
const ownerKey = "ipallow.database"

// duplicates is how long streams that nodes write to recognise a message that
// comes again, which is the shortest time that NATS has: the server keeps the IDs
// in memory, of any length. The log recognises records without end, and a report
// may come twice.
const duplicates = 100 * time.Millisecond

// nodeMessages is how many messages of one node the stream holds, and
// nodeMessageBytes how long each may be: that of packetBytes, with room. A node
// sends some five a second; what does not fit waits in its write-ahead file.
const (
	nodeMessages     = 2048
	nodeMessageBytes = 320 << 10
)

// openKeys returns the keys' bucket, which it makes if there is none, and its
// stream's state.
func (l *Link) openKeys(ctx context.Context, identity string) (jetstream.KeyValue, *jetstream.StreamInfo, error) {
	kv, err := l.js.KeyValue(ctx, l.cfg.keysBucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = l.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: l.cfg.keysBucket(), Description: "ipallow: API keys and their allowlists",
			Replicas: max(1, l.cfg.Replicas), Metadata: map[string]string{ownerKey: identity},
		})
		if err == nil {
			l.logger.Info("the bucket of keys is made", "bucket", l.cfg.keysBucket(), "replicas", max(1, l.cfg.Replicas))
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("bucket %s: %w", l.cfg.keysBucket(), err)
	}
	info, err := l.keysInfo(ctx)
	if err != nil {
		return nil, nil, err
	}
	return kv, info, nil
}

// setMetadata names the owner's database in the bucket's metadata, which is
// what is left of it if somebody purges the bucket.
func (l *Link) setMetadata(ctx context.Context, info *jetstream.StreamInfo, identity string) error {
	if info.Config.Metadata[ownerKey] == identity {
		return nil
	}
	cfg := info.Config
	cfg.Metadata = maps.Clone(cfg.Metadata)
	if cfg.Metadata == nil {
		cfg.Metadata = make(map[string]string)
	}
	cfg.Metadata[ownerKey] = identity
	if _, err := l.js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("bucket %s: %w", l.cfg.keysBucket(), err)
	}
	return nil
}

// replicate gives a stream as many replicas as --nats-replicas asks for.
func (l *Link) replicate(ctx context.Context, cfg jetstream.StreamConfig) error {
	want := l.cfg.Replicas
	if want == 0 || cfg.Replicas == want {
		return nil
	}
	had := cfg.Replicas
	cfg.Replicas = want
	if _, err := l.js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("--nats-replicas: %s has %d and cannot be given %d: %w", cfg.Name, had, want, err)
	}
	l.logger.Info("the number of replicas is changed", "stream", cfg.Name, "from", had, "to", want)
	return nil
}

// keysInfo asks for the state of the keys' stream.
func (l *Link) keysInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := l.request(ctx)
	defer cancel()
	stream, err := l.js.Stream(ctx, "KV_"+l.cfg.keysBucket())
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", l.cfg.keysBucket(), err)
	}
	return stream.CachedInfo(), nil
}

// openNodes returns the nodes' bucket, which it makes if there is none.
//
// A node writes to it under its own name. A message that says "roll up" would
// remove all others from the stream, and a bucket takes such messages unless it
// is told not to. Reports have no age: a gateway that was forgotten would not be
// asked whether it has a revocation, and may serve.
func (l *Link) openNodes(ctx context.Context) (jetstream.KeyValue, error) {
	name := l.cfg.nodesBucket()
	kv, err := l.js.KeyValue(ctx, name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = l.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: name, Description: "ipallow: the last report of each node",
			Replicas: max(1, l.cfg.Replicas), MaxValueSize: 2 * reportBytes,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	stream, err := l.js.Stream(ctx, "KV_"+name)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	if cfg := stream.CachedInfo().Config; cfg.AllowRollup || cfg.Duplicates != duplicates || cfg.MaxAge != 0 {
		cfg.AllowRollup, cfg.Duplicates, cfg.MaxAge = false, duplicates, 0
		if _, err := l.js.UpdateStream(ctx, cfg); err != nil {
			return nil, fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	return kv, nil
}

// openUsage returns the stream of usage records, which the management makes. A
// message is there until the log has its records; when the stream is full, the
// gateways keep what does not fit.
func (l *Link) openUsage(ctx context.Context) (jetstream.Stream, error) {
	name := l.cfg.usageStream()
	stream, err := l.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = l.js.CreateStream(ctx, jetstream.StreamConfig{
			Name: name, Description: "ipallow: usage records on their way to the management's log",
			Subjects: []string{l.cfg.usageSubject() + ".>"}, Replicas: max(1, l.cfg.Replicas),
			Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Duplicates: duplicates,
			DenyDelete: true,
			// A node that sends without end fills its own share, and not the disk:
			// its next messages are refused, and those of others are not.
			MaxMsgsPerSubject: nodeMessages, DiscardNewPerSubject: true, MaxMsgSize: nodeMessageBytes,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	if cfg := stream.CachedInfo().Config; cfg.MaxAge > 0 || cfg.Discard != jetstream.DiscardNew && (cfg.MaxBytes > 0 || cfg.MaxMsgs > 0) ||
		cfg.MaxMsgsPerSubject > 0 && !cfg.DiscardNewPerSubject {
		return nil, fmt.Errorf("stream %s: its limits would let usage records disappear; give it no age, no limit a subject, and discard policy new", name)
	}
	if stream.CachedInfo().Config.Retention != jetstream.WorkQueuePolicy {
		return nil, fmt.Errorf("stream %s: it would drop or never drop usage records; make it with retention policy \"workqueue\"", name)
	}
	if cfg := stream.CachedInfo().Config; cfg.Duplicates != duplicates { // an earlier version's
		cfg.Duplicates = duplicates
		if _, err := l.js.UpdateStream(ctx, cfg); err != nil {
			return nil, fmt.Errorf("stream %s: %w", name, err)
		}
	}
	return stream, nil
}
