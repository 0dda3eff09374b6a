package natsfeed

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ipallow/ipallow"
)

// Options are the choices for [Follow]. The zero value of each field stands
// for its default.
type Options struct {
	// Checkpoint is the path of a file that holds the last known state of the
	// bucket, so that a node can start while NATS cannot be reached, and need
	// not load the whole bucket when it can. It is written with mode 0600,
	// because it holds what Value.Meta holds; its directory must exist. Beside it a file with the suffix
	// ".lock" keeps a second process out. Default (empty): none. Without it, a
	// node that starts during an outage denies everything until it ends.
	Checkpoint string

	// CheckpointInterval is how often the file is flushed to the disk, and
	// how precisely it knows how old it is. Changes are handed to the kernel
	// at once; a power loss loses those of the last interval, and the feed
	// gets them again. Default 5 s, at least 10 ms.
	CheckpointInterval time.Duration

	// StartWait is how long Follow waits for NATS before it starts from the
	// checkpoint alone. Default 5 s. Negative: not at all.
	StartWait time.Duration

	// RefuseStale is how old what the node knows may be until [Feed.Usable]
	// returns an error, so that whoever asks it refuses requests. Default 0: a
	// node that lost its feed goes on for ever. At least twice CheckInterval.
	//
	// It bounds how long a key that was revoked or narrowed elsewhere is served by
	// a node that cannot hear of it, also after starts from a checkpoint: a
	// checkpoint says how old it was when it was written, which is at least every
	// CheckpointInterval, and the time since is added. For that the calendar is trusted,
	// but while the machine was not started again its uptime counts at least (on Linux),
	// and a calendar that is behind the checkpoint makes its age unknown, which is too
	// old. So a calendar that is set back while the machine is off can hide no more than
	// the time for which the node was down.
	RefuseStale time.Duration

	// Before is called with each batch before it is in force in the engine,
	// and After when it is. What makes requests be served belongs into After,
	// and what takes that away into Before: a key that is new becomes known
	// when its list is in force, and a key that is deleted is unknown before
	// its list goes. They are called from one goroutine, one at a time, and
	// delay the feed. They may read the engine and must not change it; they
	// must not call Feed.Close.
	Before, After func(*Batch)

	// OnFault, when not nil, is told about each value that cannot be used. It
	// is called as Before is.
	OnFault func(Fault)

	// Heartbeat is the interval in which the server shows that the feed's
	// consumer is alive; two missed ones end it and begin it anew where it
	// was. Default 1 s, 500 ms to 15 s.
	Heartbeat time.Duration

	// CheckInterval is how often the feed asks for the stream's last sequence
	// and compares it with its own. It bounds how long a consumer that is
	// alive and delivers nothing goes unnoticed, and how precise
	// Status.Staleness is. Default 3 s, or a quarter of RefuseStale if that is
	// less; at least 50 ms. Each check is a request of 0.1 kB with an answer of
	// about 1 kB.
	CheckInterval time.Duration

	// RequestTimeout bounds each request to NATS. A connection that does not
	// answer even a ping in this time is closed and made anew. Default 2 s, at
	// least 50 ms.
	RequestTimeout time.Duration

	// Consumer is the name of a consumer that [CreateConsumer] has made for this
	// feed alone. Default (empty): the feed makes one itself, and deletes it.
	//
	// Whoever may make a consumer chooses where the server delivers its messages,
	// also into the bucket. With this option a node needs no such right: see
	// [CreateConsumer]. It needs nats-server 2.14 or later.
	Consumer string

	// MaxBatch is the most messages that become one step of the engine.
	// Default 4096.
	MaxBatch int

	// RequireConfirm makes the first load wait until the bucket has been
	// confirmed with [Confirm]. A node that starts without a checkpoint while
	// a re-created bucket is being filled would take the keys that are not
	// there yet for unrestricted ones. Default false, because it waits for
	// ever where nobody calls Confirm.
	RequireConfirm bool

	// AcceptMissing takes the bucket's word for it that a key which is missing
	// has no list: also if the bucket is empty, was re-created, purged, or
	// rolled back. Default false. Danger: one mistake with the bucket opens
	// every key on every node.
	AcceptMissing bool

	// AllowExpiry follows a bucket whose configuration lets lists disappear on
	// their own: one with a TTL, or one that discards old values when it is
	// full. It implies AcceptMissing. Default false: Follow refuses them.
	// Danger: a list that expires opens its key.
	AllowExpiry bool

	// Logger is told when the feed's state changes: a line a change, none in
	// normal operation. Default (nil): nothing is logged.
	Logger *slog.Logger
}

func (o *Options) withDefaults() (Options, error) {
	var v Options
	if o != nil {
		v = *o
	}
	def := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	def(&v.CheckpointInterval, 5*time.Second)
	def(&v.StartWait, 5*time.Second)
	def(&v.Heartbeat, time.Second)
	if v.RefuseStale > 0 {
		def(&v.CheckInterval, min(3*time.Second, max(v.RefuseStale/4, 50*time.Millisecond)))
	}
	def(&v.CheckInterval, 3*time.Second)
	def(&v.RequestTimeout, 2*time.Second)
	if v.MaxBatch == 0 {
		v.MaxBatch = 4096
	}
	if v.AllowExpiry {
		v.AcceptMissing = true
	}
	if v.Logger == nil {
		v.Logger = slog.New(slog.DiscardHandler)
	}
	if v.OnFault == nil {
		v.OnFault = func(Fault) {}
	}
	if v.Before == nil {
		v.Before = func(*Batch) {}
	}
	if v.After == nil {
		v.After = func(*Batch) {}
	}
	switch {
	case v.CheckpointInterval < 10*time.Millisecond:
		return v, fmt.Errorf("natsfeed: CheckpointInterval is %v and must be at least 10 ms", v.CheckpointInterval)
	case v.Heartbeat < 500*time.Millisecond || v.Heartbeat > 15*time.Second:
		return v, fmt.Errorf("natsfeed: Heartbeat is %v and must be 500 ms to 15 s", v.Heartbeat)
	case v.CheckInterval < 50*time.Millisecond:
		return v, fmt.Errorf("natsfeed: CheckInterval is %v and must be at least 50 ms", v.CheckInterval)
	case v.RefuseStale < 0 || v.RefuseStale > 0 && v.RefuseStale < 2*v.CheckInterval:
		return v, fmt.Errorf("natsfeed: RefuseStale is %v and must be 0 or at least twice CheckInterval, %v", v.RefuseStale, v.CheckInterval)
	case v.RequestTimeout < 50*time.Millisecond:
		return v, fmt.Errorf("natsfeed: RequestTimeout is %v and must be at least 50 ms", v.RequestTimeout)
	case v.MaxBatch < 1:
		return v, fmt.Errorf("natsfeed: MaxBatch is %d and must be at least 1", v.MaxBatch)
	}
	return v, nil
}

// Nobody is the entry of a key that must not be served because its value
// cannot be read: one address of the documentation block of RFC 3849, which is
// routed nowhere, so that no connection can come from it. Every policy that
// accepts an IPv6 address accepts it, unlike one of the ranges that are no
// client's, such as the discard-only block.
var Nobody = ipallow.Entry{Prefix: netip.MustParsePrefix("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128")}

// ConnOptions are options for a connection that a feed can live with: it never
// gives up reconnecting, the first attempt included, tries again within a
// second, and notices a dead peer or a server that hangs in 6 s. Options of yours may follow.
func ConnOptions() []nats.Option {
	return []nats.Option{
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a server whose users are changed refuses for a moment
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		nats.Timeout(2 * time.Second),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
	}
}

// Errors of Follow, Feed.Ready, Publish and Unpublish, for errors.Is.
var (
	// ErrEmpty says that the bucket holds nothing at all, which is taken for
	// the loss of its content.
	ErrEmpty = errors.New("natsfeed: the bucket is empty; publish what it should hold, or call Confirm if it is meant to hold nothing")

	// ErrUnconfirmed says that Options.RequireConfirm is set and the bucket
	// has not been confirmed.
	ErrUnconfirmed = errors.New("natsfeed: the bucket has not been confirmed; call Confirm when it holds all lists")

	// ErrMissing says that keys are missing from the bucket and keep their
	// lists.
	ErrMissing = errors.New("natsfeed: keys are missing from the bucket and keep their lists; publish them again, or call Confirm if they are meant to be gone")

	// ErrStale says that the feed has not heard from the bucket for too long.
	ErrStale = errors.New("natsfeed: the lists may be out of date")

	// ErrExpires says that the bucket's configuration lets lists disappear on
	// their own.
	ErrExpires = errors.New("natsfeed: lists would disappear from this bucket on their own and open their keys; give it no TTL and let it refuse new values when full, or set Options.AllowExpiry")

	// ErrNotLoaded says that the engine has no lists yet.
	ErrNotLoaded = errors.New("natsfeed: the lists have not been loaded")

	// ErrConnection says that the connection would give up.
	ErrConnection = errors.New("natsfeed: the connection gives up after some attempts; connect with nats.MaxReconnects(-1), or with ConnOptions")

	// ErrNoJetStream says that the server answers, and not as JetStream.
	ErrNoJetStream = errors.New("natsfeed: the NATS server answers no JetStream requests; start it with JetStream (nats-server -js), or allow it to this account")

	// ErrPolicy says that the engine's policy refuses Nobody.
	ErrPolicy = errors.New("natsfeed: the engine's policy refuses the entry that closes a key whose value cannot be read; allow at least one entry and IPv6 networks of /128")

	// ErrCheckpoint says that the checkpoint file cannot be used.
	ErrCheckpoint = errors.New("natsfeed: the checkpoint file cannot be used")

	// ErrLocked says that another feed uses the checkpoint file.
	ErrLocked = errors.New("natsfeed: another process uses this checkpoint file; give each node its own")

	// ErrNoConsumer says that the consumer of Options.Consumer cannot be used.
	ErrNoConsumer = errors.New("natsfeed: the consumer does not answer; make it with CreateConsumer if it does not exist")

	// ErrClosed says that the feed is closed.
	ErrClosed = errors.New("natsfeed: the feed is closed")

	// ErrConflict says that the key's revision is not the expected one.
	ErrConflict = errors.New("natsfeed: somebody else changed the key meanwhile; read it again and repeat the change")

	// ErrNotFound says that the bucket has no value for the key.
	ErrNotFound = errors.New("natsfeed: the bucket has no value for this key")
)
