package natsfeed

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow"
)

// PublishOptions are the choices for [Publish] and [Unpublish]. Nil means the
// defaults.
type PublishOptions struct {
	// ExpectRevision is the revision that the key must have in the bucket;
	// with another one, nothing changes and the error wraps ErrConflict.
	// Default (0): whatever it has.
	ExpectRevision uint64

	// Create demands that the bucket has no value for the key. Only for
	// Publish.
	Create bool

	// Meta is Value.Meta. Only for Publish.
	Meta []byte

	// Policy is what the list must keep. It should be no wider than that of
	// the engines which follow: a list that an engine's policy refuses is a
	// fault there. Default (nil): ipallow.DefaultPolicy().
	Policy *ipallow.Policy
}

// Publish gives the key a list in the bucket, in place of the one it had, and
// returns the value's revision. When it returns without an error, the value is
// as durable as the bucket, and every feed whose Status.Revision is at least
// that revision enforces it. An empty list makes the key unrestricted.
//
// The error is an [*ipallow.ValidationError], or wraps ipallow.ErrKeyLength,
// ErrConflict or ErrTooLarge, or is that of NATS. After a timeout the value may
// be stored or not: publish it again, or read it with [Get].
//
// The most that a value can be is the server's maximal payload, 1 MiB by
// default: with it, a list of 200,000 IPv4 addresses fits, or of 116,000 IPv6
// networks of /64 or of 61,000 IPv6 addresses, without labels.
func Publish(ctx context.Context, kv jetstream.KeyValue, key string, entries []ipallow.Entry, opts *PublishOptions) (uint64, error) {
	if opts == nil {
		opts = new(PublishOptions)
	}
	name, err := KeyName(key)
	if err != nil {
		return 0, err
	}
	policy := ipallow.DefaultPolicy()
	if opts.Policy != nil {
		policy = *opts.Policy
	}
	if err := policy.Validate(entries); err != nil {
		return 0, err
	}
	data, err := AppendValue(nil, Value{Entries: entries, Meta: opts.Meta})
	if err != nil {
		return 0, err
	}
	var rev uint64
	switch {
	case opts.Create && opts.ExpectRevision != 0:
		return 0, errors.New("natsfeed: PublishOptions has both Create and ExpectRevision; set one of them")
	case opts.Create:
		rev, err = kv.Create(ctx, name, data)
	case opts.ExpectRevision != 0:
		rev, err = kv.Update(ctx, name, data, opts.ExpectRevision)
	default:
		rev, err = kv.Put(ctx, name, data)
	}
	if err != nil {
		return 0, writeError(err, len(data))
	}
	return rev, nil
}

// Unpublish deletes the key from the bucket, which makes it unrestricted, and
// returns a revision: every feed whose Status.Revision is at least that high
// has done so. A deletion marker remains in the bucket; nodes that were cut
// off learn of the deletion by it, see [Confirm]. A key that the bucket does
// not have is no error.
//
// The error wraps ipallow.ErrKeyLength or ErrConflict, or is that of NATS.
func Unpublish(ctx context.Context, kv jetstream.KeyValue, key string, opts *PublishOptions) (uint64, error) {
	name, err := KeyName(key)
	if err != nil {
		return 0, err
	}
	var del []jetstream.KVDeleteOpt
	if opts != nil && opts.ExpectRevision != 0 {
		del = append(del, jetstream.LastRevision(opts.ExpectRevision))
	}
	if err := kv.Delete(ctx, name, del...); err != nil {
		return 0, writeError(err, 0)
	}
	// A deletion does not tell its own revision; the stream's last one is as
	// good to wait for.
	status, err := kv.Status(ctx)
	if err != nil {
		return 0, fmt.Errorf("natsfeed: the key is deleted, its revision is not known: %w", err)
	}
	bucket, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return 0, fmt.Errorf("natsfeed: the key is deleted, its revision is not known: status is a %T", status)
	}
	return bucket.StreamInfo().State.LastSeq, nil
}

// Get returns the value of the key in the bucket and its revision. The error
// wraps ErrNotFound, or is one of DecodeValue or of NATS.
func Get(ctx context.Context, kv jetstream.KeyValue, key string) (Value, uint64, error) {
	name, err := KeyName(key)
	if err != nil {
		return Value{}, 0, err
	}
	entry, err := kv.Get(ctx, name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Value{}, 0, ErrNotFound
	}
	if err != nil {
		return Value{}, 0, fmt.Errorf("natsfeed: get: %w", err)
	}
	v, err := DecodeValue(entry.Value())
	return v, entry.Revision(), err
}

// Confirm states that the bucket holds the lists of all keys that have one. It
// is what a publisher calls when it has filled a new bucket, one that was
// re-created, or one that lost data, and after jetstream.KeyValue.PurgeDeletes
// if nodes may have been cut off for longer than that leaves markers. Feeds that kept
// the lists of missing keys let go of them; feeds that found the bucket empty,
// or wait for Options.RequireConfirm, load it.
//
// It writes one small value under a name that is no key's, and returns its
// revision.
func Confirm(ctx context.Context, kv jetstream.KeyValue) (uint64, error) {
	rev, err := kv.Put(ctx, reservedConfirm, []byte{Version})
	if err != nil {
		return 0, writeError(err, 1)
	}
	return rev, nil
}

// errCodeMessageSize is JetStream's code for a message that is larger than the
// stream's limit.
const errCodeMessageSize = 10054

func writeError(err error, size int) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrKeyRevisionMismatch), errors.Is(err, jetstream.ErrKeyExists):
		return fmt.Errorf("%w (%w)", ErrConflict, err)
	case errors.Is(err, nats.ErrMaxPayload), errors.As(err, &api) && api.ErrorCode == errCodeMessageSize:
		return fmt.Errorf("%w for this server or bucket: it has %d bytes (%w)", ErrTooLarge, size, err)
	}
	return fmt.Errorf("natsfeed: publish: %w", err)
}
