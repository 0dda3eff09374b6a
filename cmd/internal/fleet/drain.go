package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/usagelog"
)

const (
	// drainMessages and drainBytes bound what the stream sends ahead.
	drainMessages = 128
	drainBytes    = 16 << 20

	// drainRecords is about how many records are stored in one transaction.
	drainRecords = 8192

	// ackWait is how long the stream waits for an acknowledgement before it
	// sends a message again: to a management that was killed and has
	// started again, for instance.
	ackWait = 5 * time.Second

	// storeTimeout bounds an attempt to store.
	storeTimeout = 30 * time.Second

	// maxQuarantine is how many messages are kept that cannot be read, and
	// nodeQuarantine how many of one node.
	maxQuarantine  = 1000
	nodeQuarantine = 50

	// laterAgain is when a message comes again that cannot be kept now, or
	// not be read yet.
	laterAgain = 30 * time.Second
)

// consumerName is the name of the consumer that the log is. Where the fleet has
// an owner, its claim follows.
const consumerName = "management"

// An Ownership says whether this server may take the fleet's records. A
// *Publisher is one.
type Ownership interface {
	Owned() <-chan struct{}
	Lost() <-chan struct{}
	Verify(ctx context.Context) error
	Claim() string
}

// A DrainStatus is the state of a Drain at one moment.
type DrainStatus struct {
	Err      error  // why records do not come; nil if they do
	Messages uint64 // whose records are stored
	Records  uint64 // in them, those included that came again
	Damaged  uint64 // messages that could not be read
	Last     string // the last of these
	Waiting  uint64 // messages in the stream, as of the last look
}

// A Log is where the fleet's records go. A *logstore.Store is one: it knows records
// that it has, and one node's push out no other one's.
type Log interface {
	AppendParts(ctx context.Context, parts []logstore.Part) error
}

// A Drain brings the records of the fleet's stream into the log.
type Drain struct {
	link  *Link
	owner Ownership
	store Log
	ring  *keyring.Ring
	dir   string // of messages that cannot be read
	said  complaints
	loop  loop

	mu sync.Mutex
	st DrainStatus
}

// NewDrain begins to bring records into the store as soon as the server is the
// fleet's owner, and until it is not any more, and marks the ring's keys as used.
// Messages that cannot be read are kept in the directory, which is made when it is
// needed.
func NewDrain(link *Link, owner Ownership, store Log, ring *keyring.Ring, dir string) *Drain {
	d := &Drain{link: link, owner: owner, store: store, ring: ring, dir: dir}
	d.loop = loop{link: link, name: "the usage stream", session: d.session, note: d.note}
	d.loop.start()
	return d
}

// Close ends it. What is in the stream stays there.
func (d *Drain) Close() { d.loop.close() }

// Status returns the state of this moment.
func (d *Drain) Status() DrainStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.st
}

func (d *Drain) note(err error) { d.with(func(s *DrainStatus) { s.Err = err }) }

func (d *Drain) with(fn func(*DrainStatus)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fn(&d.st)
}

// errNotOwner says that another server takes the records.
var errNotOwner = errors.New("this server is not the fleet's management node")

// session has one consumer's messages until something is wrong.
func (d *Drain) session(ctx context.Context) error {
	select {
	case <-d.owner.Owned():
	case <-d.owner.Lost():
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-d.owner.Lost():
		d.note(errNotOwner)
		<-ctx.Done()
		return ctx.Err()
	default:
	}
	cons, err := d.consumer(ctx)
	if err != nil {
		return err
	}
	pull, err := newPull(d.link.nc, d.link.cfg.usageStream(), cons.CachedInfo().Name)
	if err != nil {
		return fmt.Errorf("pull usage records: %w", err)
	}
	defer pull.stop()
	d.note(nil)
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	var silent checked
	for {
		select {
		case m := <-pull.in:
			batch, err := pull.batch(m)
			if err != nil {
				return fmt.Errorf("pull usage records: %w", err)
			}
			if len(batch) == 0 {
				continue
			}
			if err := d.take(ctx, batch); err != nil {
				return err
			}
			silent.moved = true
		case <-pull.silence.C:
			if err := pull.quiet(); err != nil {
				return fmt.Errorf("pull usage records: %w", err)
			}
		case <-check.C:
			if err := d.check(ctx, cons, &silent); err != nil {
				return err
			}
		case <-d.owner.Lost():
			return errNotOwner
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// consumer makes the owner's consumer in the place of an earlier owner's, which
// gets nothing from then on. The server is asked again whether it is the owner
// when the consumer is there: if it is not, the consumer is one that the true
// owner deletes, or has yet to.
func (d *Drain) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	stream, err := d.link.openUsage(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.owner.Verify(ctx); err != nil {
		return nil, err
	}
	name := consumerName + "-" + d.owner.Claim()
	names := stream.ConsumerNames(ctx)
	for other := range names.Name() {
		if other == name {
			continue
		}
		if err := stream.DeleteConsumer(ctx, other); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, fmt.Errorf("delete consumer %s of stream %s: %w", other, d.link.cfg.usageStream(), err)
		}
	}
	if err := names.Err(); err != nil {
		return nil, fmt.Errorf("consumers of stream %s: %w", d.link.cfg.usageStream(), err)
	}
	cons, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1,
		// Messages that wait for a later program count as delivered; a limit would
		// let those of one node hold up all others. The pulls bound what is sent.
		MaxAckPending: -1,
	})
	if err != nil {
		return nil, fmt.Errorf("consumer %s of stream %s: %w", name, d.link.cfg.usageStream(), err)
	}
	if err := d.owner.Verify(ctx); err != nil {
		_ = stream.DeleteConsumer(ctx, name) // the owner does, or has
		return nil, err
	}
	return cons, nil
}

// checked is how often in a row there were messages and none came.
type checked struct {
	moved bool
	times int
}

// check notices a consumer that is alive and delivers nothing.
func (d *Drain) check(ctx context.Context, cons jetstream.Consumer, c *checked) error {
	rctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := cons.Info(rctx)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return err
	case err != nil:
		return nil // heartbeats tell whether it lives
	}
	d.with(func(s *DrainStatus) { s.Waiting = info.NumPending + uint64(max(info.NumAckPending, 0)) }) // #nosec G115 -- not negative
	if c.moved || info.NumPending == 0 {
		*c = checked{}
		return nil
	}
	if c.times++; c.times == 3 {
		return errors.New("the consumer delivers nothing although there are messages")
	}
	return nil
}

// take stores the records of messages and acknowledges them.
func (d *Drain) take(ctx context.Context, batch []*nats.Msg) error {
	var h haul
	for i, m := range batch {
		node := d.link.cfg.originOf(m.Subject)
		records, err := unpack(nil, m.Data)
		if err != nil {
			d.quarantine(m, err)
			continue
		}
		own(node, records, time.Now())
		h.add(node, records, m)
		if h.records < drainRecords && i < len(batch)-1 {
			continue
		}
		if err := d.save(ctx, h, batch[i+1:]); err != nil {
			return err
		}
		h = haul{}
	}
	if h.records == 0 {
		return nil
	}
	return d.save(ctx, h, nil)
}

// A haul is what is stored in one transaction: the records of some messages, by
// node.
type haul struct {
	parts    []logstore.Part
	records  int
	messages []*nats.Msg
}

func (h *haul) add(node string, records []usagelog.Record, m *nats.Msg) {
	h.messages, h.records = append(h.messages, m), h.records+len(records)
	for i := range h.parts {
		if p := &h.parts[i]; p.Node == node {
			p.Records = append(p.Records, records...)
			return
		}
	}
	h.parts = append(h.parts, logstore.Part{Node: node, Records: records})
}

// save stores records, however long that takes, and acknowledges their
// messages. The stream is told meanwhile that all is well with these and with
// those that wait.
func (d *Drain) save(ctx context.Context, h haul, waiting []*nats.Msg) error {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		sctx, cancel := context.WithTimeout(ctx, storeTimeout)
		err := d.store.AppendParts(sctx, h.parts)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err() // they come again
		}
		if err == nil {
			break
		}
		d.note(fmt.Errorf("usage records cannot be stored and stay in the stream: %w", err))
		for _, list := range [][]*nats.Msg{h.messages, waiting} {
			for _, m := range list {
				_ = m.InProgress() // or it comes again, and is recognised
			}
		}
		sleep(ctx, pause)
	}
	for _, p := range h.parts {
		d.mark(p.Records)
	}
	for _, m := range h.messages {
		if err := m.Ack(); err != nil {
			return fmt.Errorf("acknowledge: %w", err) // it comes again, and is recognised
		}
	}
	d.with(func(s *DrainStatus) {
		s.Err = nil
		s.Messages += uint64(len(h.messages))
		s.Records += uint64(h.records)
	})
	return nil
}

// mark marks keys as used. The time is the gateway's, whose clock may be
// ahead.
func (d *Drain) mark(records []usagelog.Record) {
	now := time.Now()
	for i := range records {
		r := &records[i]
		switch r.Status {
		case 0, http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable:
			continue
		}
		if k := d.ring.Get(r.KeyID); k != nil {
			if r.Time.Before(now) {
				k.Used(r.Time)
			} else {
				k.Used(now)
			}
		}
	}
}

// quarantine puts a message aside that cannot be read, so that it holds up no
// other one.
func (d *Drain) quarantine(m *nats.Msg, reason error) {
	what := m.Subject
	file := "unnumbered.msg"
	if meta, err := m.Metadata(); err == nil {
		what = fmt.Sprintf("message %d of stream %s (%s)", meta.Sequence.Stream, meta.Stream, m.Subject)
		file = fmt.Sprintf("%d-%d.msg", meta.Timestamp.UnixNano(), meta.Sequence.Stream)
	}
	if errors.Is(reason, errNewer) {
		d.later(m, what, reason)
		return
	}
	node := d.link.cfg.originOf(m.Subject)
	file = fileOf(node) + file
	kept := filepath.Join(d.dir, file)
	err := errQuarantineFull
	if !d.said.full(node, false) {
		err = d.keep(node, file, m.Data)
	}
	switch {
	case errors.Is(err, errQuarantineFull):
		d.said.full(node, true)
		kept = "not: " + err.Error()
	case err != nil:
		d.later(m, what, fmt.Errorf("it cannot be put aside: %w", err))
		return
	}
	if unsaid, ok := d.said.say(node); ok {
		d.link.logger.Error("usage records are lost: a message cannot be read", "node", node, "message", what, "error", reason,
			"kept", kept, "others_since_last_line", unsaid)
	}
	d.with(func(s *DrainStatus) {
		s.Damaged++
		s.Last = fmt.Sprintf("%s: %v", what, reason)
	})
	if err := m.Term(); err != nil {
		d.link.logger.Warn("a message that cannot be read will come again", "error", err)
	}
}

// later has a message come again after a while. Nothing of it is lost, and it
// holds up no other one.
func (d *Drain) later(m *nats.Msg, what string, reason error) {
	node := d.link.cfg.originOf(m.Subject)
	if unsaid, ok := d.said.say(node); ok {
		d.link.logger.Warn("a usage message waits in the stream", "node", node, "message", what, "error", reason, "others_since_last_line", unsaid)
	}
	d.with(func(s *DrainStatus) { s.Last = fmt.Sprintf("%s waits: %v", what, reason) })
	_ = m.NakWithDelay(laterAgain) // or it comes again sooner
}

// errQuarantineFull says that no more messages are put aside.
var errQuarantineFull = errors.New("too many are there already")

// keep puts a node's message aside, on the disk.
func (d *Drain) keep(node, file string, data []byte) error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	list, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	ofNode := 0
	for _, f := range list {
		if strings.HasPrefix(f.Name(), fileOf(node)) {
			ofNode++
		}
	}
	if len(list) >= maxQuarantine || ofNode >= nodeQuarantine {
		return fmt.Errorf("%w: %d in %s, %d of this node", errQuarantineFull, len(list), d.dir, ofNode)
	}
	f, err := os.OpenFile(filepath.Join(d.dir, file), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
