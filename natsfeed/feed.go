package natsfeed

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow"
)

// A Feed keeps an engine in step with a bucket. [Follow] makes one. All
// methods may be called from any number of goroutines; the nil Feed is never
// ready.
type Feed struct {
	engine *ipallow.Engine
	policy ipallow.Policy
	js     jetstream.JetStream
	nc     *nats.Conn
	bucket string
	o      Options

	cancel  context.CancelFunc
	done    chan struct{} // closed when run has ended
	started chan struct{} // closed when the engine is in step for the first time
	fatal   chan error    // what Follow must not wait out
	accept  chan struct{} // AcceptMissing was called

	// What follows belongs to the goroutine of run.
	place
	names      *tracker
	reload     bool    // the next session loads the bucket, whatever was seen of it
	gone       bool    // the next load takes missing keys for deleted ones
	exact      bool    // the next audit must find every deletion marker
	confirming confirm // the last Confirm; obeyed when an exact audit adds up
	ready      bool    // started is closed
	cp         *checkpoint
	changes    []Change // scratch of a batch

	received atomic.Uint64         // Status.Received
	proof    atomic.Pointer[proof] // nil: nothing is loaded

	mu sync.Mutex // guards what Status tells
	st state
}

// Follow makes the engine follow the bucket. It loads the whole bucket as one
// step of the engine, or resumes where the checkpoint file ends, and returns
// when all that the bucket held when Follow was called is in force. It waits
// for that until ctx is done: for NATS, for the bucket, and for something to
// be in it (see [ErrEmpty]). Afterwards ctx has no meaning: [Feed.Close] ends
// the feed.
//
// With Options.Checkpoint and a file that can be read, the file's lists are in
// force at once, and if NATS is not reached within Options.StartWait, Follow
// returns with them; Status.Source tells.
//
// Make the engine with DenyUntilLoaded, which the first load ends. Nobody else
// may change it: changes of others would be overwritten by some load.
//
// The connection must never give up reconnecting: see [ConnOptions]. If it
// stops answering, Follow closes and makes it anew (nats.Conn.ForceReconnect),
// so one that carries other traffic may better be another one.
//
// Follow takes the bucket's name and not a jetstream.KeyValue, because one
// cannot be had while NATS is unreachable.
func Follow(ctx context.Context, engine *ipallow.Engine, js jetstream.JetStream, bucket string, opts *Options) (*Feed, error) {
	if engine == nil {
		return nil, ipallow.ErrNoEngine
	}
	if js == nil {
		return nil, errors.New("natsfeed: the JetStream context is nil; make one with jetstream.New")
	}
	if bucket == "" {
		return nil, errors.New("natsfeed: the bucket's name is empty")
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if js.Conn().Opts.MaxReconnect >= 0 {
		return nil, ErrConnection
	}
	f := &Feed{
		engine: engine, policy: engine.Policy(), js: js, nc: js.Conn(), bucket: bucket, o: o,
		done: make(chan struct{}), started: make(chan struct{}), fatal: make(chan error, 1), accept: make(chan struct{}, 1),
		names: newTracker(maphash.MakeSeed(), 0),
	}
	f.st = state{faults: make(map[string]Fault)}
	if err := f.policy.Validate([]ipallow.Entry{Nobody}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	fromFile, err := f.openCheckpoint()
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go f.run(run)
	if err := f.await(ctx, fromFile); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// await waits until Follow may return.
func (f *Feed) await(ctx context.Context, fromFile bool) error {
	var enough <-chan time.Time // never, unless there is a checkpoint
	if fromFile {
		timer := time.NewTimer(max(f.o.StartWait, 0))
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-f.started:
		return nil
	case err := <-f.fatal:
		return err
	case <-enough:
		return nil
	case <-ctx.Done():
		if fromFile {
			return nil
		}
		if why := f.Status().Err; why != nil {
			return fmt.Errorf("%w (%w)", why, ctx.Err())
		}
		return fmt.Errorf("%w (%w)", ErrNotLoaded, ctx.Err())
	}
}

// Close ends the feed and returns when no hook is running and none will be
// called. The engine keeps its lists, the connection stays open.
func (f *Feed) Close() error {
	if f == nil {
		return nil
	}
	f.cancel()
	<-f.done
	return nil
}

// AcceptMissing says that the keys which are missing from the bucket are meant
// to be gone, for this node alone; [Confirm] says it to all. The feed loads the bucket
// anew and takes what is not in it for unrestricted.
func (f *Feed) AcceptMissing() {
	select {
	case f.accept <- struct{}{}:
	default: // it has been said already
	}
}

// minPause and maxPause bound the wait between two sessions. It is short,
// because nats.go waits itself while the connection is down.
const (
	minPause = 20 * time.Millisecond
	maxPause = time.Second
)

// run has one session after the other.
func (f *Feed) run(ctx context.Context) {
	defer close(f.done)
	defer f.closed()
	pause := minPause
	for ctx.Err() == nil {
		fruitful, err := f.session(ctx)
		if ctx.Err() != nil {
			return
		}
		f.fail(err)
		if fruitful {
			pause = minPause
		}
		f.rest(ctx, pause)
		pause = min(2*pause, maxPause)
	}
}

// rest waits for about d, and longer while there is no connection.
func (f *Feed) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(jitter(d))
	defer timer.Stop()
	status := f.nc.StatusChanged(nats.CONNECTED)
	defer f.nc.RemoveStatusListener(status)
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.accept:
			f.acceptMissing()
			return
		case <-status:
			return // at once: the fewest changes have been missed
		case <-timer.C:
			if f.nc.IsConnected() {
				return
			}
			f.tickCheckpoint()
			timer.Reset(maxPause)
		}
	}
}

func (f *Feed) acceptMissing() {
	f.gone, f.reload = true, true
	f.o.Logger.Warn("natsfeed: keys that are missing from the bucket are taken for deleted", "bucket", f.bucket)
}
