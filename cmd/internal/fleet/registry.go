package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// Silent is after how long without a report a node is said to be silent.
	Silent = 15 * time.Second

	// watchStall is how long a watch may bring nothing. The management's own
	// reports come every reportIdle.
	watchStall = 3 * reportIdle

	// twiceFor is how long it is said that two nodes have one name.
	twiceFor = time.Minute
)

// A Node is a node of the fleet as the management knows it.
type Node struct {
	Report

	// Heard is when a report came last, by the management's own clock; the
	// zero time if none did since it started.
	Heard time.Time

	// Deaf is for how long since then no report of any node came: the line to NATS, or
	// a server there, was at fault, which is not the node's silence.
	Deaf time.Duration

	// Twice says that two nodes report under this name.
	Twice bool
}

// A State is how a node is, in a word.
type State string

// The states.
const (
	StateReady   State = "ready"
	StateUnready State = "not ready" // it says so itself
	StateSilent  State = "silent"    // nothing was heard of it
)

// State returns the node's state at a moment, by the management's clock.
func (n *Node) State(now time.Time) State {
	switch {
	case n.Heard.IsZero() || now.Sub(n.Heard)-n.Deaf > Silent:
		return StateSilent
	case !n.Ready:
		return StateUnready
	}
	return StateReady
}

// A Registry knows the nodes of a fleet from their reports.
type Registry struct {
	link *Link
	loop loop
	// again is told that there is room for reports that had none.
	again chan struct{}

	mu    sync.Mutex
	nodes map[string]*node // by their names in the bucket

	// Reports come from since to live, without a pause in which not even the
	// management's own came.
	since, live time.Time

	gone    map[string]bool // to be swept
	crowded bool            // there were more nodes than maxNodes
}

type node struct {
	Report
	heard  time.Time
	seen   time.Time // when it became known
	before string    // the instance that reported before this one
	twice  time.Time
}

// NewRegistry begins to listen.
func NewRegistry(link *Link) *Registry {
	r := &Registry{link: link, nodes: make(map[string]*node), gone: make(map[string]bool), again: make(chan struct{}, 1)}
	r.loop = loop{link: link, name: "listening to the nodes", session: r.session, note: func(error) {}}
	r.loop.start()
	return r
}

// Close ends listening.
func (r *Registry) Close() { r.loop.close() }

const (
	// maxNodes bounds the nodes that are known. Beyond it nothing is said to be in
	// force everywhere, for nobody knows where everywhere is.
	maxNodes = 5000

	// managementAge is how long a management node is known that reports no more.
	// No change waits for one.
	managementAge = 24 * time.Hour

	// sweepEvery is how often the last messages are removed of nodes that are not
	// on the list. Names of containers come and go.
	sweepEvery = time.Minute
)

// Nodes returns the gateways that have ever reported and neither left nor were removed,
// and the management nodes, by role and name.
func (r *Registry) Nodes() []Node {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Node
	for key, n := range r.nodes {
		if n.Role == Management && now.Sub(cmp.Or(n.heard, n.seen)) > managementAge {
			delete(r.nodes, key)
			continue
		}
		list = append(list, Node{Report: n.Report, Heard: n.heard, Deaf: r.deaf(n, now), Twice: !n.twice.IsZero() && now.Sub(n.twice) < twiceFor})
	}
	slices.SortFunc(list, func(a, b Node) int {
		return cmp.Or(-cmp.Compare(a.Role, b.Role), cmp.Compare(a.Name, b.Name)) // the management first
	})
	return list
}

// keeps is Publisher.keeps.
func (r *Registry) keeps(created time.Time, last confirmation) bool {
	for _, n := range r.Nodes() {
		if n.Role == Gateway && n.Missing > 0 && n.Bucket.Equal(created) && last.is(&n.Report) && n.State(time.Now()) != StateSilent {
			return true
		}
	}
	return false
}

// Errors of Remove.
var (
	ErrNoNode    = errors.New("there is no node of this name")
	ErrNodeAlive = errors.New("the node still reports, and would be back at once; stop it first")
)

// Remove takes the silent nodes of this name off the list.
func (r *Registry) Remove(ctx context.Context, name string) error {
	err := ErrNoNode
	for _, n := range r.Nodes() {
		if n.Name != name {
			continue
		}
		if n.State(time.Now()) != StateSilent {
			return ErrNodeAlive
		}
		key, keyErr := n.key()
		if keyErr != nil {
			return keyErr
		}
		kv, openErr := r.link.openNodes(ctx)
		if openErr != nil {
			return openErr
		}
		if err = kv.Delete(ctx, key); err != nil {
			return fmt.Errorf("remove the report of node %s: %w", name, err)
		}
		r.mu.Lock()
		r.depart(key, n.OwnAccount)
		r.mu.Unlock()
	}
	return err
}

// Crowded returns why not all nodes of the fleet are known; "" if they are.
func (r *Registry) Crowded() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.crowded {
		return ""
	}
	return fmt.Sprintf("More than %d nodes have reported, and the rest of them is not known. Remove those that are no more.", maxNodes)
}

// session listens until something is wrong.
//
// It is a plain subscription: what a gateway sends may have any header, and a
// watch of nats.go takes an empty message with the headers of a heartbeat for
// one, and publishes to the subject that it names.
func (r *Registry) session(ctx context.Context) error {
	rctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	if _, err := r.link.openNodes(rctx); err != nil {
		return err
	}
	bucket := r.link.cfg.nodesBucket()
	prefix := "$KV." + bucket + "."
	var in inbox
	in.came = make(chan struct{}, 1)
	sub, err := r.link.nc.Subscribe(prefix+">", in.put)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // it may have ended by itself
	if err := r.reread(ctx, bucket, prefix); err != nil {
		return err
	}
	timer := time.NewTimer(watchStall)
	defer timer.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-in.came:
			for _, m := range in.all() {
				r.take(strings.TrimPrefix(m.Subject, prefix), m.Header, m.Data, false)
			}
			timer.Reset(watchStall)
			sleep(ctx, reportPause)
		case <-r.again:
			if err := r.reread(ctx, bucket, prefix); err != nil {
				return err
			}
		case <-sweep.C:
			sctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
			err := r.sweep(sctx)
			cancel()
			if err != nil { // it may have no right to
				r.link.logger.Debug("messages of nodes that left cannot be removed", "error", err)
				sweep.Stop()
			}
		case <-timer.C:
			return errSilent
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reportPause is how long the next reports are waited for.
const reportPause = 20 * time.Millisecond

// An inbox has the last report of each node. A gateway that sends without end has its own
// reports passed over, and costs no other one's.
type inbox struct {
	came chan struct{}

	mu   sync.Mutex
	last map[string]*nats.Msg // by subjects
}

// put is called by nats.go with each report, one at a time.
func (in *inbox) put(m *nats.Msg) {
	in.mu.Lock()
	if in.last == nil {
		in.last = make(map[string]*nats.Msg)
	}
	if in.last[m.Subject] != nil || len(in.last) <= maxNodes { // nodes report again
		in.last[m.Subject] = m
	}
	in.mu.Unlock()
	select {
	case in.came <- struct{}{}:
	default:
	}
}

// all takes the reports out.
func (in *inbox) all() map[string]*nats.Msg {
	in.mu.Lock()
	defer in.mu.Unlock()
	list := in.last
	in.last = nil
	return list
}

// reread learns of all nodes that the bucket has.
func (r *Registry) reread(ctx context.Context, bucket, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	r.mu.Lock()
	was := r.crowded
	r.crowded = false
	r.mu.Unlock()
	err := r.readOld(ctx, bucket, prefix)
	if err != nil {
		r.mu.Lock()
		r.crowded = r.crowded || was
		r.mu.Unlock()
	}
	return err
}

// readOld takes the reports that are in the bucket, each by itself.
func (r *Registry) readOld(ctx context.Context, bucket, prefix string) error {
	stream, err := r.link.js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return err
	}
	for subject := range info.State.Subjects {
		m, err := stream.GetLastMsgForSubject(ctx, subject)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.link.logger.Debug("a report cannot be read", "error", err)
			continue
		}
		r.take(strings.TrimPrefix(subject, prefix), m.Header, m.Data, true)
	}
	return nil
}

// take takes a report. One that was there before may be of any age, and so
// does not count as heard.
func (r *Registry) take(key string, header nats.Header, data []byte, old bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if op := header.Get("KV-Operation"); op == "DEL" || op == "PURGE" {
		if n := r.nodes[key]; n != nil {
			r.depart(key, n.OwnAccount)
		}
		return
	}
	rep, err := parseReport(key, data)
	if err != nil {
		r.link.logger.Debug("a report cannot be read", "error", err)
		return
	}
	n := r.nodes[key]
	now := time.Now()
	if rep.Left {
		if n == nil || n.twice.IsZero() || now.Sub(n.twice) > twiceFor { // or else the other one serves
			r.depart(key, rep.OwnAccount)
		}
		return
	}
	if n == nil {
		if len(r.nodes) >= maxNodes {
			r.crowded = true
			return
		}
		n = &node{seen: now}
		r.nodes[key] = n
	}
	if n.Instance != "" && rep.Instance != n.Instance {
		if rep.Instance == n.before {
			n.twice = now
		}
		n.before = n.Instance
	}
	n.Report = rep
	if !old {
		n.heard = now
		if now.Sub(r.live) > 2*reportIdle {
			r.since = now
		}
		r.live = now
	}
}

// deaf returns Node.Deaf. A node is silent for the time in which others were
// heard and it was not.
func (r *Registry) deaf(n *node, now time.Time) time.Duration {
	if n.heard.IsZero() {
		return 0
	}
	begin := n.heard
	if r.since.After(begin) {
		begin = r.since
	}
	return now.Sub(n.heard) - max(0, r.live.Sub(begin))
}
