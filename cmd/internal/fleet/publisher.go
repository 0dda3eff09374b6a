package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// Source is what a Publisher publishes. A *manage.Service with an outbox is
// one.
type Source interface {
	Claimant
	Refuse(reason string)
	Changed() <-chan struct{}
	Outbox(ctx context.Context, after int64, limit int) ([]manage.OutboxRow, error)
	OutboxLen(ctx context.Context) (int, time.Time, error)
	OutboxOf(ctx context.Context, id string) (int64, error)
	Published(ctx context.Context, seqs []int64) error
	Publication(ctx context.Context, id string) (manage.Publication, error)
	Publications(ctx context.Context, yield func(manage.Publication) error) error
}

const (
	// publishers is how many keys are published at once. Each waits for an
	// acknowledgement.
	publishers = 128

	// outboxPage is how many rows are read at once.
	outboxPage = 1000

	// forgetEvery is how long rows wait that are in the bucket, so that many
	// are deleted together: each time the disk is waited for, and with it the
	// next change.
	forgetEvery = 100 * time.Millisecond

	// lateAfter is how long a change may wait until the bucket is said not to be
	// in step. A working NATS takes milliseconds.
	lateAfter = 5 * time.Second

	// stuckPause is how long a key waits that cannot be published as it is.
	stuckPause = 30 * time.Second
)

// A PublisherStatus is the state of a Publisher at one moment.
type PublisherStatus struct {
	InStep     bool      // the bucket has what the database has, but for changes of the last seconds
	Err        error     // why not, or what failed last and was not made good; nil if all is well
	Outbox     int       // changes that are not known to be in the bucket, or were not a moment ago
	Oldest     time.Time // when the first of them was made; zero if there is none
	Waiting    int       // of Outbox, those that the bucket does not have
	Revision   uint64    // the bucket's last one
	Created    time.Time // of the bucket
	Published  uint64    // values
	Removed    uint64    // keys
	Failures   uint64    // of publishing, each of which is tried again
	Conflicts  uint64    // values that were not as they were left
	Reconciled uint64    // times that the whole bucket was compared
	Epoch      uint64    // of this server as the fleet's owner; 0: it is not, or not yet
	Fenced     string    // why it is not and will not be, and what to do; "" if it may
	Replicas   error     // why --nats-replicas could not be obeyed
}

// A Publisher brings the changes of a management database into the bucket of
// keys. It belongs to one goroutine and its workers.
type Publisher struct {
	link   *Link
	src    Source
	policy ipallow.Policy
	loop   loop
	work   *work

	line   *line
	owned  chan struct{}      // closed when the server is the owner
	lost   chan struct{}      // closed when it is not, for ever
	answer *nats.Subscription // tells others that the owner is there

	// Of the session's goroutine:
	seen       int64 // the last row of the outbox that was added to work
	kv         jetstream.KeyValue
	created    time.Time
	replicated time.Time // when --nats-replicas was tried last
	hasConfirm bool      // the bucket has a Confirm, of whatever age

	// keeps, of a Center, reports whether a gateway that follows the bucket and has
	// obeyed the Confirm keeps keys that have disappeared. Then again is told.
	keeps atomic.Pointer[func(created time.Time, last confirmation) bool]
	again chan struct{}

	// Of the goroutine that watches the bucket:
	confirmedAgain time.Time
	confirmPause   time.Duration

	mu        sync.Mutex
	last      time.Time // of the last comparison, or of what it led to
	known     map[string]version
	confirmed confirmation // of the session
	st        PublisherStatus
	stuck     map[string]error // keys that cannot be published as they are
}

// A version is what the bucket has of a key. The zero version is that of a key
// that the bucket does not know.
type version struct {
	rev   uint64 // of the value or the deletion marker; unsure: ask the bucket
	sum   uint64 // of the value
	value bool   // it is no marker
}

const unsure = ^uint64(0)

// NewPublisher begins to publish. Values must keep the policy.
func NewPublisher(link *Link, src Source, policy ipallow.Policy) *Publisher {
	p := &Publisher{
		link: link, src: src, policy: policy, work: newWork(), line: newLine(link, keyring.NewID()+keyring.NewID()),
		owned: make(chan struct{}), lost: make(chan struct{}), again: make(chan struct{}, 1),
		known: make(map[string]version), stuck: make(map[string]error),
	}
	p.line.mine = src.HasClaim
	p.loop = loop{link: link, name: "publishing", outlive: true, session: p.session, note: p.note}
	// Also while NATS is down, what was fenced before is.
	reason, err := src.Fence(context.Background(), link.cfg.keysBucket())
	if err != nil {
		reason = fmt.Sprintf("The database cannot tell whether it may publish: %v.", err)
	}
	if reason != "" {
		if !strings.Contains(reason, adoptHint) { // such as that of a restored backup
			reason += " " + idleHint + " " + adoptHint
		}
		p.fence(&FencedError{reason})
	}
	p.loop.start()
	return p
}

// Close ends publishing. What is in the outbox stays there for the next start.
func (p *Publisher) Close() {
	p.loop.close()
	if p.answer != nil {
		_ = p.answer.Unsubscribe() // the connection may be gone already
	}
}

// Owned is closed when the server has become the fleet's owner.
func (p *Publisher) Owned() <-chan struct{} { return p.owned }

// Lost is closed when it is not the owner, and will not be until it starts
// again.
func (p *Publisher) Lost() <-chan struct{} { return p.lost }

// Claim is what tells this process as owner from every other one.
func (p *Publisher) Claim() string { return p.line.claim }

// Verify asks the bucket whether the server is the owner now.
func (p *Publisher) Verify(ctx context.Context) error {
	ctx, cancel := p.link.request(ctx)
	defer cancel()
	own, _, err := p.link.readOwner(ctx)
	if err == nil && own.Claim != p.line.claim {
		err = fencedBy(own)
	}
	return err
}

// fence ends publishing for good.
func (p *Publisher) fence(f *FencedError) {
	p.src.Refuse(f.Reason)
	p.with(func(s *PublisherStatus) {
		s.Fenced, s.Epoch, s.InStep, s.Err = f.Reason, 0, false, f
		select {
		case <-p.lost:
		default:
			close(p.lost)
		}
	})
	p.link.logger.Error("this server is not the fleet's management node", "bucket", p.link.cfg.keysBucket(), "reason", f.Reason)
	if err := p.src.SetFence(context.Background(), p.link.cfg.keysBucket(), f.Reason); err != nil {
		p.link.logger.Error("it cannot be stored that the database must not publish", "error", err)
	}
}

// Status returns the state of this moment. The outbox is counted in the
// database.
func (p *Publisher) Status(ctx context.Context) PublisherStatus {
	n, oldest, err := p.src.OutboxLen(ctx)
	done := p.work.doneLen()
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.st
	st.Outbox, st.Oldest, st.Waiting = n, oldest, max(0, n-done)
	if !p.link.Connected() {
		st.InStep, st.Err = false, errNotConnected
	} else if !oldest.IsZero() && time.Since(oldest) > lateAfter {
		st.InStep = false
	}
	if st.Err == nil {
		st.Err = err
	}
	st.Err = errors.Join(st.Err, st.Replicas)
	for id, err := range p.stuck {
		st.Err = errors.Join(st.Err, fmt.Errorf("key %s: %w", id, err))
		break // one says enough
	}
	return st
}

// Revision returns the bucket's last revision, as far as it is known.
func (p *Publisher) Revision() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st.Revision
}

// Created returns when the bucket was created, as far as it is known.
func (p *Publisher) Created() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st.Created
}

func (p *Publisher) note(err error) {
	if isFenced(err) {
		return // fence has said so
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.st.InStep, p.st.Err = false, err
}

func (p *Publisher) with(fn func(*PublisherStatus)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn(&p.st)
}

// session becomes the owner, compares the bucket with the database, and then
// publishes changes as they come, until something is wrong.
func (p *Publisher) session(ctx context.Context) (err error) {
	select {
	case <-p.lost:
		return &FencedError{p.fencedBecause()}
	default:
	}
	defer func() {
		if f := (*FencedError)(nil); errors.As(err, &f) {
			p.fence(f)
			if p.answer != nil {
				_ = p.answer.Unsubscribe() // it is not there any more
			}
			err = f
		}
	}()
	kv, info, err := p.link.openKeys(ctx, p.src.Identity())
	if err != nil {
		return err
	}
	last, err := p.own(ctx, info)
	if err != nil {
		return err
	}
	p.kv, p.created = kv, info.Created
	p.with(func(s *PublisherStatus) { s.Created, s.Revision = info.Created, last })
	p.setConfirm(confirmation{}) // what is found differs from what was known
	if err := p.compare(ctx, last); err != nil {
		return err
	}
	taking, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer stop()
	faults := make(chan error, publishers+1)
	for range publishers {
		workers.Go(func() { p.worker(ctx, taking, faults) })
	}
	workers.Go(func() { p.forget(taking) })
	confirmed := new(atomic.Bool)
	workers.Go(func() { faults <- p.watch(taking, confirmed) })
	return p.follow(ctx, confirmed, faults)
}

// own makes the server the owner, and returns the number of the message that
// says so.
func (p *Publisher) own(ctx context.Context, info *jetstream.StreamInfo) (uint64, error) {
	c := claim{link: p.link, src: p.src, line: p.line}
	own, err := c.make(ctx, info, false)
	if err != nil {
		return 0, err
	}
	if p.answer == nil {
		p.answer, err = p.link.nc.Subscribe(p.link.cfg.ownerSubject(), func(m *nats.Msg) { _ = m.Respond([]byte(p.line.claim)) })
		if err != nil {
			return 0, fmt.Errorf("answer that the owner is here: %w", err)
		}
		close(p.owned)
		p.link.logger.Info("this server is the fleet's management node", "bucket", p.link.cfg.keysBucket(), "epoch", own.Epoch)
	}
	p.with(func(s *PublisherStatus) { s.Epoch = own.Epoch })
	err = p.link.setMetadata(ctx, info, own.Database)
	p.replicate(ctx)
	return p.line.sent(), err
}

// replicate obeys --nats-replicas. A cluster that has not enough servers is no
// reason not to publish.
func (p *Publisher) replicate(ctx context.Context) {
	if p.link.cfg.Replicas == 0 {
		return // as they are
	}
	var errs []error
	for _, name := range []string{"KV_" + p.link.cfg.keysBucket(), "KV_" + p.link.cfg.nodesBucket(), p.link.cfg.usageStream()} {
		rctx, cancel := p.link.request(ctx)
		stream, err := p.link.js.Stream(rctx, name)
		if err == nil {
			err = p.link.replicate(rctx, stream.CachedInfo().Config)
		}
		cancel()
		if !errors.Is(err, jetstream.ErrStreamNotFound) { // it is made with that number
			errs = append(errs, err)
		}
	}
	err := plain(errors.Join(errs...))
	p.replicated = time.Now()
	if err != nil && fmt.Sprint(err) != fmt.Sprint(p.replicas()) {
		p.link.logger.Warn("the number of replicas could not be changed", "error", err)
	}
	p.with(func(s *PublisherStatus) { s.Replicas = err })
}

// replicateEvery is how often --nats-replicas is tried again that could not be
// obeyed: a cluster may just be starting, or lack a server for a while.
const replicateEvery = 10 * time.Second

// replicateAgain is called by the one goroutine that watches the bucket.
func (p *Publisher) replicateAgain(ctx context.Context) {
	if p.replicas() != nil && time.Since(p.replicated) > replicateEvery {
		p.replicate(ctx)
	}
}

func (p *Publisher) replicas() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st.Replicas
}

func (p *Publisher) fencedBecause() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st.Fenced
}

// follow gives the workers what is to be done.
func (p *Publisher) follow(ctx context.Context, confirmed *atomic.Bool, faults <-chan error) error {
	again := time.NewTicker(checkEvery) // nothing is lost if a signal is
	defer again.Stop()
	settled := p.work.settled
	for {
		if err := p.readOutbox(ctx); err != nil {
			return err
		}
		if !confirmed.Load() && p.work.left() == 0 {
			if err := p.confirm(ctx); err != nil {
				return err
			}
			confirmed.Store(true)
			settled = nil
		}
		select {
		case <-p.src.Changed():
		case <-settled:
		case <-again.C:
		case <-p.again:
			if confirmed.Load() && p.work.left() == 0 {
				if err := p.confirm(ctx); err != nil {
					return err
				}
			}
		case err := <-faults:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readOutbox adds the rows that came since the last time.
func (p *Publisher) readOutbox(ctx context.Context) error {
	for {
		rows, err := p.src.Outbox(ctx, p.seen, outboxPage)
		if err != nil {
			return fmt.Errorf("the outbox cannot be read: %w", err)
		}
		for _, r := range rows {
			p.work.add(r.KeyID, r.Seq)
			p.seen = r.Seq
		}
		if len(rows) < outboxPage {
			return nil
		}
	}
}

// forget deletes the rows whose changes are in the bucket. A row that is left
// by a kill costs a comparison at the next start.
func (p *Publisher) forget(ctx context.Context) {
	tick := time.NewTicker(forgetEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		rows := p.work.takeDone()
		if err := p.src.Published(ctx, rows); err != nil {
			p.work.giveBack(rows)
			p.with(func(s *PublisherStatus) { s.Err = fmt.Errorf("the outbox cannot be emptied: %w", err) })
		}
	}
}
