package natsfeed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A session is one consumer of the stream, from its creation to the first sign
// that something is wrong with it: a missed heartbeat, a lost connection, a
// sequence number too many. The next session begins where it ended.
//
// jetstream's ordered consumer would begin anew by itself, but it cannot ask
// first whether the stream is still the same one, and it waits up to ten
// seconds between two attempts, all the time that a change may take.
type session struct {
	in      chan message
	queued  atomic.Int64  // bytes in it
	room    chan struct{} // there are fewer of them
	quit    chan struct{} // closed when the session is over
	faults  chan error
	checked chan check
	load    *load // nil once the bucket is loaded
	audit   audit
	asked   bool      // a check is under way
	moved   time.Time // the last message or answer
	dseq    uint64    // the last message's number in this session; of the handler
}

// A message is one of the stream's.
type message struct {
	name    string // the subject without the bucket's prefix
	seq     uint64
	time    time.Time
	deleted bool
	pending uint64 // messages that come after it
	data    []byte
}

// Reasons for a session to end. Those that tell of a normal fault are not
// exported, because nothing follows from them for the caller.
var (
	errDisconnected = errors.New("natsfeed: the connection to NATS is lost")
	errOutOfOrder   = errors.New("natsfeed: the consumer left out messages")
	errStalled      = errors.New("natsfeed: the consumer delivers nothing although there are new messages")
	errOtherBucket  = errors.New("natsfeed: the bucket was re-created or rolled back")
	errLost         = errors.New("natsfeed: values have disappeared from the bucket")
	errReload       = errors.New("natsfeed: the bucket is to be loaded")
	errContact      = errors.New("natsfeed: the mirror has no contact with its origin")
)

const (
	// pullMessages and pullBytes are how much the server may send ahead: half
	// as many messages come with each round trip of a load.
	pullMessages = 16384
	pullBytes    = 2 * MaxValueSize

	// maxQueued bounds the values that wait, and with them a step.
	maxQueued = 32 << 20
)

// session reports whether it got as far as following, and why it ended.
func (f *Feed) session(ctx context.Context) (bool, error) {
	if !f.nc.IsConnected() {
		return false, errDisconnected
	}
	stream, err := f.stream(ctx)
	if err != nil {
		return false, err
	}
	info := stream.CachedInfo()
	if err := f.vet(info); err != nil {
		return false, err
	}
	whole, err := f.plan(ctx, info)
	if err != nil {
		return false, err
	}

	cons, err := f.consumer(ctx, info.Config.Name, whole)
	if err != nil {
		return false, err
	}

	s := &session{
		in: make(chan message, 1024), room: make(chan struct{}, 1), quit: make(chan struct{}),
		faults: make(chan error, 1), checked: make(chan check, 1),
	}
	defer close(s.quit)
	// The listener comes before the first message, so that no loss of the
	// connection is missed.
	status := f.nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer f.nc.RemoveStatusListener(status)
	consuming, err := cons.Consume(func(msg jetstream.Msg) { s.handle(msg); f.received.Add(1) },
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes),
		jetstream.PullHeartbeat(f.o.Heartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { s.fail(err) }))
	if err != nil {
		return false, fmt.Errorf("natsfeed: consume: %w", err)
	}
	defer f.discard(info.Config.Name, cons)
	defer consuming.Stop()

	if whole {
		s.load = newLoad(info, f.names.seed)
	}
	f.exact = true // while there was no consumer, markers may have come and gone
	return true, f.follow(ctx, s, stream, status)
}

// follow takes messages and checks until something is wrong.
func (f *Feed) follow(ctx context.Context, s *session, stream jetstream.Stream, status <-chan nats.Status) error {
	tick := time.NewTicker(f.o.CheckInterval)
	defer tick.Stop()
	save := time.NewTicker(f.o.CheckpointInterval)
	defer save.Stop()
	f.with(func(st *state) { st.sessions++ })
	s.moved = time.Now()
	f.ask(ctx, s, stream)
	batch := make([]message, 0, 64)
	for {
		select {
		case m := <-s.in:
			s.moved = time.Now()
			batch = s.more(append(batch[:0], m), f.o.MaxBatch)
			s.dequeued(batch)
			if err := f.take(s, batch); err != nil {
				return err
			}
			clear(batch) // values are not kept
		case c := <-s.checked:
			s.asked = false
			if err := f.judge(s, c); err != nil {
				return err
			}
		case <-tick.C:
			f.ask(ctx, s, stream)
		case <-save.C:
			f.tickCheckpoint()
		case err := <-s.faults:
			if f.o.Consumer != "" && errors.Is(err, errOutOfOrder) {
				return fmt.Errorf("%w; does another process use the consumer %q?", err, f.o.Consumer)
			}
			return f.requestFailed(ctx, err)
		case <-status:
			return errDisconnected
		case <-f.accept:
			f.acceptMissing()
			return errReload
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.audit.again && !s.asked {
			s.audit.again = false
			f.ask(ctx, s, stream)
		}
	}
}

// more appends what has arrived meanwhile, so that it becomes one step.
func (s *session) more(batch []message, limit int) []message {
	for len(batch) < limit {
		select {
		case m := <-s.in:
			batch = append(batch, m)
		default:
			return batch
		}
	}
	return batch
}

func (s *session) dequeued(batch []message) {
	n := 0
	for i := range batch {
		n += len(batch[i].data)
	}
	s.queued.Add(int64(-n))
	select {
	case s.room <- struct{}{}:
	default:
	}
}

// handle is called by nats.go with each message. It blocks while the feed is
// busy, which stops the server too.
func (s *session) handle(msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil {
		s.fail(fmt.Errorf("natsfeed: a message without metadata: %w", err))
		return
	}
	if s.dseq++; meta.Sequence.Consumer != s.dseq {
		s.fail(errOutOfOrder)
		return
	}
	m := message{
		name: nameOf(msg.Subject()), seq: meta.Sequence.Stream, time: meta.Timestamp,
		pending: meta.NumPending, data: msg.Data(),
	}
	if h := msg.Headers(); len(h) > 0 {
		op := h.Get("KV-Operation")
		m.deleted = op == "DEL" || op == "PURGE" || op == "" && h.Get(jetstream.MarkerReasonHeader) != ""
	}
	for s.queued.Add(int64(len(m.data))) > maxQueued && len(s.in) > 0 {
		s.queued.Add(int64(-len(m.data)))
		select {
		case <-s.room:
		case <-s.quit:
			return
		}
	}
	select {
	case s.in <- m:
	case <-s.quit:
	}
}

// nameOf cuts "$KV.bucket." off the subject, whatever the bucket is called: in
// a mirror it is the origin.
func nameOf(subject string) string {
	for range 2 {
		_, subject, _ = strings.Cut(subject, ".")
	}
	return subject
}

// fail ends the session; the first reason counts.
func (s *session) fail(err error) {
	select {
	case s.faults <- err:
	default:
	}
}

// stream looks the bucket up.
func (f *Feed) stream(ctx context.Context) (jetstream.Stream, error) {
	rctx, cancel := context.WithTimeout(ctx, f.o.RequestTimeout)
	defer cancel()
	stream, err := f.js.Stream(rctx, "KV_"+f.bucket)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("natsfeed: there is no bucket %q: %w", f.bucket, jetstream.ErrBucketNotFound)
	}
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return nil, fmt.Errorf("%w (%w)", ErrNoJetStream, err)
	}
	if err != nil {
		return nil, f.requestFailed(ctx, fmt.Errorf("natsfeed: look up the bucket: %w", err))
	}
	return stream, nil
}

// requestFailed makes the connection anew if it does not even answer a ping: a
// peer that is gone without a word would be noticed much later otherwise.
func (f *Feed) requestFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil || !f.nc.IsConnected() {
		return err
	}
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, jetstream.ErrNoHeartbeat) {
		return err
	}
	pctx, cancel := context.WithTimeout(ctx, f.o.RequestTimeout)
	defer cancel()
	if ping := f.nc.FlushWithContext(pctx); errors.Is(ping, context.DeadlineExceeded) {
		f.o.Logger.Warn("natsfeed: the connection does not answer; it is made anew", "server", f.nc.ConnectedAddr())
		if again := f.nc.ForceReconnect(); again != nil {
			return again
		}
	}
	return err
}

// jitter returns half of d to one and a half of it, so that the nodes of a
// fleet do not all come at the same moment.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d+1) }
