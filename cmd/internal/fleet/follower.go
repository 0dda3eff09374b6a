package fleet

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/natsfeed"
)

// A Follower keeps a gateway's engine and ring in step with the bucket of keys.
type Follower struct {
	// RefuseStale is natsfeed.Options.RefuseStale, to be set before Follow.
	RefuseStale time.Duration

	engine *ipallow.Engine
	ring   *keyring.Ring
	logger *slog.Logger

	loaded atomic.Bool
	first  chan struct{} // closed when it is
	feed   atomic.Pointer[natsfeed.Feed]

	mu     sync.Mutex
	faults map[string]Fault // keys whose Meta cannot be read
	faulty uint64           // how often one was met
}

// NewFollower returns a follower. Nobody else may change engine and ring. The
// engine denies until it is loaded (ipallow.Options.DenyUntilLoaded).
func NewFollower(engine *ipallow.Engine, ring *keyring.Ring, logger *slog.Logger) *Follower {
	return &Follower{
		engine: engine, ring: ring, logger: logger, first: make(chan struct{}), faults: make(map[string]Fault),
	}
}

// Follow follows the bucket from now on. It returns when what the checkpoint
// file holds is in force, or without one what the bucket holds; or with an error,
// such as that of ctx, or one that waiting does not mend. Close ends it.
func (f *Follower) Follow(ctx context.Context, link *Link, checkpoint string) error {
	opts := natsfeed.Options{
		Checkpoint: checkpoint, RequireConfirm: true, RefuseStale: f.RefuseStale, Consumer: link.cfg.Gateway,
		StartWait: -1, // requests are served from the checkpoint at once, and how old it is must be known
		Before:    f.before, After: f.after, Logger: f.logger,
		// A second at most until a dead line is noticed, and the figures of
		// staleness are of use to an operator.
		CheckInterval: 2 * time.Second,
	}
	if f.RefuseStale > 0 {
		opts.CheckInterval = min(opts.CheckInterval, f.RefuseStale/4)
	}
	feed, err := natsfeed.Follow(ctx, f.engine, link.js, link.cfg.keysBucket(), &opts)
	if err != nil {
		return err
	}
	f.feed.Store(feed)
	return nil
}

// Close ends following. Engine and ring stay as they are.
func (f *Follower) Close() { _ = f.feed.Load().Close() } // it has no errors

// Loaded reports whether engine and ring have what the bucket or the
// checkpoint held. Before that, nobody is served.
func (f *Follower) Loaded() bool { return f.loaded.Load() }

// First is closed when Loaded is true for the first time.
func (f *Follower) First() <-chan struct{} { return f.first }

// Status returns the state of the feed.
func (f *Follower) Status() natsfeed.Status {
	feed := f.feed.Load()
	st := feed.Status()
	if feed == nil {
		st.Err = natsfeed.ErrNotLoaded
	}
	return st
}

// Usable reports whether what is known is recent enough to be acted on. It is
// asked for each request.
func (f *Follower) Usable() bool { return f.RefuseStale == 0 || f.feed.Load().Usable() == nil }

// Ready returns why the node should get no requests now; nil if it should.
func (f *Follower) Ready(maxStale time.Duration) error {
	feed := f.feed.Load()
	switch {
	case !f.Loaded():
		return natsfeed.ErrNotLoaded
	case feed == nil:
		return errors.New("NATS has not yet said whether the lists are up to date")
	}
	return feed.Ready(maxStale)
}

// A Fault is a key whose value in the bucket is not what a gateway enforces.
type Fault struct {
	Key      string `json:"key_id"`   // what stands in its place in the bucket, if it is no key's
	Revision uint64 `json:"revision"` // of the value
	Closed   bool   `json:"closed"`   // nobody is served with the key
	Reason   string `json:"reason"`
}

// Faults returns how many keys have a value that is not in force as it is, how
// often one was met, and the keys of the lowest revisions, at most
// natsfeed.MaxFaults.
func (f *Follower) Faults() (now int, total uint64, named []Fault) {
	st := f.Status()
	for i := range st.Faults {
		fault := &st.Faults[i]
		named = append(named, Fault{cmp.Or(fault.Key, fault.Name), fault.Revision, fault.Closed, plainReason(fault.Err)})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.faults {
		named = append(named, fault)
	}
	slices.SortFunc(named, func(a, b Fault) int { return cmp.Compare(a.Revision, b.Revision) })
	return st.FaultsNow + len(f.faults), st.Faulty + f.faulty, named[:min(len(named), natsfeed.MaxFaults)]
}

// plainReason returns an error's text without the names of packages.
func plainReason(err error) string {
	return strings.TrimPrefix(err.Error(), "natsfeed: ")
}

// before takes away what must not be there any more when the step is in force.
//
// A request is authenticated by the ring first and then measured by the
// engine, so while a step is made it may meet the one as it was and the other
// as it will be. If a key's Meta and its list change together, it would be
// served by a state that never was: a new list with an old secret, say. So the
// ring gets what both states permit before the step, and the new state after
// it.
func (f *Follower) before(b *natsfeed.Batch) {
	if b.Reset {
		for k := range f.ring.All {
			if b.Gone(k.ID) {
				f.ring.Remove(k.ID)
			}
		}
	}
	now := f.engine.Snapshot()
	for c := range b.All() {
		old := f.ring.Get(c.Key)
		if old == nil {
			continue
		}
		if c.Deleted {
			f.ring.Remove(c.Key)
			continue
		}
		next, err := DecodeMeta(c.Key, c.Meta)
		if err != nil {
			if was, _ := now.Entries(c.Key); len(was) > 0 && len(c.Entries) == 0 {
				f.ring.Remove(c.Key) // nobody knows who may use it, and its list would not say
			}
			continue
		}
		if equal(old, next) {
			continue
		}
		if list, _ := now.Entries(c.Key); slices.Equal(list, c.Entries) {
			continue // the ring alone changes, which is one step
		}
		switch common := meet(old, next); {
		case common == nil:
			f.ring.Remove(c.Key)
		case !equal(common, old):
			f.ring.Put(common)
		}
	}
}

// after makes keys known whose lists are in force.
func (f *Follower) after(b *natsfeed.Batch) {
	faults := make(map[string]Fault)
	var good []string
	for c := range b.All() {
		if c.Deleted {
			good = append(good, c.Key)
			continue
		}
		next, err := DecodeMeta(c.Key, c.Meta)
		if err != nil {
			faults[c.Key] = Fault{Key: c.Key, Revision: c.Revision, Closed: f.ring.Get(c.Key) == nil, Reason: err.Error()}
			f.logger.Warn("a key's secret and scopes cannot be read; they stay as they were, unless its list ends", "key", c.Key, "revision", c.Revision, "error", err)
			continue
		}
		good = append(good, c.Key)
		if old := f.ring.Get(c.Key); old == nil || !equal(old, next) {
			f.ring.Put(next)
		}
	}
	f.mu.Lock()
	f.faulty += uint64(len(faults))
	if b.Reset {
		f.faults = faults
	} else {
		for _, id := range good {
			delete(f.faults, id)
		}
		maps.Copy(f.faults, faults)
	}
	f.mu.Unlock()
	if b.Reset && !f.loaded.Swap(true) {
		close(f.first)
	}
}

// equal reports whether requests are authenticated by both in the same way.
func equal(a, b *keyring.Key) bool {
	return a.Hash == b.Hash && a.Scopes == b.Scopes && a.ReportOnly == b.ReportOnly
}

// meet returns the key that permits what both permit; nil if that is nothing.
func meet(a, b *keyring.Key) *keyring.Key {
	if a.Hash != b.Hash {
		return nil
	}
	return &keyring.Key{ID: a.ID, Hash: a.Hash, Scopes: a.Scopes & b.Scopes, ReportOnly: a.ReportOnly && b.ReportOnly}
}
