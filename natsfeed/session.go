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

	// inactive is how long a consumer that the feed made outlives its session.
	inactive = 30 * time.Second
)

// session reports whether it got as far as following, and why it ended.
func (f *Feed) session(ctx context.Context) (bool, error) {
	if !f.nc.IsConnected() {
		return false, errDisconnected
	}
	info, err := f.state(ctx)
	if err != nil {
		return false, err
	}
	if err := f.vet(info); err != nil {
		return false, err
	}
	whole, err := f.plan(ctx, info)
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
	stop, err := f.consume(ctx, s, info.Config.Name, whole)
	if err != nil {
		return false, err
	}
	defer stop()

	if whole {
		s.load = newLoad(info, f.names.seed)
	}
	f.exact = true // while there was no consumer, markers may have come and gone
	return true, f.follow(ctx, s, status)
}

// consume begins to hand messages to the session, and returns how to end that:
// from a consumer that is made for it, or from that of Options.Consumer.
func (f *Feed) consume(ctx context.Context, s *session, stream string, whole bool) (stop func(), err error) {
	rctx, cancel := context.WithTimeout(ctx, f.o.RequestTimeout)
	defer cancel()
	if f.o.Consumer != "" {
		first := uint64(1) // of a load
		if !whole {
			first = f.rev + 1
		}
		if _, err := f.reset(rctx, f.o.Consumer, first); err != nil {
			return nil, f.requestFailed(ctx, err)
		}
		p, err := f.pull(s, f.o.Consumer)
		if err != nil {
			return nil, fmt.Errorf("natsfeed: consume: %w", err)
		}
		return p.Stop, nil
	}
	cfg := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: inactive,
	}
	if whole {
		cfg.DeliverPolicy, cfg.FilterSubject = jetstream.DeliverLastPerSubjectPolicy, ">"
	} else {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, f.rev+1
	}
	cons, err := f.js.CreateConsumer(rctx, stream, cfg)
	if err != nil {
		return nil, f.requestFailed(ctx, fmt.Errorf("natsfeed: create a consumer: %w", err))
	}
	p, err := f.pull(s, cons.CachedInfo().Name)
	if err != nil {
		return nil, fmt.Errorf("natsfeed: consume: %w", err)
	}
	return func() { p.Stop(); f.discard(stream, cons) }, nil
}

// follow takes messages and checks until something is wrong.
func (f *Feed) follow(ctx context.Context, s *session, status <-chan nats.Status) error {
	tick := time.NewTicker(f.o.CheckInterval)
	defer tick.Stop()
	save := time.NewTicker(f.o.CheckpointInterval)
	defer save.Stop()
	f.with(func(st *state) { st.sessions++ })
	s.moved = time.Now()
	f.ask(ctx, s)
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
			f.ask(ctx, s)
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
			f.ask(ctx, s)
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
func (s *session) handle(m *nats.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		s.fail(fmt.Errorf("natsfeed: a message without metadata: %w", err))
		return
	}
	s.arrived(meta.Sequence.Consumer, message{
		name: nameOf(m.Subject), seq: meta.Sequence.Stream, time: meta.Timestamp,
		pending: meta.NumPending, data: m.Data,
	}, m.Header)
}

// arrived is called with each message and its number in the consumer's order.
func (s *session) arrived(number uint64, m message, h nats.Header) {
	if s.dseq++; number != s.dseq {
		s.fail(errOutOfOrder)
		return
	}
	if len(h) > 0 {
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

// state returns the state of the bucket's stream.
func (f *Feed) state(ctx context.Context) (*jetstream.StreamInfo, error) {
	rctx, cancel := context.WithTimeout(ctx, f.o.RequestTimeout)
	defer cancel()
	if f.o.Consumer != "" {
		after, last := f.rev, f.last
		if f.created.IsZero() || f.reload {
			after, last = 0, 0
		}
		info, err := f.look(rctx, after, last)
		if err != nil {
			return nil, f.requestFailed(ctx, err)
		}
		return info, nil
	}
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
	return stream.CachedInfo(), nil
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

// discard deletes a consumer that the feed made, in the background, as a
// courtesy: the server would do it by itself later.
func (f *Feed) discard(stream string, cons jetstream.Consumer) {
	if !f.nc.IsConnected() {
		return
	}
	name := cons.CachedInfo().Name
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), f.o.RequestTimeout)
		defer cancel()
		_ = f.js.DeleteConsumer(ctx, stream, name)
	}()
}

// jitter returns half of d to one and a half of it, so that the nodes of a
// fleet do not all come at the same moment.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d+1) }
